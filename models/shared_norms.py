"""Share one mean and variance among all tiles of an image, instead of instance normalisation of each tile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def shared_norms(networks: Iterable[nn.Module]) -> Iterator[list[SharedNorm]]:
    """Replace each normalisation by its input's statistics by a `SharedNorm`, inside the block.

    These are instance and group normalisation and, in training mode, batch normalisation.
    """
    places = [
        (parent, name, SharedNorm(child))
        for network in networks for parent in network.modules() for name, child in parent.named_children()
        if isinstance(child, nn.InstanceNorm2d | nn.GroupNorm) or (isinstance(child, nn.BatchNorm2d) and child.training)
    ]
    for parent, name, shared in places:
        setattr(parent, name, shared)
    try:
        yield [shared for _, _, shared in places]
    finally:
        for parent, name, shared in places:
            setattr(parent, name, shared.norm)


class Unmeasured(Exception):  # noqa: N818 - no error, but the way out of the generator
    """A normalisation without statistics was reached, with these features."""

    def __init__(self, norm: SharedNorm, features: Tensor) -> None:
        super().__init__()
        self.norm, self.features = norm, features


class SharedNorm(nn.Module):
    """Normalises all tiles of an image by one mean and variance for each channel, or for each group.

    Attributes:
        learns: take them from the next input, instead of raising `Unmeasured`.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.GroupNorm | nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm, self.learns = norm, False
        self.like = torch.zeros(())  # device and precision of the statistics
        self.statistics: tuple[Tensor, Tensor] | None = None
        self.sums = torch.zeros(())  # of weights, weighted values and weighted squares, [3, C] float64

    def forward(self, x: Tensor) -> Tensor:
        if self.learns:
            self.measure(x, x.new_ones(len(x), *x.shape[2:], dtype=torch.float32))
            self.finish()
        if self.statistics is None:
            raise Unmeasured(self, x)
        mean, variance = self.statistics
        return F.batch_norm(x, mean, variance, self.norm.weight, self.norm.bias, eps=self.norm.eps)

    def measure(self, x: Tensor, weights: Tensor) -> None:
        """Add features [B, C, h, w], weighted by ``weights`` [B, H, W]."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        weights = F.adaptive_avg_pool2d(weights, (x.shape[2], x.shape[3])).to(x.dtype)[:, None]  # [B, 1, h, w]
        total = weights.sum()
        mean = (weights * x).sum((0, 2, 3)) / total
        variance = (weights * (x - mean[:, None, None]).square()).sum((0, 2, 3)) / total
        self.like = mean
        total, mean, variance = (value.cpu().double() for value in (total, mean, variance))  # MPS has no float64
        self.sums = self.sums + torch.stack([total.expand_as(mean), total * mean, total * (variance + mean.square())])

    def finish(self) -> None:
        """Normalise by the measured statistics from now on."""
        total, values, squares = self.sums
        mean, square = values / total, squares / total
        if isinstance(self.norm, nn.GroupNorm):
            size = len(mean) // self.norm.num_groups
            mean, square = (of.view(-1, size).mean(dim=1).repeat_interleave(size) for of in (mean, square))
        variance = (square - mean.square()).clamp(min=0)
        self.statistics, self.learns = (mean.to(self.like), variance.to(self.like)), False
