"""Masks of the images to translate (``--mask_A``): where a mask is black, a translation is its input."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from util.errors import UserError
from util.image_files import BadImage, reading
from util.image_folders import images_by_name, list_images
from util.images import RangeNeeded, to_tensor
from util.rasters import read_raster
from util.shards import is_folder
from util.words import counted

from .transforms import size_of

FLAG = "--mask_A"


def mask_folder(folder: Path, images: Path) -> Path:
    """Return the folder of the masks of a folder of images: ``folder/trainA`` for ``trainA``, or ``folder`` itself."""
    return inner if is_folder(inner := folder / images.name) else folder


def match_masks(root: Path, images: Sequence[Path], folder: Path, masks: Sequence[Path]) -> Mapping[Path, Path]:
    """Return the mask of each image, matched by relative path without suffix; masks of other images are left out.

    Args:
        root, images: a folder and its images.
        folder, masks: a folder and its masks.

    Raises:
        UserError: an image has no mask, or two images of a folder have the same name.
    """
    by_name = images_by_name(folder, masks, FLAG)
    of_images = images_by_name(root, images, "--dataroot")
    if lonely := [path for name, path in of_images.items() if name not in by_name]:
        some = ", ".join(str(path) for path in lonely[:3]) + (", ..." if len(lonely) > 3 else "")
        raise UserError(f"{FLAG}: {counted(len(lonely), 'image')} without a mask of the same name in {folder}: {some}; "
                        f"add the masks, or type {FLAG} none to translate whole images")
    return {path: by_name[name] for name, path in of_images.items()}


def load_mask(path: Path, image: Path, size: tuple[int, int]) -> Tensor:
    """Read the mask of an image: bool [1, H, W], False where it is black.

    Args:
        path: of the mask.
        image: of its image, for errors.
        size: (height, width) of the image.

    Raises:
        BadImage: the mask cannot be read.
        UserError: it has another size, or transparent pixels.
    """
    mask = read_mask(path)
    if size_of(mask) != size:
        (height, width), (rows, columns) = size_of(mask), size
        raise UserError(f"{FLAG}: a mask has the size of its image, but {path} is {width}x{height} and {image} is "
                        f"{columns}x{rows}; scale the mask, without smoothing its edges")
    return mask


def read_mask(path: Path) -> Tensor:
    """Read a mask: bool [1, H, W], False where it is black.

    Raises:
        BadImage: it cannot be read.
        UserError: it has transparent pixels.
    """
    found = read_raster(path)
    with reading(path):
        if isinstance(found, Image.Image) and is_transparent(found):
            raise UserError(f"{FLAG}: {path} has transparent pixels, which are neither black nor white; fill them")
        try:
            return is_white(to_tensor(found, 1, str(path)))
        except RangeNeeded as error:
            raise BadImage(f"{path} is a mask of signed integers or floats; save it in 8 bits") from error


def is_transparent(mask: Image.Image) -> bool:
    """Check whether an image has transparent pixels."""
    return mask.has_transparency_data and bool((np.asarray(mask.convert("RGBA"))[..., 3] < 255).any())


def look_at_masks(
    root: Path, sizes: Mapping[Path, tuple[int, int]], folder: Path, pages: str
) -> tuple[list[str], list[str]]:
    """Read the masks of images, given with their (height, width); return faults, and names of masks without white."""
    faults, black = [], []
    try:
        masks = match_masks(root, [*sizes], folder, list_images(folder, FLAG, pages=pages).images)
    except UserError as error:
        return [str(error)], []
    for image, path in masks.items():
        try:
            if not load_mask(path, image, sizes[image]).any():
                black.append(path.name)
        except UserError as error:
            faults.append(str(error))
    return faults, black


def is_white(values: Tensor) -> Tensor:
    """Find values above half of the greatest: bool, of the same shape. Masks of 0 and 1 are as those of 0 and 255."""
    return values > values.max() / 2 if values.dtype != torch.bool else values
