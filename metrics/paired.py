"""Scores of an image against its true counterpart. Images are float [..., 3, H, W] in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

LINE_THRESHOLD = 0.5
"""Luminance, from 0 (black) to 1 (white), below which a pixel belongs to a line."""

PSNR_MOST = 100.0
"""In dB; the ratio of identical images is infinite. One level in one value of 256x256 pixels gives 101."""

WINDOW = 11
"""Side of the window of `ssim`, in pixels; images must not be smaller."""


def line_mask(image: Tensor, threshold: float = LINE_THRESHOLD) -> Tensor:
    """Mark the dark pixels of an image [..., 3, H, W]: bool [..., H, W].

    Luminance is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of values in [0, 1]. Dark surfaces count as lines, too.
    """
    red, green, blue = ((image + 1) / 2).unbind(dim=-3)
    return 0.299 * red + 0.587 * green + 0.114 * blue < threshold


def line_iou(image: Tensor, truth: Tensor, threshold: float = LINE_THRESHOLD) -> Tensor:
    """Compute the intersection over union of the `line_mask` of each image and its truth: [...], from 0 to 1.

    Two images without dark pixels score 1.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(image, truth)
    mask, true_mask = line_mask(image, threshold), line_mask(truth, threshold)
    union = (mask | true_mask).sum(dim=(-2, -1))
    intersection = (mask & true_mask).sum(dim=(-2, -1))
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def colour_error(image: Tensor, truth: Tensor) -> Tensor:
    """Compute the mean absolute difference of RGB values, as a fraction of their range: [...], from 0 to 1.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(image, truth)
    return (image - truth).abs().mean(dim=(-3, -2, -1)) / 2


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB, 10 log10(range^2 / mean squared error): [...], at most `PSNR_MOST`.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(image, truth)
    error = (image - truth).double().square().mean(dim=(-3, -2, -1))
    return (10 * torch.log10(4 / error)).clamp(max=PSNR_MOST)


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Compute the structural similarity (Wang et al., 2004): [...], from -1 to 1.

    Gaussian window of 11x11 with a standard deviation of 1.5, at positions inside the image; constants 0.01 and 0.03;
    mean over positions and channels, as scikit-image has it.

    Raises:
        ValueError: the shapes differ, or a side is below `WINDOW`.
    """
    _check_shapes(image, truth)
    if min(image.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of {WINDOW}x{WINDOW} pixels")
    x, y = (t.double().reshape(-1, 1, *t.shape[-2:]) for t in (image, truth))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x.square(), _blurred(y * y) - mean_y.square()
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance, contrast = (2 * 0.01) ** 2, (2 * 0.03) ** 2  # the images' range is 2
    similarity = ((2 * mean_x * mean_y + luminance) * (2 * covariance + contrast)
                  / ((mean_x.square() + mean_y.square() + luminance) * (variance_x + variance_y + contrast)))
    return similarity.mean(dim=(-2, -1)).reshape(image.shape[:-2]).mean(dim=-1)


def _blurred(images: Tensor) -> Tensor:
    """Average under the Gaussian window: [N, 1, H, W] float64 -> [N, 1, H - 10, W - 10]."""
    steps = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    window = torch.exp(-steps.square() / (2 * 1.5**2))
    window = window / window.sum()
    return F.conv2d(F.conv2d(images, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))


def _check_shapes(image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape:
        raise ValueError(f"an image and its truth differ in shape: {list(image.shape)}, {list(truth.shape)}")
