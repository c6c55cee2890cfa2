"""The Fréchet distance between two sets of features, each taken for a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and unbiased covariance [D, D] of features [N, D], in float64 on the CPU.

    Raises:
        ValueError: fewer than two rows (no covariance), or values that are not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"a covariance needs features [N, D] with N >= 2, got {list(features.shape)}")
    features = features.detach().double().cpu()
    if not features.isfinite().all():
        raise ValueError("the features hold values that are not finite")
    mean = features.mean(dim=0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians, as the FID of Heusel et al. (2017) has it.

    ``|mean_a - mean_b|^2 + tr(cov_a) + tr(cov_b) - 2 tr((cov_a cov_b)^(1/2))``

    With ``cov = L L^T``, the eigenvalues of ``cov_a cov_b`` are the squared singular values of ``L_a^T L_b``,
    so the last trace is the sum of those singular values. Unlike the square root of the product, this holds
    for covariances of any rank (fewer images than features) and never turns complex.

    Args:
        mean_a, mean_b: means [D].
        cov_a, cov_b: covariances [D, D], symmetric and positive semi-definite.

    Returns:
        The distance, at least 0, in squared units of the features.
    """
    mean_a, cov_a, mean_b, cov_b = (t.double().cpu() for t in (mean_a, cov_a, mean_b, cov_b))
    overlap = torch.linalg.svdvals(_factor(cov_a).T @ _factor(cov_b)).sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return max(0.0, float(distance))


def _factor(covariance: Tensor) -> Tensor:
    """L [D, rank] with ``L L^T = covariance``.

    Eigenvalues that are rounding noise are left out: their square roots would not be negligible.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor
