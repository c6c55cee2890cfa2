"""Scaling and cropping of images. Pure functions.

Scaling depends only on the image and the flags. Random choices are planned first, from sizes only, as plain numbers:
several images can share them, and another process or device can apply them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from options import DataFlags, has_crop


@dataclass(frozen=True)
class Policy:
    """Settings for scaling and cropping. Sizes in pixels."""

    preprocess: str
    load_size: int
    crop_size: int
    random_crop: bool
    """Crop at random; otherwise in the centre."""
    random_flip: bool
    zoom_max: float = 1.0
    """Largest factor by which ``zoom_and_patch`` scales down at random."""

    @classmethod
    def of(cls, flags: DataFlags, *, training: bool) -> Policy:
        """Build the policy of the flags: training crops and flips at random, a test takes the centre."""
        return cls(flags.preprocess, flags.load_size, flags.crop_size, random_crop=training,
                   random_flip=training and not flags.no_flip, zoom_max=flags.random_scale_max if training else 1.0)


class Crop(NamedTuple):
    """A box inside a scaled image, in pixels, with a flip and a size after it."""

    top: int
    left: int
    height: int
    width: int
    mirror: bool
    """Flip horizontally."""
    resized: tuple[int, int] | None = None
    """(height, width) to scale the box to; None: keep its size."""


def size_of(image: Tensor) -> tuple[int, int]:
    """Return (height, width) of [..., H, W]."""
    return image.shape[-2], image.shape[-1]


def scaled_size(height: int, width: int, policy: Policy) -> tuple[int, int]:
    """Return (height, width) of an image after scaling, before the crop.

    Modes: ``resize_and_crop`` scales to a square of load_size, ``scale_width`` to that width and
    ``scale_shortside_and_crop`` to that shorter side (these two keep the aspect), ``zoom_and_patch`` down to that
    longer side, ``crop`` and ``none`` do not scale. In modes with a crop, an image that would be smaller than the crop
    is enlarged until it fits; its aspect is kept.
    """
    mode, short = policy.preprocess, min(height, width)
    if mode == "resize_and_crop":
        height = width = short = policy.load_size
    multiply, divide = 1, 1  # one exact scale, rounded once
    if mode in ("scale_width", "scale_width_and_crop"):
        multiply, divide = policy.load_size, width
    elif mode == "scale_shortside_and_crop":
        multiply, divide = policy.load_size, short
    elif mode == "zoom_and_patch" and max(height, width) > policy.load_size:
        multiply, divide = policy.load_size, max(height, width)
    if has_crop(mode) and short * multiply < policy.crop_size * divide:
        multiply, divide = policy.crop_size, short
    return max(1, round(height * multiply / divide)), max(1, round(width * multiply / divide))


def scale(image: Tensor, policy: Policy) -> Tensor:
    """Scale [C, H, W], uint8 or float in [0, 1], to its `scaled_size` (bicubic, antialiased); keep the dtype."""
    return resize(image, scaled_size(*size_of(image), policy))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale [C, H, W], uint8 or float in [0, 1], to ``size`` (height, width): bicubic, antialiased; keep the dtype.

    A mask, bool, takes the nearest values.
    """
    if size_of(image) == size:
        return image
    if image.dtype == torch.bool:
        mask: Tensor = F.resize(image.byte(), list(size), interpolation=F.InterpolationMode.NEAREST_EXACT).bool()
        return mask
    if size == (1, 1) and not image.is_floating_point():  # torch's code for 8 bits fails at a single pixel
        values: Tensor = resize(F.to_dtype(image, torch.float32, scale=True), size)
        single: Tensor = F.to_dtype(values, torch.uint8, scale=True)
        return single
    image = F.resize(image, list(size), interpolation=F.InterpolationMode.BICUBIC, antialias=True)
    # Bicubic overshoots at edges; for integers the resize itself clamps.
    return image.clamp(0, 1) if image.is_floating_point() else image


def plan_crop(size: tuple[int, int], policy: Policy, generator: torch.Generator) -> Crop:
    """Draw the crop of a scaled image of ``size`` (height, width): a square of crop_size, or the whole image.

    ``zoom_and_patch`` scales each side of the image by a factor drawn from [1 / zoom_max, 1], and then crops the
    square. This equals cropping a larger box and scaling only that.

    Three numbers are drawn, by ``zoom_and_patch`` five, whatever the size, so that later draws stay the same.
    """
    height, width = size
    crop_height, crop_width = (policy.crop_size, policy.crop_size) if has_crop(policy.preprocess) else size
    resized = None
    if policy.preprocess == "zoom_and_patch":
        resized, least = (crop_height, crop_width), 1 / policy.zoom_max
        factors = (least + (1 - least) * torch.rand(2, generator=generator, dtype=torch.float64)).tolist()
        crop_height, crop_width = (
            min(round(policy.crop_size / factor), side) for factor, side in zip(factors, size, strict=True))
    vertical, horizontal, mirror = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    if not policy.random_crop:
        vertical = horizontal = 0.5
    top = min(int(vertical * (height - crop_height + 1)), height - crop_height)
    left = min(int(horizontal * (width - crop_width + 1)), width - crop_width)
    return Crop(top, left, crop_height, crop_width, policy.random_flip and mirror < 0.5, resized)


def cut(image: Tensor, crop: Crop) -> Tensor:
    """Crop [C, H, W] without flipping it: a view, or resized."""
    box = image[..., crop.top:crop.top + crop.height, crop.left:crop.left + crop.width]
    return box if crop.resized is None else resize(box, crop.resized)
