"""Order and random choices of samples: functions of only the seed and the position in the run."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

_ORDER, _SAMPLE = 0, 1  # streams of random numbers


class SampleKey(NamedTuple):
    """Index of a sample, and the seed of all its random choices."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    seed: int

    def generator(self) -> torch.Generator:
        """Return a new generator; it draws the same numbers each time."""
        return torch.Generator().manual_seed(self.seed)


class EpochSampler(Sampler[list[SampleKey]]):
    """Batches of one epoch, for `torch.utils.data.DataLoader`. Set ``epoch`` and ``skip`` before each pass.

    Args:
        batches_of: `epoch_batches` of a data set.
    """

    def __init__(self, batches_of: Callable[..., Iterator[list[SampleKey]]]) -> None:
        self.batches_of = batches_of
        self.epoch = self.skip = 0

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return self.batches_of(epoch=self.epoch, skip=self.skip)


def epoch_batches(
    length: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool, skip: int = 0, rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[SampleKey]]:
    """Yield the batches of one process in one epoch, as keys.

    All processes cut the same order into global batches of ``world_size * batch_size``; each takes its slice.

    Args:
        length: samples in an epoch.
        batch_size: samples in a batch of one process.
        seed: of the run.
        epoch: its number, from 0.
        shuffle: draw the order; otherwise it is that of the data set.
        skip: first samples to leave out, of all processes together.
        rank, world_size: number of this process, and of all.
    """
    order: Sequence[int] = range(length)
    if shuffle:
        generator = torch.Generator().manual_seed(mix(seed, _ORDER, epoch))
        order = torch.randperm(length, generator=generator).tolist()
    for start in range(skip, length, world_size * batch_size):
        samples = min(world_size * batch_size, length - start)
        yield [SampleKey(order[position], mix(seed, _SAMPLE, epoch, position))
               for position in share(start, samples, length, rank=rank, world_size=world_size)]


def share(start: int, samples: int, length: int, *, rank: int, world_size: int) -> list[int]:
    """Return one process's positions of a global batch of ``samples`` from ``start`` on.

    All processes get the same number, so that each step has gradients of all and their mean is the batch's. If the
    samples do not divide (in the last batch of an epoch), the first ones of the epoch are added.
    """
    each = -(-samples // world_size)
    first = start + rank * each
    return [position % length for position in range(first, first + each)]


def spread(count: int, of: int) -> list[int]:
    """Return at most ``count`` numbers below ``of``, evenly spread."""
    count = min(count, of)
    return [(2 * number + 1) * of // (2 * count) for number in range(count)]


def mix(seed: int, *path: int) -> int:
    """Return an independent 32-bit seed for each path of non-negative integers, the same on every platform.

    numpy's `SeedSequence` guarantees both. torch's CPU generator uses 32 bits of a seed.
    """
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1)[0])
