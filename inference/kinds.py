"""Kinds of images that a `Translator` takes and gives back."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data import Reading
from data.masks import is_transparent, is_white, read_mask
from util.images import decode, normalized, to_tensor
from util.picture_files import levels, to_uint8
from util.rasters import raster_of_array
from util.shown import picture
from util.value_ranges import Range, from_unit, full_range

SLACK = 0.1  # beyond [-1, 1], where resampling overshoots
DARK = 0.05  # nearly black in [0, 1]; in [-1, 1] hardly an image has its darkest value there


def as_batch(image: Any, reading: Reading) -> Tensor:
    """Convert an image to [B, C, H, W] float32 in [-1, 1].

    Raises:
        UserError: a file cannot be read as an image.
        TypeError: it is none of the kinds of `Translator.__call__`.
        ValueError: a shape, type of values, range or number of channels that does not fit.
    """
    if isinstance(image, str | os.PathLike):
        return normalized(reading.load(Path(image)))[None]
    if isinstance(image, Image.Image):
        return normalized(decode(image, reading.channels, value_range=reading.value_range, flag=reading.flag))[None]
    if isinstance(image, np.ndarray):
        return _from_array(image, reading)[None]
    if isinstance(image, Tensor):
        return _from_tensor(image, reading.channels)
    raise TypeError(f"{type(image).__name__} is no image: give a file, an image of Pillow, an array or a tensor")


def as_masks(masks: Any, batches: Sequence[Tensor]) -> list[Tensor]:
    """Convert the masks of images to bool [B, 1, H, W], False where they are black.

    Args:
        masks: a list, of the kinds of `Translator.__call__`.
        batches: the images, [B, C, H, W] each.

    Raises:
        UserError: a file cannot be read as an image, or has transparent pixels.
        TypeError: it is no list, or a mask is none of the kinds.
        ValueError: there are more or fewer than images, or one has another height or width, or transparent pixels.
    """
    if not isinstance(masks, list | tuple):
        raise TypeError(f"{type(masks).__name__} is no list of masks, one for each image")
    if len(masks) != len(batches):
        raise ValueError(f"{len(masks)} masks for {len(batches)} images: give one for each")
    return [_as_mask(mask, images) for mask, images in zip(masks, batches, strict=True)]


def _as_mask(mask: Any, images: Tensor) -> Tensor:
    if isinstance(mask, str | os.PathLike):
        mask = read_mask(Path(mask))
    elif isinstance(mask, Image.Image):
        if is_transparent(mask):
            raise ValueError("a mask has transparent pixels, which are neither black nor white; fill them")
        mask = decode(mask, 1)
    elif isinstance(mask, np.ndarray):
        mask = torch.from_numpy(np.ascontiguousarray(mask > mask.max(initial=0) / 2))  # torch lacks some types
    elif not isinstance(mask, Tensor):
        raise TypeError(f"{type(mask).__name__} is no mask: give a file, an image of Pillow, an array or a tensor")
    size = images.shape[-2:]
    if mask.shape[-2:] != size or mask.shape[:-2] not in ((), (1,), (1, 1), (len(images), 1)):
        raise ValueError(f"a mask with shape {list(mask.shape)} for an image of height {size[0]} and width {size[1]}: "
                         "it should be [H, W]")
    return is_white(mask).reshape(-1, 1, *size).expand(len(images), -1, -1, -1)


def as_given(output: Tensor, image: Any, value_range: Range | None, bands: Sequence[int]) -> Any:
    """Convert [B, C, H, W] in [-1, 1] to the kind of ``image``; for a file to an image of Pillow.

    Args:
        output: of the generator.
        image: its input.
        value_range: the values in arrays that -1 and 1 become; None: all of their type.
        bands: see `picture`.
    """
    if isinstance(image, Tensor):
        return output.to(image.device, image.dtype).reshape(*image.shape[:-3], *output.shape[1:])
    if isinstance(image, np.ndarray):
        values = _stored_as(output[0], image.dtype, value_range)
        return values[..., 0] if image.ndim == 2 and values.shape[2] == 1 else values
    return Image.fromarray(to_uint8(picture(output[0], bands)))


def _from_array(image: NDArray[Any], reading: Reading) -> Tensor:
    """Convert to [C, H, W] in [-1, 1]."""
    given = f"an array of {image.dtype} with shape {image.shape}"
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or not image.size or image.dtype.kind not in "biuf":
        raise ValueError(f"{given}: it should be [H, W, C] or [H, W] of numbers, with pixels")
    if reading.value_range is None and full_range(image.dtype) is None:
        raise ValueError(f"{given}: this generator was trained without a range ({reading.flag}), so it should be of "
                         "unsigned integers; give floats as a tensor [C, H, W] in [-1, 1]")
    if image.dtype == np.uint8 and reading.channels in (1, 3) and channels <= 4:  # also with alpha
        pixels = Image.fromarray(image[:, :, 0] if image.ndim == 3 and channels == 1 else image)
        return normalized(decode(pixels, reading.channels, value_range=reading.value_range, flag=reading.flag))
    if channels != reading.channels and not (channels in (1, 3) and reading.channels in (1, 3)):
        raise ValueError(f"{given}: it should have {reading.channels} channels")
    return normalized(to_tensor(
        raster_of_array(image), reading.channels, "the array", reading.value_range, flag=reading.flag))


def _from_tensor(image: Tensor, channels: int) -> Tensor:
    """Convert to [B, C, H, W] float32."""
    if image.ndim not in (3, 4) or image.shape[-3] != channels or 0 in image.shape or not image.is_floating_point():
        raise ValueError(f"a tensor of {image.dtype} with shape {list(image.shape)}: it should be floats in "
                         f"[-1, 1], [{channels}, H, W] or [B, {channels}, H, W], and not empty")
    least, most = image.aminmax()
    if not (least >= -1 - SLACK and most <= 1 + SLACK):  # also if they are NaN
        raise ValueError(f"a tensor of values from {least:.4g} to {most:.4g}: they should be in [-1, 1]; an image "
                         "of 0 to 255 is image / 127.5 - 1")
    if 0 <= least < DARK < most:
        warnings.warn("a tensor without negative values: they should be in [-1, 1]; an image of 0 to 1 is 2 * image - "
                      "1", stacklevel=4)
    return image.detach().float().reshape(-1, *image.shape[-3:])


def _stored_as(output: Tensor, dtype: np.dtype[Any], value_range: Range | None) -> NDArray[Any]:
    """Convert [C, H, W] in [-1, 1] to [H, W, C] of ``dtype``, or of another type if that cannot hold the range."""
    if value_range is None and (dtype.kind != "u" or dtype == np.uint8):
        return np.ascontiguousarray(levels(output).byte().permute(1, 2, 0).cpu().numpy())
    low, high = value_range or full_range(dtype) or (0, 1)
    fits = dtype.kind == "f" or (dtype.kind in "iu" and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)
    values = from_unit(output.detach().float().cpu().numpy(), (low, high), dtype if fits else np.float32)
    return np.ascontiguousarray(values.transpose(1, 2, 0))
