"""How much a multi-modal translation's style changes, beside how much its content does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metrics.features import feature_conditions, vgg_features
from metrics.images import partners, program_conditions
from util.errors import UserError
from util.images import find_images


def style_diversity(features: Tensor) -> tuple[float, float]:
    """Mean Euclidean distances between features of translations.

    Args:
        features: [S, N, C]: of N images, each in S styles; S and N at least 2.

    Returns:
        Between two styles of one image, and between two images in one style.

    Raises:
        ValueError: fewer styles or images.
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2:
        raise ValueError(f"a distance needs features [S, N, C] with S and N >= 2, got {list(features.shape)}")
    features = features.double()
    styles = torch.stack([torch.pdist(of_image) for of_image in features.unbind(dim=1)])
    images = torch.stack([torch.pdist(of_style) for of_style in features.unbind(dim=0)])
    return styles.mean().item(), images.mean().item()


def score_styles(
    folders: Sequence[Path], *, layer: str = "relu4_3", weights: str = "bundled", device: torch.device | str = "cpu",
    batch_size: int = 16,
) -> dict[str, Any]:
    """Score folders of translations, one for each style, that hold images of the same names.

    Images of the first folder alone count; the others must have them too.

    Returns:
        ``distance_styles`` and ``distance_images`` as `style_diversity` has them, their quotient
        ``style_diversity``, and what they depend on.

    Raises:
        UserError: a folder missing, too few folders or images, or an image without its partners.
    """
    if len(folders) < 2:
        raise UserError(f"--outputs names one folder, {folders[0]}: give one for each style, at least two")
    first = find_images(folders[0], "--outputs", subfolders=False)
    if len(first) < 2:
        raise UserError(f"--outputs: '{folders[0]}' holds a single image; distances between images need at least two")
    files = [first, *(partners(first, folder, "--outputs") for folder in folders[1:])]
    features = torch.stack([vgg_features(paths, layer=layer, weights=weights, device=device, batch_size=batch_size)
                            for paths in files])
    styles, images = style_diversity(features)
    if images == 0:
        raise UserError(f"--outputs: all images in '{folders[0]}' look alike to VGG16, so there is nothing to compare "
                        "styles with")
    return {
        "distance_styles": styles, "distance_images": images, "style_diversity": styles / images,
        "styles": len(folders), "images": len(first),
        **feature_conditions(layer, weights), **program_conditions(device),
    }
