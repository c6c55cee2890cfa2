"""Scores against the true counterpart of an image. Images are float [..., 3, H, W] in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

LINE_THRESHOLD = 0.5
"""Luminance, from 0 (black) to 1 (white), below which a pixel is part of a line."""


def line_mask(image: Tensor, threshold: float = LINE_THRESHOLD) -> Tensor:
    """Where an image [..., 3, H, W] is dark: bool [..., H, W].

    Luminance is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of the values moved to [0, 1]. Nothing tells a
    drawn line from a dark surface: in a coloured picture, dark fillings are part of the mask.
    """
    red, green, blue = ((image + 1) / 2).unbind(dim=-3)
    return 0.299 * red + 0.587 * green + 0.114 * blue < threshold


def line_iou(image: Tensor, truth: Tensor, threshold: float = LINE_THRESHOLD) -> Tensor:
    """Intersection over union of the `line_mask` of each image and its truth: [...], from 0 to 1.

    Two images without any dark pixel agree, and score 1.

    Args:
        image, truth: [..., 3, H, W] in [-1, 1], of one shape.
        threshold: see `line_mask`.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(image, truth)
    mask, true_mask = line_mask(image, threshold), line_mask(truth, threshold)
    union = (mask | true_mask).sum(dim=(-2, -1))
    intersection = (mask & true_mask).sum(dim=(-2, -1))
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def colour_error(image: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the RGB values, as a fraction of their range: [...], from 0 to 1.

    1 lies between black and white, 1/255 is one step of an 8-bit image in every channel.

    Args:
        image, truth: [..., 3, H, W] in [-1, 1], of one shape.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(image, truth)
    return (image - truth).abs().mean(dim=(-3, -2, -1)) / 2


def _check_shapes(image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape:
        raise ValueError(f"an image and its truth differ in shape: {list(image.shape)}, {list(truth.shape)}")
