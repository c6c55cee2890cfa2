"""The Fréchet distance between two sets of features."""

import torch
from torch import Tensor

from metrics.bootstrap import Statistic, ones


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Compute the squared Fréchet (2-Wasserstein) distance between the Gaussians of two sets (Heusel et al., 2017).

    ``|mean_a - mean_b|^2 + tr(cov_a) + tr(cov_b) - 2 tr((cov_a cov_b)^(1/2))``, with unbiased covariances.

    Args:
        a: features [N, D].
        b: features [M, D].

    Returns:
        The distance, at least 0, in squared units of the features.

    Raises:
        ValueError: fewer than two rows, or values that are not finite.
    """
    return float(frechet_statistic(a, b)(ones(a), ones(b)))


def frechet_statistic(a: Tensor, b: Tensor) -> Statistic:
    """Return `frechet_distance` as a function of the rows' counts: [1]."""
    for features in (a, b):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a covariance needs features [N, D] with N >= 2, got {list(features.shape)}")
        if not features.isfinite().all():
            raise ValueError("the features hold values that are not finite")
    rows_a, rows_b = a.detach().double().cpu(), b.detach().double().cpu()

    def statistic(counts_a: Tensor, counts_b: Tensor) -> Tensor:
        (mean_a, spread_a), (mean_b, spread_b) = _gaussian(rows_a, counts_a), _gaussian(rows_b, counts_b)
        # The eigenvalues of cov_a cov_b are the squared singular values of R_a R_b^T where cov = R^T R. Unlike the
        # square root of the product this holds for any rank (fewer images than features) and never turns complex.
        overlap = torch.linalg.svdvals(spread_a @ spread_b.T).sum()
        distance = (mean_a - mean_b).square().sum() + spread_a.square().sum() + spread_b.square().sum() - 2 * overlap
        clipped: Tensor = distance.clamp(min=0)
        return clipped[None]

    return statistic


def _gaussian(rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean [D] of rows with counts, and R [at most D, D] with covariance R^T R."""
    kept = counts > 0
    rows, counts = rows[kept], counts[kept].double()
    total = counts.sum()
    mean = counts @ rows / total
    centred = (counts / (total - 1)).sqrt()[:, None] * (rows - mean)
    return mean, centred if len(rows) <= rows.shape[1] else torch.linalg.qr(centred, mode="r").R
