"""Precision, recall, density and coverage of two sets of features."""

import torch
from torch import Tensor

from metrics.bootstrap import Statistic

NEIGHBOURS = 5
"""Radius of a member's ball: the distance to its fifth nearest neighbour."""


MANIFOLD_SCORES = ("precision", "recall", "density", "coverage")


def manifold_statistic(fake: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> Statistic:
    """Compute the `MANIFOLD_SCORES` (Naeem et al., 2020; precision and recall after Kynkäänniemi et al., 2019).

    The radius of a member's open ball is the distance to the ``neighbours``-th nearest other member of its set. A row
    is no neighbour of its own copies.

    - precision: share of fakes inside the ball of any real
    - recall: share of reals inside the ball of any fake
    - density: mean number of real balls around a fake, divided by ``neighbours``
    - coverage: share of reals with a fake inside their ball

    Args:
        fake: features [N, D].
        real: features [M, D].
        neighbours: below N and M.

    Returns:
        A function of the rows' counts: [4]; scores in [0, 1], except density, which can exceed 1.

    Raises:
        ValueError: too few rows.
    """
    if min(len(fake), len(real)) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more rows than {len(fake)} and {len(real)}")
    fake, real = fake.detach().double().cpu(), real.detach().double().cpu()
    between = _distances(real, fake)  # [M, N]
    near_fake, near_real = _nearest(fake, neighbours), _nearest(real, neighbours)

    def statistic(fake_counts: Tensor, real_counts: Tensor) -> Tensor:
        in_real = between < _radii(*near_real, real_counts, neighbours)[:, None]
        in_fake = between < _radii(*near_fake, fake_counts, neighbours)
        of_fake, of_real = fake_counts.double() / fake_counts.sum(), real_counts.double() / real_counts.sum()
        here_fake, here_real = fake_counts > 0, real_counts > 0
        return torch.stack([
            in_real[here_real].any(dim=0).double() @ of_fake,
            in_fake[:, here_fake].any(dim=1).double() @ of_real,
            real_counts.double() @ (in_real.double() @ of_fake) / neighbours,
            in_real[:, here_fake].any(dim=1).double() @ of_real,
        ])

    return statistic


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Exact, so that a member on the edge of a ball is outside on every machine.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _nearest(rows: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Find the K nearest others of each row: distances, indices [N, K]. K > ``neighbours``, as counts may be 0."""
    distances = _distances(rows, rows).fill_diagonal_(torch.inf)
    nearest = distances.topk(min(len(rows) - 1, 10 * neighbours), largest=False)
    return nearest.values, nearest.indices


def _radii(distances: Tensor, indices: Tensor, counts: Tensor, neighbours: int) -> Tensor:
    """Compute the distances [N] to the ``neighbours``-th nearest others, or to the last known ones if fewer."""
    short = (counts[indices].cumsum(dim=1) < neighbours).sum(dim=1)
    return distances.gather(1, short.clamp(max=distances.shape[1] - 1)[:, None])[:, 0]
