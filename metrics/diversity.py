"""How much a multi-modal translation's style changes, beside how much its content does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.feature_extractors import VGGFeatures
from evaluation.lpips_distance import PerceptualDistance
from evaluation.pairing import in_styles, program_conditions, read_image, require_one_size
from metrics.bootstrap import LEVEL, bootstrap_mean
from metrics.scores import MEASURES
from util.errors import UserError


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
    folders: Sequence[Path], features: VGGFeatures, perceptual: PerceptualDistance | None = None, *,
    replicates: int = 100, seed: int = 0,
) -> dict[str, Any]:
    """Score folders of translations, one for each style, that hold images of the same names.

    Images of the first folder alone count; the others must have them too.

    Args:
        folders: at least two.
        features: gives what `style_diversity` compares.
        perceptual: for ``lpips_diversity``, the mean LPIPS distance between two styles of one image, over all pairs of
            styles, as in Huang et al. (2018); and its confidence interval, as images are drawn anew.
        replicates: how often they are; 0: no interval.
        seed: of these draws.

    Returns:
        ``distance_styles`` and ``distance_images`` as `style_diversity` has them, their quotient
        ``style_diversity``, and what they depend on.

    Raises:
        UserError: a folder missing, too few folders or images, an image without its partners or of another size.
    """
    if len(folders) < 2:
        raise UserError(f"--outputs names one folder, {folders[0]}: give one for each style, at least two")
    files = in_styles(folders, "--outputs")
    if len(files[0]) < 2:
        raise UserError(f"--outputs: '{folders[0]}' holds a single image; distances between images need at least two")
    styles, images = style_diversity(torch.stack([features(paths) for paths in files]))
    if images == 0:
        raise UserError(f"--outputs: all images in '{folders[0]}' look alike to VGG16, so there is nothing to compare "
                        "styles with")
    scores = {
        "distance_styles": styles, "distance_images": images, "style_diversity": styles / images,
        "styles": len(folders), "images": len(files[0]), **features.conditions,
        **program_conditions(features.device),
    }
    if perceptual is not None:
        apart = torch.stack([_between_styles(of_image, perceptual) for of_image in zip(*files, strict=True)])
        value, interval = bootstrap_mean(apart, replicates, seed, MEASURES["lpips"].bounds)
        scores |= {"lpips_diversity": value, "lpips_diversity_interval": interval, "bootstrap": replicates,
                   "confidence": LEVEL, "bootstrap_seed": seed, **perceptual.conditions}
    return scores


def _between_styles(paths: Sequence[Path], perceptual: PerceptualDistance) -> Tensor:
    """The mean distance of all pairs of an image's styles: a scalar."""
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        require_one_size(path, image, paths[0], images[0])
    return torch.stack([perceptual(one, other) for one, other in combinations(images, 2)]).mean()
