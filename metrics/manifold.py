"""Precision, recall, density and coverage: how two sets of features lie in each other's neighbourhoods."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.bootstrap import Statistic, ones

NEIGHBOURS = 5
"""A member's ball reaches to its fifth nearest neighbour."""


class Manifold(NamedTuple):
    """What `manifold_scores` gives, each a fraction but density, which may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_scores(fake: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> Manifold:
    """The four scores as Naeem et al. (2020) define them; precision and recall after Kynkäänniemi et al. (2019).

    A member's ball reaches to its ``neighbours``-th nearest other member of its own set; its edge is outside.

    - precision: fakes in some real's ball
    - recall: reals in some fake's ball
    - density: real balls that a fake lies in, over ``neighbours``
    - coverage: reals whose ball holds a fake

    Args:
        fake: features [N, D].
        real: features [M, D].
        neighbours: below N and M.

    Raises:
        ValueError: too few rows.
    """
    return Manifold(*manifold_statistic(fake, real, neighbours)(ones(fake), ones(real)).tolist())


def manifold_statistic(fake: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> Statistic:
    """`manifold_scores` as a function of how often each row counts: [4]. A row is no neighbour of its own copies."""
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
    # Exact, so that a member at the very edge of a ball is outside on every machine.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _nearest(rows: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Distances [N, K] and indices [N, K] of each row's nearest others; more than ``neighbours``, as some may be left
    out."""
    distances = _distances(rows, rows).fill_diagonal_(torch.inf)
    nearest = distances.topk(min(len(rows) - 1, 10 * neighbours), largest=False)
    return nearest.values, nearest.indices


def _radii(distances: Tensor, indices: Tensor, counts: Tensor, neighbours: int) -> Tensor:
    """[N]: the distance within which there are ``neighbours`` others (the last one known, where there are fewer)."""
    short = (counts[indices].cumsum(dim=1) < neighbours).sum(dim=1)
    return distances.gather(1, short.clamp(max=distances.shape[1] - 1)[:, None])[:, 0]
