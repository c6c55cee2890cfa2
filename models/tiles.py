"""Images larger than the device's memory, translated in overlapping tiles whose seams are blended.

What holds, for a generator whose output depends on input pixels at most ``radius`` away:

- A tile's border is padded like an image's, which is felt up to ``radius`` pixels inside. Of two tiles that overlap,
  each is shown up to the middle of the overlap, but for the `RAMP` pixels around it, where both are. So no output
  pixel comes from where the padding is felt, if the overlap is at least ``2 * radius + RAMP``. Measured, the radius
  is 69 pixels for resnet_6blocks and 93 for resnet_9blocks (60 and 84 with --no_antialias --no_antialias_up); the far
  pixels count for so little that the default overlap, 128, leaves differences below one 8-bit level.
- Without normalisation, or with batch normalisation and --eval, the result is then the untiled one to rounding.
- Instance normalisation uses mean and variance of the whole image. Tiles that use their own (``tile``) differ in
  contrast and colour, each from the others. ``scaled`` takes all statistics from one pass over the image scaled down to
  a tile's area: all tiles are treated alike, and nearly as in the untiled result; nearly, because features change
  with the scale. ``exact`` measures one normalisation after the other over all tiles, whose padding counts for
  nothing, and gives the untiled result to rounding again, at several times the cost: 12 for resnet_9blocks.
- U-Nets see the whole image at once: no overlap and no statistics make their tiles agree with the untiled result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import pad_to_fit

RAMP = 16  # pixels over which one tile gives way to the next
STATISTICS = ("tile", "scaled", "exact")

Place: TypeAlias = tuple[slice, slice]  # rows and columns of an image
Translate: TypeAlias = Callable[[Tensor], Tensor]  # [B, C, H, W] to [B, C', H, W]


@dataclass(frozen=True)
class Tiling:
    """How an image is cut. In pixels; ``size`` and all positions are multiples of ``multiple``."""

    size: int
    overlap: int
    """The least overlap of neighbours, at most ``size - multiple``."""
    multiple: int
    batch_size: int = 1
    """Tiles translated at once."""
    statistics: str = "scaled"
    """Those of normalisation: one of `STATISTICS`."""


def tile_starts(side: int, tiling: Tiling) -> list[int]:
    """First pixels of the tiles along ``side`` pixels, evenly spread; 0 alone where one tile is enough.

    If ``side`` is a multiple of ``tiling.multiple``, so are all of them: strided layers see the pixels in the same
    phase as in the whole image.
    """
    step = (tiling.size - tiling.overlap) // tiling.multiple * tiling.multiple
    rest = max(side - tiling.size, 0)
    count = -(-rest // step)  # tiles after the first
    return [0, *(rest * i // count // tiling.multiple * tiling.multiple for i in range(1, count + 1))]


def blend_weights(starts: list[int], size: int, ramp: int) -> Tensor:
    """How much each tile counts at each of its pixels along one side, [tiles, size] float64.

    At each pixel of the image the weights of all tiles sum to 1. From one tile to the next they change linearly, in
    the ``ramp`` pixels amid their overlap, which is at least that wide.
    """
    pixels = torch.tensor(starts, dtype=torch.float64)[:, None] + torch.arange(size) + 0.5  # [tiles, size]
    seams = [(start + size + following) / 2 for start, following in itertools.pairwise(starts)]
    later = [((pixels - seam) / ramp + 0.5).clamp(0, 1) for seam in seams]  # the share of all tiles after each seam
    shares = torch.stack([torch.ones_like(pixels), *later, torch.zeros_like(pixels)])  # [tiles + 1, tiles, size]
    tiles = torch.arange(len(starts))
    return shares[tiles, tiles] - shares[tiles + 1, tiles]


def translate_tiled(
    translate: Translate, images: Tensor, tiling: Tiling, *, device: torch.device, networks: Iterable[nn.Module],
) -> Tensor:
    """Translate images tile by tile, one image after the other; those no larger than a tile whole.

    Args:
        translate: works on ``device`` and keeps height and width; gets at most ``tiling.batch_size`` tiles at once.
        images: [B, C, H, W], of any size, on any device.
        tiling: how they are cut.
        device: where ``translate`` works.
        networks: what ``translate`` runs, uncompiled unless each tile has its own statistics.

    Returns:
        [B, C', H, W] on the device of ``images``.
    """
    height, width = images.shape[2:]
    if max(height, width) <= tiling.size:
        return torch.cat([translate(image.to(device)).to(image.device) for image in images.split(1)])
    outputs = []
    for image in pad_to_fit(images, tiling.multiple, tiling.multiple).split(1):
        batches = _Batches(image, tiling, device)
        with _shared_norms(networks if tiling.statistics != "tile" else ()) as norms:
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
    """The image at about the area of a tile, with sides that are multiples."""
    height, width = image.shape[2:]
    scale = min(tiling.size / math.sqrt(height * width), 1)
    size = [max(int(side * scale) // tiling.multiple, 1) * tiling.multiple for side in (height, width)]
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(-1, 1)


def _measure_next(translate: Translate, batches: _Batches) -> bool:
    """Measure, over all tiles, the first normalisation that has no statistics yet; False if all have."""
    for _, weights, tiles in batches:
        try:
            translate(tiles)
        except _Unmeasured as stopped:
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
        """The tiles along one side, and their weights."""
        starts, size = tile_starts(side, self.tiling), min(side, self.tiling.size)
        weights = blend_weights(starts, size, ramp=min(RAMP, max(self.tiling.overlap, 1)))
        return [(slice(start, start + size), weight) for start, weight in zip(starts, weights, strict=True)]


@contextmanager
def _shared_norms(networks: Iterable[nn.Module]) -> Iterator[list[_SharedNorm]]:
    """Put a `_SharedNorm` in the place of each normalisation by its input's statistics, for a while."""
    places = [
        (parent, name, _SharedNorm(child))
        for network in networks for parent in network.modules() for name, child in parent.named_children()
        if isinstance(child, nn.InstanceNorm2d) or (isinstance(child, nn.BatchNorm2d) and child.training)
    ]
    for parent, name, shared in places:
        setattr(parent, name, shared)
    try:
        yield [shared for _, _, shared in places]
    finally:
        for parent, name, shared in places:
            setattr(parent, name, shared.norm)


class _Unmeasured(Exception):  # noqa: N818 - no error, but the way out of the generator
    """A normalisation without statistics was reached, with these features."""

    def __init__(self, norm: _SharedNorm, features: Tensor) -> None:
        super().__init__()
        self.norm, self.features = norm, features


class _SharedNorm(nn.Module):
    """Normalises all tiles of an image by one mean and variance a channel.

    Attributes:
        learns: take them from the next input, instead of raising `_Unmeasured`.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm, self.learns = norm, False
        self.like = torch.zeros(())  # device and precision of the statistics
        self.statistics: tuple[Tensor, Tensor] | None = None
        self.sums = torch.zeros(())  # of weights, weighted values and weighted squares, [3, C] float64

    def forward(self, x: Tensor) -> Tensor:
        if self.learns:
            self.measure(x, x.new_ones(len(x), *x.shape[2:], dtype=torch.float32))
            self.finish()
        if self.statistics is None:
            raise _Unmeasured(self, x)
        mean, variance = self.statistics
        return F.batch_norm(x, mean, variance, self.norm.weight, self.norm.bias, eps=self.norm.eps)

    def measure(self, x: Tensor, weights: Tensor) -> None:
        """Add features [B, C, h, w], which count as much as ``weights`` [B, H, W] say."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        weights = F.adaptive_avg_pool2d(weights, (x.shape[2], x.shape[3])).to(x.dtype)[:, None]  # [B, 1, h, w]
        total = weights.sum()
        mean = (weights * x).sum((0, 2, 3)) / total
        variance = (weights * (x - mean[:, None, None]).square()).sum((0, 2, 3)) / total
        sums = torch.stack([total.expand_as(mean), total * mean, total * (variance + mean.square())])
        self.sums = self.sums + sums.cpu().double()  # not every device has float64
        self.like = mean

    def finish(self) -> None:
        """Normalise by what was measured, from now on."""
        total, values, squares = self.sums
        mean = values / total
        variance = (squares / total - mean.square()).clamp(min=0)
        self.statistics, self.learns = (mean.to(self.like), variance.to(self.like)), False
