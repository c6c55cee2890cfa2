"""From decoded images to network inputs: scaling, cropping, mirroring, colour jitter. Pure functions.

The geometry is planned first, from sizes alone, and then applied, so that several images can share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from options import DataFlags

BRIGHTNESS = CONTRAST = SATURATION = 0.5
HUE = 0.3


@dataclass(frozen=True)
class Policy:
    """How images are brought to size. Sizes in pixels."""

    preprocess: str
    load_size: int
    crop_size: int
    random_crop: bool
    """Crop anywhere; otherwise in the centre."""
    random_flip: bool

    @classmethod
    def of(cls, flags: DataFlags, *, training: bool) -> Policy:
        """Random crops and flips are for training; a test shows the centre, unmirrored."""
        return cls(flags.preprocess, flags.load_size, flags.crop_size, random_crop=training,
                   random_flip=training and not flags.no_flip)


@dataclass(frozen=True)
class Geometry:
    """Scale to ``height`` x ``width``, cut out the box, then mirror left and right if ``flip``."""

    height: int
    width: int
    top: int
    left: int
    crop_height: int
    crop_width: int
    flip: bool


def plan_geometry(size: tuple[int, int], policy: Policy, generator: torch.Generator) -> Geometry:
    """Draw the geometry of one image of ``size`` (height, width).

    Modes: ``resize_and_crop`` scales to a square of load_size, ``scale_width`` to that width and
    ``scale_shortside_and_crop`` to that shorter side (these two keep the aspect), ``crop`` and ``none`` do
    not scale. Modes with a crop cut out a square of crop_size; an image that would be smaller than it is
    enlarged, aspect kept, until it fits. Three numbers are always drawn, whatever the mode and the size, so
    that later draws stay the same.
    """
    height, width = scaled_size(*size, policy)
    crops = "crop" in policy.preprocess
    crop_height, crop_width = (policy.crop_size, policy.crop_size) if crops else (height, width)
    vertical, horizontal, mirror = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    if not policy.random_crop:
        vertical = horizontal = 0.5
    top = min(int(vertical * (height - crop_height + 1)), height - crop_height)
    left = min(int(horizontal * (width - crop_width + 1)), width - crop_width)
    return Geometry(height, width, top, left, crop_height, crop_width, policy.random_flip and mirror < 0.5)


def size_of(image: Tensor) -> tuple[int, int]:
    """(height, width) of [..., H, W]."""
    return image.shape[-2], image.shape[-1]


def scaled_size(height: int, width: int, policy: Policy) -> tuple[int, int]:
    """(height, width) before the crop."""
    mode, short = policy.preprocess, min(height, width)
    if mode == "resize_and_crop":
        height = width = short = policy.load_size
    multiply, divide = 1, 1  # one exact scale, rounded once
    if mode in ("scale_width", "scale_width_and_crop"):
        multiply, divide = policy.load_size, width
    elif mode == "scale_shortside_and_crop":
        multiply, divide = policy.load_size, short
    if "crop" in mode and short * multiply < policy.crop_size * divide:
        multiply, divide = policy.crop_size, short
    return max(1, round(height * multiply / divide)), max(1, round(width * multiply / divide))


def apply_geometry(image: Tensor, geometry: Geometry) -> Tensor:
    """Scale (bicubic, antialiased, clamped to the range), crop and mirror [C, H, W]; the dtype stays."""
    size = [geometry.height, geometry.width]
    if list(image.shape[-2:]) != size:
        image = F.resize(image, size, interpolation=F.InterpolationMode.BICUBIC, antialias=True)
        if image.is_floating_point():
            image = image.clamp(0, 1)  # bicubic overshoots at edges; for integers the resize itself clamps
    bottom, right = geometry.top + geometry.crop_height, geometry.left + geometry.crop_width
    image = image[..., geometry.top:bottom, geometry.left:right]
    return image.flip(-1) if geometry.flip else image


def jitter(image: Tensor, generator: torch.Generator) -> Tensor:
    """Change the appearance and keep the structure: brightness, contrast, saturation and hue in random order.

    Strengths are those of the paper (0.5, 0.5, 0.5 and 0.3, the hue in turns). Images of one channel have
    neither saturation nor hue.

    Args:
        image: [C, H, W], float in [0, 1], C 1 or 3.
        generator: source of the four strengths and of their order.

    Returns:
        The same shape and range.
    """
    strengths = (2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1).tolist()
    for step in torch.randperm(4, generator=generator).tolist():
        strength = strengths[step]
        if step == 0:
            image = F.adjust_brightness(image, 1 + BRIGHTNESS * strength)
        elif step == 1:
            image = adjust_contrast(image, 1 + CONTRAST * strength)
        elif step == 2 and image.shape[0] == 3:
            image = F.adjust_saturation(image, 1 + SATURATION * strength)
        elif step == 3 and image.shape[0] == 3:
            image = F.adjust_hue(image, HUE * strength)
    return image


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    """Blend [C, H, W] in [0, 1] with its mean luminance.

    torchvision's version takes the mean in one reduction, whose rounding depends on the number of threads;
    rows first, it does not, and a worker process (one thread) computes what the main process would.
    """
    grey = F.rgb_to_grayscale(image) if image.shape[0] == 3 else image
    mean = grey.mean(-1).mean(-1)[:, None, None]  # [1, 1, 1]
    return (factor * image + (1 - factor) * mean).clamp(0, 1)


def network_inputs(
    name: str, image: Tensor, geometry: Geometry, jitter_generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """The sample's entries of one domain, float32 in [-1, 1].

    Args:
        name: ``A`` or ``B``.
        image: as decoded, [C, H, W], uint8 or float32 in [0, 1].
        geometry: planned for this size.
        jitter_generator: where given, the entry ``name_aug`` is added: the very same crop, jittered.
    """
    crop = F.to_dtype(apply_geometry(image, geometry), torch.float32, scale=True)
    entries = {name: 2 * crop - 1}
    if jitter_generator is not None:
        entries[f"{name}_aug"] = 2 * jitter(crop, jitter_generator) - 1
    return entries
