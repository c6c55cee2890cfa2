"""Bootstrap confidence intervals (Efron, 1979)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

Statistic = Callable[[Tensor, Tensor], Tensor]
"""Scores [K] of two sets, given how often each member counts: float64 or int64 [N], [M]."""

LEVEL = 0.95
"""Confidence level of every interval."""


class Estimate(NamedTuple):
    """A score and its confidence interval, if there is one."""

    value: float
    interval: tuple[float, float] | None = None


def ones(features: Tensor) -> Tensor:
    """Count each row once: [N]."""
    return torch.ones(len(features), dtype=torch.int64)


def draw_counts(size: int, replicates: int, seed: int) -> Tensor:
    """Count how often each of ``size`` members occurs in ``size`` draws with replacement: int64 [replicates, size].

    A replicate of one member only is drawn again, because it has no spread. Equal arguments give equal counts: two
    methods are compared on the same replicates of the real images.

    Raises:
        ValueError: fewer than two members.
    """
    if size < 2:
        raise ValueError(f"a bootstrap needs at least two members, got {size}")
    generator = torch.Generator().manual_seed(seed)
    counts = torch.zeros(replicates, size, dtype=torch.int64)
    for row in counts:
        while (row > 0).sum() < 2:
            row.copy_(torch.randint(size, (size,), generator=generator).bincount(minlength=size))
    return counts


def draw_pairs(sizes: tuple[int, int], replicates: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Draw counts of two sets. Those of the second depend only on its size and the seed."""
    return list(zip(draw_counts(sizes[0], replicates, seed + 1), draw_counts(sizes[1], replicates, seed), strict=True))


def interval(value: float, replicates: Tensor, bounds: tuple[float, float]) -> tuple[float, float]:
    """Compute the percentile interval of replicates [R], centred on ``value`` and clipped to ``bounds``.

    A replicate repeats some images and lacks a third of them. This biases scores of whole sets (Fréchet distances
    rise, as with fewer images), so that an uncentred interval can exclude the score itself. The interval says how far
    another set of the same size would move the score, not what the score of infinitely many images would be.
    """
    tail = (1 - LEVEL) / 2
    edges = torch.tensor([tail, 1 - tail], dtype=replicates.dtype)
    low, high = (value + torch.quantile(replicates - replicates.mean(), edges)).clamp(*bounds).tolist()
    return low, high


def bootstrap_sets(
    statistic: Statistic, sizes: tuple[int, int], pairs: Iterable[tuple[Tensor, Tensor]],
    bounds: list[tuple[float, float]],
) -> list[Estimate]:
    """Score two sets, with intervals over replicates of both.

    Args:
        statistic: returns K scores.
        sizes: of the sets, N and M.
        pairs: the replicates' counts, see `draw_pairs`; without any there are no intervals.
        bounds: range of each score, K of them.
    """
    values = statistic(*(torch.ones(size, dtype=torch.int64) for size in sizes)).tolist()
    replicates = [statistic(*pair) for pair in pairs]
    if not replicates:
        return [Estimate(value) for value in values]
    return [Estimate(value, interval(value, of, limits))
            for value, of, limits in zip(values, torch.stack(replicates).T, bounds, strict=True)]


def bootstrap_mean(values: Tensor, replicates: int, seed: int, bounds: tuple[float, float]) -> Estimate:
    """Average values [N], with an interval if there are at least two and ``replicates`` is not 0.

    The replicates are those of the first set of `draw_pairs`.
    """
    values = values.double()
    mean = values.mean().item()
    if not replicates or len(values) < 2:
        return Estimate(mean)
    drawn = draw_counts(len(values), replicates, seed + 1).double() @ values / len(values)
    return Estimate(mean, interval(mean, drawn, bounds))


def bootstrap_ratio(numerator: Tensor, denominator: Tensor, replicates: int, seed: int) -> tuple[float, float]:
    """Compute the percentile interval of mean(numerator) / mean(denominator), of N pairs each."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(numerator), (replicates, len(numerator)), generator=generator)
    ratios = numerator[chosen].mean(dim=1) / denominator[chosen].mean(dim=1)
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(ratios, ratios.new_tensor([tail, 1 - tail])).tolist()
    return low, high
