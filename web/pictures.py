"""From an uploaded file to pictures on the page, by way of files; nothing here knows Gradio."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from util.images import BadImage, load_normalized, save_image

from .checkpoints import Checkpoint, load_generator
from .similarity import drawn, similarity

VIEW = 320  # pixels that a view fills


class Shown(NamedTuple):
    """Files of one translation."""

    input: Path
    output: Path
    other: Path
    """What the output is compared with: another checkpoint's translation, or the input."""
    views: tuple[Path, Path]
    """Input and output as the page shows them: small ones are enlarged."""
    styles: int
    """How many ways the checkpoint has to translate an image."""


class Studio:
    """Translates with the checkpoints that it is given.

    Args:
        folder: where pictures go, each translation into a folder of its own.
        gpu_ids: see `util.device.choose_device`.
        tile: see test.py's ``--tile``.
    """

    def __init__(self, folder: Path, gpu_ids: str, tile: int) -> None:
        self.folder, self.gpu_ids, self.tile = folder, gpu_ids, tile

    def translate(
        self, upload: Path, into: Path, checkpoint: Checkpoint, other: Checkpoint | None, *, style: int, side: int,
    ) -> Shown:
        """Translate an image, and write it, its translation and what that is compared with as PNG.

        Args:
            upload: any image file.
            into: a folder.
            checkpoint, other: whose generators translate it; without the second the input is compared.
            style: the number of the way to translate, from 1; the last one where there are fewer.
            side: larger images are scaled down to it.

        Raises:
            UserError: the file is no image, or a checkpoint cannot be loaded.
        """
        generator = load_generator(checkpoint, checkpoint.changed(), self.gpu_ids, self.tile)
        image = read_image(upload, generator.channels, side)
        name = re.sub(r"[^\w.-]+", "_", f"{upload.stem}_{checkpoint.label}")[-60:]  # 240 bytes at most
        shown = Shown(into / "input.png", into / f"{name}.png", into / ("other.png" if other else "input.png"),
                      (into / "view_input.png", into / "view_output.png"), len(generator.styles))
        with torch.inference_mode():
            output = generator.styles[min(style, shown.styles) - 1](image[None])[0]
            for picture, path, view in zip((image, output), (shown.input, shown.output), shown.views, strict=True):
                save_image(picture, path)
                save_image(enlarged(picture), view)
            if other:
                generator = load_generator(other, other.changed(), self.gpu_ids, self.tile)
                image = read_image(upload, generator.channels, side)
                save_image(generator.styles[min(style, len(generator.styles)) - 1](image[None])[0], shown.other)
        return shown

    def maps(self, shown: Shown, point: tuple[float, float], sight: str, checkpoint: Checkpoint) -> list[Path]:
        """Write the self-similarity of a point, of input and output.

        Args:
            shown: a translation.
            point, sight: see `web.similarity`.
            checkpoint: whose heads see, if ``sight`` is learned.
        """
        made = []
        for path in (shown.input, shown.output):
            image = load_normalized(path, 3)
            cosines = similarity(image, point, sight, checkpoint, self.gpu_ids)
            made.append(path.with_name(f"map_{uuid.uuid4().hex}.png"))  # another address: browsers keep the old picture
            save_image(drawn(cosines, enlarged(image), point), made[-1])
        return made


def enlarged(image: Tensor) -> Tensor:
    """An image [C, H, W] at the largest whole multiple of its size that is no longer than `VIEW` pixels, or its own."""
    times = max(VIEW // max(image.shape[1:]), 1)
    return image.repeat_interleave(times, 1).repeat_interleave(times, 2)


def read_image(path: Path, channels: int, side: int) -> Tensor:
    """An uploaded image, [C, H, W] in [-1, 1], scaled down where a side is longer than ``side``.

    Raises:
        BadImage: the file is no image; what it says names no folder.
    """
    try:
        image = load_normalized(path, channels)
    except BadImage as error:
        raise BadImage(str(error).replace(str(path), path.name)) from None
    height, width = image.shape[1:]
    if (longest := max(height, width)) <= side:
        return image
    size = [max(round(length * side / longest), 1) for length in (height, width)]
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(-1, 1)
