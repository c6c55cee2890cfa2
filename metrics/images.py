"""Folders of images, for scoring: found, paired by name, and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from util.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, hidden files left out, sorted by name.

    Raises:
        UserError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'; give one that holds images")
    files = sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise UserError(f"the folder '{folder}' holds no image; known are {', '.join(sorted(SUFFIXES))}")
    return files


def partners(files: Sequence[Path], folder: Path) -> list[Path]:
    """For each file, the image in ``folder`` whose name is the same up to the suffix.

    Raises:
        UserError: a file has no partner, or two that it cannot choose between.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in image_files(folder):
        by_stem.setdefault(path.stem, []).append(path)
    for path in files:
        found = by_stem.get(path.stem, [])
        if not found:
            raise UserError(f"'{path}' has no partner in '{folder}': add an image named {path.stem}")
        if len(found) > 1:
            raise UserError(f"'{path}' has several partners in '{folder}': keep one image named {path.stem}")
    return [by_stem[path.stem][0] for path in files]


def read_image(path: Path) -> Tensor:
    """An image file as float32 RGB [3, H, W] in [-1, 1], upright, on white where it is transparent.

    Raises:
        UserError: the file cannot be read as an image.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16-bit greyscale, which Pillow's convert would clip
                grey = np.asarray(image, dtype=np.float32) / 65535
                pixels = np.stack([grey] * 3, axis=-1)
            else:
                rgba = image.convert("RGBA")
                white = Image.new("RGBA", rgba.size, "white")
                flat = Image.alpha_composite(white, rgba).convert("RGB")
                pixels = np.asarray(flat, dtype=np.float32) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"'{path}' cannot be read as an image ({error}); replace or remove it") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous() * 2 - 1
