"""Images larger than the device's memory, translated in overlapping tiles whose seams are blended.

For a generator whose output depends on input pixels at most ``radius`` away:

- A tile's border is padded like an image's, which changes pixels up to ``radius`` inside. Of two tiles that overlap,
  each is used up to the middle of the overlap, and both in the `RAMP` pixels around it. So the padding changes no
  output pixel if the overlap is at least ``2 * radius + RAMP``. Measured, the radius is 69 pixels for resnet_6blocks
  and 93 for resnet_9blocks (60 and 84 with --no_antialias --no_antialias_up); the far pixels count for so little that
  the default overlap, 128, leaves differences below one 8-bit level.
- Without normalisation, or with batch normalisation and --eval, the result is then the untiled one to rounding.
- Instance normalisation uses mean and variance of the whole image. Tiles that use their own (``tile``) differ in
  contrast and colour. ``scaled`` takes all statistics from one pass over the image scaled down to a tile's area: all
  tiles are treated alike, and nearly as in the untiled result, because features change with the scale. ``exact``
  measures one normalisation after the other over all tiles, without their padding, and gives the untiled result to
  rounding, at several times the cost: 12 for resnet_9blocks.
- U-Nets see the whole image at once: no overlap and no statistics make their tiles agree with the untiled result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from options import DataFlags, Options, SpeedFlags, TestFlags
from util.errors import UserError

from .base import Model
from .shared_norms import Unmeasured, shared_norms
from .translation import pad_to_fit

RAMP = 16  # pixels over which one tile gives way to the next

Place: TypeAlias = tuple[slice, slice]  # rows and columns of an image
Translate: TypeAlias = Callable[[Tensor], Tensor]  # [B, C, H, W] to [B, C', H, W]


@dataclass(frozen=True)
class Tiling:
    """Sizes of tiles, in pixels; ``size`` and all positions are multiples of ``multiple``."""

    size: int
    overlap: int
    """The least overlap of neighbours, at most ``size - multiple``."""
    multiple: int
    batch_size: int = 1
    """Tiles translated at once."""
    statistics: str = "scaled"
    """Statistics of normalisation: tile, scaled or exact."""

    @classmethod
    def of(cls, options: Options, model: Model) -> Tiling | None:
        """Return the tiling that the options ask for; None: no tiling.

        Raises:
            UserError: sizes that do not fit each other or the generator, or statistics that need it uncompiled.
        """
        flags = options[TestFlags]
        tile, overlap = flags.tile, flags.tile_overlap
        if not tile:
            return None
        multiple = math.lcm(*(int(network.multiple) for network in model.networks.values()))  # type: ignore[arg-type]
        if tile % multiple:
            raise UserError(f"--tile {tile} is no multiple of {multiple}, which the generator needs: use "
                            f"{-(-tile // multiple) * multiple}")
        if overlap > tile - multiple:
            raise UserError(f"--tile_overlap {overlap} is too much for --tile {tile}: enlarge --tile or lower "
                            f"--tile_overlap to at most {tile - multiple}")
        if options[SpeedFlags].compile and flags.tile_statistics != "tile":
            raise UserError("--compile with --tile needs --tile_statistics tile, since other statistics change the "
                            "generator while it runs: choose that or leave --compile out")
        return cls(tile, overlap, multiple, options[DataFlags].batch_size, flags.tile_statistics)


def tile_starts(side: int, tiling: Tiling) -> list[int]:
    """Return the first pixels of tiles along ``side`` pixels, evenly spread; only 0 where one tile is enough.

    If ``side`` is a multiple of ``tiling.multiple``, so are all of them: strided layers see the pixels in the same
    phase as in the whole image.
    """
    step = (tiling.size - tiling.overlap) // tiling.multiple * tiling.multiple
    rest = max(side - tiling.size, 0)
    count = -(-rest // step)  # tiles after the first
    return [0, *(rest * i // count // tiling.multiple * tiling.multiple for i in range(1, count + 1))]


def blend_weights(starts: list[int], size: int, ramp: int) -> Tensor:
    """Compute the weights of the tiles at their pixels along one side, [tiles, size] float64.

    At each pixel of the image the weights of all tiles sum to 1. From one tile to the next they change linearly, in
    the ``ramp`` pixels amid their overlap, which is at least that wide.
    """
    pixels = torch.tensor(starts, dtype=torch.float64)[:, None] + torch.arange(size) + 0.5  # [tiles, size]
    seams = [(start + size + following) / 2 for start, following in itertools.pairwise(starts)]
    later = [((pixels - seam) / ramp + 0.5).clamp(0, 1) for seam in seams]  # the share of all tiles after each seam
    shares = torch.stack([torch.ones_like(pixels), *later, torch.zeros_like(pixels)])  # [tiles + 1, tiles, size]
    tiles = torch.arange(len(starts))
    return shares[tiles, tiles] - shares[tiles + 1, tiles]


def translate_images(
    model: Model, images: Tensor, device: torch.device, tiling: Tiling | None, style: int | None = None,
) -> dict[str, Tensor]:
    """Translate [B, C, H, W] by each of the model's `translators`, in tiles if there is a tiling.

    The model is on ``device``. ``style`` is the number of the only translator to use, from 1; None: all.

    Returns:
        By name [B, C', H, W], on ``device``; from tiles, where the images are.
    """
    translators = dict(list(model.translators().items())[slice(style and style - 1, style)])
    if tiling is None:
        images = images.to(device, non_blocking=True)
        return {name: translate(images) for name, translate in translators.items()}
    return {name: translate_tiled(translate, images, tiling, device=device, networks=model.networks.values())
            for name, translate in translators.items()}


def translate_tiled(
    translate: Translate, images: Tensor, tiling: Tiling, *, device: torch.device, networks: Iterable[nn.Module],
) -> Tensor:
    """Translate images tile by tile, one image after the other; those no larger than a tile whole and together.

    Args:
        translate: works on ``device`` and keeps height and width; gets at most ``tiling.batch_size`` tiles at once.
        images: [B, C, H, W], of any size, on any device; B at most ``tiling.batch_size``.
        tiling: how they are cut.
        device: device of ``translate``.
        networks: those that ``translate`` runs, uncompiled unless each tile has its own statistics.

    Returns:
        [B, C', H, W] on the device of ``images``.
    """
    height, width = images.shape[2:]
    if max(height, width) <= tiling.size:
        return translate(images.to(device)).to(images.device)
    outputs = []
    for image in pad_to_fit(images, tiling.multiple, tiling.multiple).split(1):
        batches = _Batches(image, tiling, device)
        with shared_norms(networks if tiling.statistics != "tile" else ()) as norms:
            if tiling.statistics == "scaled":
                for norm in norms:
                    norm.learns = True
                translate(_scaled(image, tiling).to(device))
            elif tiling.statistics == "exact":
                while _measure_next(translate, batches):
                    pass
            outputs.append(_blended(translate, batches)[:, :, :height, :width])
    return torch.cat(outputs)


def _blended(translate: Translate, batches: _Batches) -> Tensor:
    image = batches.image
    output = image.new_empty(0)
    for places, weights, tiles in batches:
        made = weights[:, None] * translate(tiles)  # [B, C', h, w]
        if not len(output):
            output = image.new_zeros(1, made.shape[1], *image.shape[2:])
        for (rows, columns), tile in zip(places, made.to(image.device), strict=True):
            output[0, :, rows, columns] += tile
    return output


def _scaled(image: Tensor, tiling: Tiling) -> Tensor:
    """Scale the image to about the area of a tile, with sides that are multiples."""
    height, width = image.shape[2:]
    scale = min(tiling.size / math.sqrt(height * width), 1)
    size = [max(int(side * scale) // tiling.multiple, 1) * tiling.multiple for side in (height, width)]
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(-1, 1)


def _measure_next(translate: Translate, batches: _Batches) -> bool:
    """Measure, over all tiles, the first normalisation that has no statistics yet; False if all have."""
    for _, weights, tiles in batches:
        try:
            translate(tiles)
        except Unmeasured as stopped:
            norm = stopped.norm
            norm.measure(stopped.features, weights)
        else:
            return False
    norm.finish()
    return True


class _Batches:
    """An image's tiles in batches: where they belong, their weights [B, h, w] and pixels [B, C, h, w]."""

    def __init__(self, image: Tensor, tiling: Tiling, device: torch.device) -> None:
        self.image, self.tiling, self.device = image, tiling, device

    def __iter__(self) -> Iterator[tuple[list[Place], Tensor, Tensor]]:
        tiles = itertools.product(*map(self._pieces, self.image.shape[2:]))
        while chunk := list(itertools.islice(tiles, self.tiling.batch_size)):
            places = [(rows, columns) for (rows, _), (columns, _) in chunk]
            weights = torch.stack([torch.outer(down, across) for (_, down), (_, across) in chunk])
            pixels = torch.cat([self.image[:, :, rows, columns] for rows, columns in places])
            yield places, weights.to(self.device, pixels.dtype), pixels.to(self.device)

    def _pieces(self, side: int) -> list[tuple[slice, Tensor]]:
        """Return the tiles along one side, and their weights."""
        starts, size = tile_starts(side, self.tiling), min(side, self.tiling.size)
        weights = blend_weights(starts, size, ramp=min(RAMP, max(self.tiling.overlap, 1)))
        return [(slice(start, start + size), weight) for start, weight in zip(starts, weights, strict=True)]
