"""Confidence intervals of scores, by drawing the images anew (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.watch import Watch, unwatched

Statistic = Callable[[Tensor, Tensor], Tensor]
"""Scores [K] of two sets, from how often each of their members counts: float64 or int64 [N], [M]."""

LEVEL = 0.95
"""How often an interval should hold the score that is expected of as many images."""


class Score(NamedTuple):
    """A value, and its interval where there is one."""

    value: float
    interval: tuple[float, float] | None


def ones(features: Tensor) -> Tensor:
    """Each row counts once: [N]."""
    return torch.ones(len(features), dtype=torch.int64)


def draw_counts(size: int, replicates: int, seed: int) -> Tensor:
    """How often each of ``size`` members is drawn in ``size`` draws with replacement: int64 [replicates, size].

    Draws of one member alone are repeated: they have no spread. The same arguments give the same counts, so that two
    scores against one folder see that folder alike.

    Raises:
        ValueError: fewer than two members.
    """
    if size < 2:
        raise ValueError(f"nothing can be drawn anew from {size} members")
    generator = torch.Generator().manual_seed(seed)
    counts = torch.zeros(replicates, size, dtype=torch.int64)
    for row in counts:
        while (row > 0).sum() < 2:
            row.copy_(torch.randint(size, (size,), generator=generator).bincount(minlength=size))
    return counts


def interval(value: float, replicates: Tensor, bounds: tuple[float, float]) -> tuple[float, float]:
    """Percentile interval of a score from its replicates [R], centred on the score, within ``bounds``.

    A set drawn anew holds some images twice and a third not at all. That shifts scores of whole sets (it raises Fréchet
    distances as fewer images would), and intervals that are not centred can miss the score itself. The shift is
    taken out: the interval says how far another set of as many images would move the score, not what the score
    would be of infinitely many.
    """
    tail = (1 - LEVEL) / 2
    edges = torch.tensor([tail, 1 - tail], dtype=replicates.dtype)
    low, high = (value + torch.quantile(replicates - replicates.mean(), edges)).clamp(*bounds).tolist()
    return low, high


def bootstrap_sets(
    statistic: Statistic, sizes: tuple[int, int], replicates: int, seed: int, bounds: list[tuple[float, float]],
    *, watch: Watch = unwatched,
) -> list[Score]:
    """Scores of two sets that are both drawn anew; without intervals where there are no replicates.

    Args:
        statistic: gives the scores [K].
        sizes: of the sets, N and M.
        replicates: how often they are drawn.
        seed: of the draws; the second set's depend on its size and the seed alone.
        bounds: the range of each score.
        watch: shows how many draws are done.
    """
    values = statistic(*(torch.ones(size, dtype=torch.int64) for size in sizes)).tolist()
    if not replicates:
        return [Score(value, None) for value in values]
    pairs = list(zip(draw_counts(sizes[0], replicates, seed + 1), draw_counts(sizes[1], replicates, seed), strict=True))
    drawn = torch.stack([statistic(*pair) for pair in watch(pairs, "images drawn anew")])  # [R, K]
    return [Score(value, interval(value, of, limits))
            for value, of, limits in zip(values, drawn.T, bounds, strict=True)]


def bootstrap_mean(values: Tensor, replicates: int, seed: int, bounds: tuple[float, float]) -> Score:
    """The mean of values [N] of the first of the sets above; one value alone has no interval."""
    values = values.double()
    mean = values.mean().item()
    if not replicates or len(values) < 2:
        return Score(mean, None)
    drawn = draw_counts(len(values), replicates, seed + 1).double() @ values / len(values)
    return Score(mean, interval(mean, drawn, bounds))
