"""Images to be scored: paired by name, and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL
import torch
from torch import Tensor

from util.errors import UserError
from util.images import find_images, load_normalized


class Unsuited(UserError):  # noqa: N818 - as UserError, told to people
    """Images that are too few or too small for a score."""


def partners(files: Sequence[Path], folder: Path, flag: str) -> list[Path]:
    """For each file, the image directly in ``folder`` whose name is the same up to the suffix.

    Args:
        files: images.
        folder: where their partners are; others may be there too.
        flag: the flag that names the folder; error messages begin with it.

    Raises:
        UserError: the folder holds no image, or a file has no partner, or two that it cannot choose between.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in find_images(folder, flag, subfolders=False):
        by_stem.setdefault(path.stem, []).append(path)
    for path in files:
        found = by_stem.get(path.stem, [])
        if not found:
            raise UserError(f"{flag}: '{path}' has no partner in '{folder}': add an image named {path.stem}")
        if len(found) > 1:
            raise UserError(f"{flag}: '{path}' has several partners in '{folder}': keep one image named {path.stem}")
    return [by_stem[path.stem][0] for path in files]


def in_styles(folders: Sequence[Path], flag: str) -> list[list[Path]]:
    """For each folder, a style, its images in the order of the first folder, whose images alone count.

    Raises:
        UserError: the first folder holds no image, or one of its images has no partner in another.
    """
    first = find_images(folders[0], flag, subfolders=False)
    return [first, *(partners(first, folder, flag) for folder in folders[1:])]


def read_image(path: Path) -> Tensor:
    """An image file as float32 RGB [3, H, W] in [-1, 1], decoded as `load_image` says.

    Raises:
        UserError: the file cannot be read as an image.
    """
    return load_normalized(path, 3)


def require_one_size(path: Path, image: Tensor, partner_path: Path, partner: Tensor) -> None:
    """Raises:
        UserError: the images differ in size.
    """
    if image.shape != partner.shape:
        sizes = [f"{t.shape[-1]}x{t.shape[-2]}" for t in (image, partner)]
        raise UserError(f"'{path}' has {sizes[0]} pixels, its partner '{partner_path}' {sizes[1]}; make them alike")


def program_conditions(device: torch.device | str) -> dict[str, Any]:
    """What numbers made of `read_image` and networks depend on, beside the files."""
    return {"torch_version": torch.__version__, "pillow_version": PIL.__version__, "device": str(device)}
