"""Translate an uploaded file, and write the pictures for the page. Independent of Gradio."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from util.errors import UserError
from util.images import load_normalized, save_image
from util.shown import picture

from .checkpoints import Checkpoint, load_generator
from .similarity import draw, similarity

VIEW = 320  # side of an enlarged picture on the page, in pixels, at most


class Shown(NamedTuple):
    """Files of one translation."""

    input: Path
    output: Path
    other: Path
    """The comparison: another checkpoint's translation, or the input."""
    views: tuple[Path, Path]
    """Input and output, enlarged if small."""
    styles: int
    """Number of translations that the checkpoint has for an image."""


class Studio:
    """Translates images with checkpoints into ``folder``; ``gpu_ids`` and ``tile`` are as in test.py."""

    def __init__(self, folder: Path, gpu_ids: str, tile: int) -> None:
        self.folder, self.gpu_ids, self.tile = folder, gpu_ids, tile

    def translate(
        self, upload: Path, into: Path, checkpoint: Checkpoint, other: Checkpoint | None, *, style: int, side: int,
    ) -> Shown:
        """Translate an uploaded image, and write input, translation and comparison as PNG into a folder.

        Args:
            other: generator to compare with; without it the input is the comparison.
            style: number of the style, from 1; the last one where there are fewer.
            side: larger images are scaled down to this side.

        Raises:
            UserError: the file is no image, or a checkpoint cannot be loaded.
        """
        generator = load_generator(checkpoint, checkpoint.changed(), self.gpu_ids, self.tile)
        image = read_image(upload, generator.read, side)
        name = re.sub(r"[^\w.-]+", "_", f"{upload.stem}_{checkpoint.label}")[-60:]  # at most 240 bytes
        shown = Shown(into / "input.png", into / f"{name}.png", into / ("other.png" if other else "input.png"),
                      (into / "view_input.png", into / "view_output.png"), generator.styles)
        output = generator(image, style=min(style, shown.styles))
        for made, path, view in zip((image, output), (shown.input, shown.output), shown.views, strict=True):
            save_image(picture(made, generator.bands), path)
            save_image(enlarged(picture(made, generator.bands)), view)
        if other:
            generator = load_generator(other, other.changed(), self.gpu_ids, self.tile)
            output = generator(read_image(upload, generator.read, side), style=min(style, generator.styles))
            save_image(picture(output, generator.bands), shown.other)
        return shown

    def maps(self, shown: Shown, point: tuple[float, float], features: str, checkpoint: Checkpoint) -> list[Path]:
        """Draw the self-similarity of a point in input and output, and return the files; see `similarity`."""
        made = []
        for path in (shown.input, shown.output):
            image = load_normalized(path, 3)
            cosines = similarity(image, point, features, checkpoint, self.gpu_ids)
            made.append(path.with_name(f"map_{uuid.uuid4().hex}.png"))  # a new address, since browsers cache pictures
            save_image(draw(cosines, enlarged(image), point), made[-1])
        return made


def enlarged(image: Tensor) -> Tensor:
    """Enlarge an image [C, H, W] to the largest whole multiple of its size within `VIEW` pixels."""
    times = max(VIEW // max(image.shape[1:]), 1)
    return image.repeat_interleave(times, 1).repeat_interleave(times, 2)


def read_image(path: Path, read: Callable[[Path], Tensor], side: int) -> Tensor:
    """Read an uploaded image, [C, H, W] in [-1, 1], and scale it down if a side is longer than ``side``.

    Raises:
        UserError: the file is no image for this generator; the message does not name the folder.
    """
    try:
        image = read(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    height, width = image.shape[1:]
    if (longest := max(height, width)) <= side:
        return image
    size = [max(round(length * side / longest), 1) for length in (height, width)]
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(-1, 1)
