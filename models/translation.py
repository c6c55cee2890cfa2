"""Run generators on images of any size, and keep masked parts of the images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def composite(translations: Tensor, inputs: Tensor, mask: Tensor | None) -> Tensor:
    """Put the inputs [B, C, H, W] where a mask, bool [B, 1, H, W], is black (False), and translations elsewhere.

    Without a mask, return the translations.
    """
    return translations if mask is None else torch.where(mask, translations, inputs)


def translate_any_size(generator: nn.Module, images: Tensor, *more: Tensor) -> Tensor:
    """Run a generator on images of any size, for any multiple and least side that it requires.

    The output has exactly the input's height and width: what `pad_to_fit` adds is cut off again.

    Args:
        generator: a module with integer attributes ``multiple`` and ``least_size``, itself such a multiple.
        images: [B, C, H, W].
        more: further inputs of the generator.
    """
    height, width = images.shape[2:]
    multiple, least = int(generator.multiple), int(generator.least_size)  # type: ignore[arg-type]
    output: Tensor = generator(pad_to_fit(images, multiple, least), *more)
    return output[:, :, :height, :width]


def pad_to_fit(images: Tensor, multiple: int, least: int) -> Tensor:
    """Bring [B, C, H, W] to sides that are multiples of ``multiple`` and at least ``least``, itself a multiple.

    The right and lower edges are mirrored outwards, or repeated, where the image is too small to mirror.
    """
    height, width = images.shape[2:]
    down, right = (max(side + -side % multiple, least) - side for side in (height, width))
    if not down and not right:
        return images
    return F.pad(images, (0, right, 0, down), mode="reflect" if down < height and right < width else "replicate")
