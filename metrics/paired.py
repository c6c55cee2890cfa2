"""Scores against the true counterpart of an image. Images are float [..., 3, H, W] in [-1, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.pairing import Unsuited

LINE_THRESHOLD = 0.5
"""Luminance, from 0 (black) to 1 (white), below which a pixel is part of a line."""

PSNR_MOST = 100.0
"""In dB. Of identical images the ratio is infinite; in 256x256 pixels, one level in one value makes 101."""

WINDOW = 11
"""Pixels along the sides of the window of `ssim`."""


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


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(range^2 / mean squared error): [...], at most `PSNR_MOST`.

    Args:
        image, truth: [..., 3, H, W] in [-1, 1], of one shape.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(image, truth)
    error = (image - truth).double().square().mean(dim=(-3, -2, -1))
    return (10 * torch.log10(4 / error)).clamp(max=PSNR_MOST)


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004): [...], from -1 to 1, which is the same image.

    Their Gaussian window, 11x11 with a standard deviation of 1.5, where it lies inside the image; their constants 0.01
    and 0.03; the mean over positions and the three channels.

    Args:
        image, truth: [..., 3, H, W] in [-1, 1], of one shape.

    Raises:
        ValueError: the shapes differ.
        Unsuited: an image is smaller than the window.
    """
    _check_shapes(image, truth)
    if min(image.shape[-2:]) < WINDOW:
        raise Unsuited(f"SSIM needs images of {WINDOW}x{WINDOW} pixels")
    x, y = (t.double().reshape(-1, 1, *t.shape[-2:]) for t in (image, truth))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x.square(), _blurred(y * y) - mean_y.square()
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance, contrast = (2 * 0.01) ** 2, (2 * 0.03) ** 2  # the images' range is 2
    similarity = ((2 * mean_x * mean_y + luminance) * (2 * covariance + contrast)
                  / ((mean_x.square() + mean_y.square() + luminance) * (variance_x + variance_y + contrast)))
    return similarity.mean(dim=(-2, -1)).reshape(image.shape[:-2]).mean(dim=-1)


def _blurred(images: Tensor) -> Tensor:
    """[N, 1, H, W] float64 -> [N, 1, H - 10, W - 10]: means weighted by the Gaussian window."""
    steps = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    window = torch.exp(-steps.square() / (2 * 1.5**2))
    window = window / window.sum()
    return F.conv2d(F.conv2d(images, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))


def _check_shapes(image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape:
        raise ValueError(f"an image and its truth differ in shape: {list(image.shape)}, {list(truth.shape)}")
