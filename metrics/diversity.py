"""Diversity of translations in several styles."""

import torch
from torch import Tensor


def style_diversity(features: Tensor) -> tuple[float, float]:
    """Compute mean Euclidean distances between features of translations.

    Args:
        features: [S, N, C], N images in S styles each; S and N at least 2.

    Returns:
        The distance between two styles of one image, and between two images in one style.

    Raises:
        ValueError: fewer styles or images.
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2:
        raise ValueError(f"a distance needs features [S, N, C] with S and N >= 2, got {list(features.shape)}")
    features = features.double()
    styles = torch.stack([torch.pdist(of_image) for of_image in features.unbind(dim=1)])
    images = torch.stack([torch.pdist(of_style) for of_style in features.unbind(dim=0)])
    return styles.mean().item(), images.mean().item()
