"""From tensors to pictures: [-1, 1] floats to 8-bit arrays and PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from util.errors import UserError
from util.files import replacing


def to_uint8(image: Tensor) -> npt.NDArray[np.uint8]:
    """Convert an image to 8 bits, rounding to the nearest level.

    Args:
        image: [C, H, W] floats in [-1, 1] with C = 1 or 3, on any device; values outside are clipped and NaN
            becomes black, so that a run that diverges can still be looked at.

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
    levels = (image.detach().float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) * 127.5
    pixels = levels.round().to(torch.uint8).cpu().numpy()  # [C, H, W]
    return np.ascontiguousarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))


def first_image(images: Tensor) -> Tensor:
    """The first image, [C, H, W], of a batch [B, C, H, W]; a single image is returned as it is."""
    return images[0] if images.ndim == 4 else images


def save_image(image: Tensor, path: Path, aspect_ratio: float = 1.0) -> None:
    """Write an image as PNG, whole or not at all.

    Args:
        image: [C, H, W] in [-1, 1], C = 1 or 3.
        path: the file, whatever its suffix; missing folders are made.
        aspect_ratio: stretches width against height. Above 1 the image gets wider, below 1 higher, so that
            no pixel is lost either way.

    Raises:
        UserError: the image has neither one nor three channels.
    """
    picture = Image.fromarray(to_uint8(image))
    if aspect_ratio != 1.0:
        width, height = picture.size
        size = (round(width * max(aspect_ratio, 1.0)), round(height / min(aspect_ratio, 1.0)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
