"""Convert images to 8 bits, and write them as files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from util.errors import UserError
from util.files import replacing
from util.image_files import opened

PICTURES: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "png": ("PNG", {"compress_level": 1}),  # a quarter of the time, files a fifth larger
    "jpg": ("JPEG", {"quality": 95}), "webp": ("WEBP", {"quality": 95})}
"""Formats of pictures: their names and arguments in Pillow."""


def levels(image: Tensor) -> Tensor:
    """Round values in [-1, 1] to 8-bit levels: whole float32 numbers from 0 to 255; NaN becomes 0."""
    return ((image.detach().float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) * 127.5).round()


def to_uint8(image: Tensor) -> NDArray[np.uint8]:
    """Convert an image to 8 bits, rounding to the nearest level.

    Args:
        image: [C, H, W] floats in [-1, 1] with C = 1 or 3, on any device. Values outside are clipped and NaN becomes
            black, so that a run that diverges can be looked at.

    Returns:
        [H, W] for one channel, [H, W, 3] for three.

    Raises:
        UserError: the image has neither one nor three channels.
    """
    channels = image.shape[0]
    if image.ndim != 3 or channels not in (1, 3):
        raise UserError(
            f"an image of shape {list(image.shape)} cannot be shown or saved; use 1 or 3 for --input_nc and "
            "--output_nc"
        )
    pixels = levels(image).to(torch.uint8).cpu().numpy()  # [C, H, W]
    return np.ascontiguousarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))


def first_image(images: Tensor) -> Tensor:
    """Return the first image, [C, H, W], of a batch [B, C, H, W]; a single image is returned unchanged."""
    return images[0] if images.ndim == 4 else images


def save_image(image: Tensor, path: Path, aspect_ratio: float = 1.0) -> None:
    """Write an image, whole or not at all.

    Args:
        image: [C, H, W] in [-1, 1], C = 1 or 3.
        path: the file, in the format of its suffix, or in PNG; missing folders are made.
        aspect_ratio: factor of width over height. Above 1 the width grows, below 1 the height, so that no pixel is
            lost.

    Raises:
        UserError: the image has neither one nor three channels.
    """
    pixels = Image.fromarray(to_uint8(image))
    if aspect_ratio != 1.0:
        width, height = pixels.size
        size = (round(width * max(aspect_ratio, 1.0)), round(height / min(aspect_ratio, 1.0)))
        pixels = pixels.resize(size, Image.Resampling.BICUBIC)
    name, arguments = PICTURES.get(path.suffix[1:], PICTURES["png"])
    with replacing(path) as temporary:
        pixels.save(temporary, format=name, **arguments)


def save_thumbnail(path: Path, target: Path, side: int) -> tuple[int, int]:
    """Write a copy of an image file, of at most ``side`` pixels, as WebP; return its width and height.

    Raises:
        BadImage: the file is no image.
    """
    with opened(path) as image:
        image.draft("RGB", (side, side))
        small = ImageOps.exif_transpose(image).convert("RGB")
    small.thumbnail((side, side))
    with replacing(target) as temporary:
        small.save(temporary, format="WEBP", quality=75, method=2)
    return small.size
