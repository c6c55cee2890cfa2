"""Distances between images, and between the halves of an image (Benaim, Wolf: NIPS 2017, arXiv 1706.00826)."""

import torch.nn.functional as F
from torch import Tensor


def pair_distances(images: Tensor) -> Tensor:
    """Compute the mean absolute differences of all pairs of images [B, C, H, W]: [B * (B - 1) / 2]."""
    return F.pdist(images.flatten(1), p=1) / images[0].numel()


def half_distances(images: Tensor) -> Tensor:
    """Compute the mean absolute difference of the left and the right half of each image [B, C, H, W]: [B].

    The middle column of an odd width belongs to neither half.
    """
    width = images.shape[3] // 2
    return (images[..., :width] - images[..., -width:]).abs().mean((1, 2, 3))
