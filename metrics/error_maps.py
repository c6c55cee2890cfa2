"""Maps of the structural difference between two images, by several measures.

Features are [B, C, h, w], error maps [B, h, w]. `similarity_error` is the measure of the spatially-correlative losses;
the others are baselines (C. Zheng, T.-J. Cham, J. Cai: "The Spatially-Correlative Loss for Various Image Translation
Tasks", CVPR 2021, arXiv 2104.00854).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from spatial_correlative import self_similarity, structure_cosine, window_positions

QUERIES = 1024
"""Number of positions whose self-similarity is in memory at once."""


def pixel_error(source: Tensor, candidate: Tensor) -> Tensor:
    """Compute the mean absolute difference of the channels, as a fraction of their range.

    Args:
        source, candidate: images [B, C, H, W] in [-1, 1].

    Returns:
        [B, H, W], in [0, 1].

    Raises:
        ValueError: the shapes differ.
    """
    return perceptual_error(source, candidate) / 2


def perceptual_error(source: Tensor, candidate: Tensor) -> Tensor:
    """Compute the mean absolute difference of features: [B, h, w]. Its mean is the perceptual loss of the layer.

    Raises:
        ValueError: the shapes differ.
    """
    _require_alike(source, candidate)
    return (source - candidate).abs().mean(dim=1)


def cosine_error(source: Tensor, candidate: Tensor) -> Tensor:
    """Compute 1 - cosine of features at the same position, the comparison of PatchNCE: [B, h, w], in [0, 2].

    Raises:
        ValueError: the shapes differ.
    """
    _require_alike(source, candidate)
    return 1 - F.cosine_similarity(source, candidate, dim=1)


def similarity_error(
    source: Tensor, candidate: Tensor, *, patch_size: int, normalize: bool = False, whole_rows: bool = False
) -> Tensor:
    """Compute 1 - cosine of rows of self-similarity, at the candidate's strongest quarter of keys.

    With ``normalize``, the mean over positions is the structure distance of mode ``cos``. Without, that loss takes the
    smooth L1 of each position's error: half its square up to 1. In a uniform image, where self-similarity is 0
    everywhere, the error is 1.

    Args:
        source, candidate: features [B, C, h, w].
        patch_size, normalize: see `self_similarity`.
        whole_rows: compare all keys.

    Returns:
        [B, h, w], in [0, 2].

    Raises:
        ValueError: the shapes differ, or as `self_similarity`.
    """
    _require_alike(source, candidate)
    height, width = source.shape[2:]
    cosine = partial(F.cosine_similarity, dim=2) if whole_rows else structure_cosine
    rows = []
    for queries in torch.arange(height * width, device=source.device).split(QUERIES):
        maps = [self_similarity(features, queries, patch_size=patch_size, normalize=normalize)
                for features in (source, candidate)]
        rows.append(1 - cosine(*maps))
    return torch.cat(rows, dim=1).view(-1, height, width)


def similarity_map(features: Tensor, y: int, x: int, *, patch_size: int, normalize: bool = False) -> Tensor:
    """Compute the similarity of each position to (y, x): [B, C, h, w] -> [B, h, w], NaN outside the query's window.

    Args:
        features: [B, C, h, w].
        y, x: the query, in feature map coordinates.
        patch_size, normalize: see `self_similarity`.
    """
    height, width = features.shape[2:]
    query = torch.tensor([y * width + x], device=features.device)
    values = self_similarity(features, query, patch_size=patch_size, normalize=normalize)[:, 0]  # [B, P]
    if values.shape[1] == height * width:
        return values.view(-1, height, width)
    everywhere = values.new_full((len(values), height * width), torch.nan)
    window = window_positions(query, height, width, patch_size)
    return everywhere.scatter(1, window.expand(len(values), -1), values).view(-1, height, width)


def _require_alike(source: Tensor, candidate: Tensor) -> None:
    if source.shape != candidate.shape:
        raise ValueError(f"an image and a candidate differ in shape: {list(source.shape)}, {list(candidate.shape)}")
