"""Which samples come when: an order and random choices that depend on nothing but the seed and the position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

_ORDER, _SAMPLE = 0, 1  # which stream of random numbers


class SampleKey(NamedTuple):
    """Which sample: its index, and the seed of every random choice made for it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    seed: int

    def generator(self) -> torch.Generator:
        """A new source of random numbers; always the same numbers for this key."""
        return torch.Generator().manual_seed(self.seed)


def mix(seed: int, *path: int) -> int:
    """An independent 32-bit seed for each path of non-negative integers, the same on every platform.

    numpy's `SeedSequence` guarantees both; 32 bits are what torch's CPU generator uses of a seed.
    """
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1)[0])


def epoch_batches(
    length: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool, skip: int = 0, rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[SampleKey]]:
    """The keys of one process's batches in one epoch, without the first ``skip`` samples of all processes together.

    The processes cut the epoch's order into global batches of ``world_size * batch_size``; each takes its slice.
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
    """The positions that fall to one process of a global batch of so many samples from position ``start`` on.

    All processes get the same number, so that none waits for another's gradients in vain and their mean is the
    batch's. Where the samples do not go round (an epoch's last batch), the epoch's first ones are added.
    """
    each = -(-samples // world_size)
    first = start + rank * each
    return [position % length for position in range(first, first + each)]
