"""Batches whose order and random choices depend on nothing but the seed and the position in the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from util.errors import UserError

Batch: TypeAlias = dict[str, Any]
"""Images by name, [B, C, H, W], and lists of their paths (``A_paths``)."""

_ORDER, _SAMPLE = 0, 1  # which stream of random numbers


class SampleKey(NamedTuple):
    """Which sample: its index, and the seed of every random choice made for it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    seed: int

    def generator(self) -> torch.Generator:
        """A new source of random numbers; always the same numbers for this key."""
        return torch.Generator().manual_seed(self.seed)


class ImageDataset(Protocol):
    """A pure function of a `SampleKey`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey) -> dict[str, Any]: ...


def mix(seed: int, *path: int) -> int:
    """An independent 32-bit seed for each path of non-negative integers, the same on every platform.

    numpy's `SeedSequence` guarantees both; 32 bits are what torch's CPU generator uses of a seed.
    """
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1)[0])


def epoch_keys(length: int, *, seed: int, epoch: int, shuffle: bool, skip: int = 0) -> Iterator[SampleKey]:
    """The samples of one epoch in their order, without the first ``skip``."""
    order: Sequence[int] = range(length)
    if shuffle:
        generator = torch.Generator().manual_seed(mix(seed, _ORDER, epoch))
        order = torch.randperm(length, generator=generator).tolist()
    for position in range(skip, length):
        yield SampleKey(order[position], mix(seed, _SAMPLE, epoch, position))


class Loader:
    """Loads batches of a data set, in worker processes where asked.

    Batches are the same to the bit for any number of workers, and torch's global random state is not touched,
    so a run can stop after any batch and go on from there. The last batch of an epoch may be smaller.

    Args:
        dataset: a pure function of a `SampleKey`; picklable where processes are spawned.
        batch_size: images in a batch.
        num_workers: worker processes, kept from epoch to epoch; 0 loads in this process.
        seed: of order and random choices.
        shuffle: a new order every epoch; otherwise the data set's own.
        pin_memory: page-locked batches, for fast copies to a GPU.
    """

    def __init__(
        self, dataset: ImageDataset, *, batch_size: int, num_workers: int, seed: int, shuffle: bool,
        pin_memory: bool = False,
    ) -> None:
        self._sampler = _BatchSampler(len(dataset), batch_size, seed, shuffle)
        self._batches = DataLoader(
            _Batches(dataset), batch_sampler=self._sampler, collate_fn=_as_it_is, num_workers=num_workers,
            persistent_workers=num_workers > 0, pin_memory=pin_memory,
            generator=torch.Generator(),  # DataLoader draws from it; otherwise it would from the global one
        )

    def __len__(self) -> int:
        """Images in an epoch."""
        return self._sampler.length

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch. Iterate over one epoch at a time; leaving one early is fine.

        Args:
            epoch: its number, from 0.
            skip: how many images of it were seen before; the rest comes as if it had never been interrupted.

        Raises:
            UserError: a file is unreadable, or images of different sizes meet in a batch. One sentence, also
                when it happens in a worker process.
        """
        if epoch < 0 or not 0 <= skip <= len(self):
            raise ValueError(f"there is no epoch {epoch} with {skip} of {len(self)} images seen")
        self._sampler.epoch, self._sampler.skip = epoch, skip
        for batch in self._batches:
            if isinstance(batch, UserError):
                # Not `raise batch`: its traceback would hold this frame and the frame it, and workers that wait
                # for the garbage collector miss their orderly end and are killed after seconds.
                raise UserError(*batch.args)
            yield batch


class _BatchSampler(Sampler[list[SampleKey]]):
    """Keys of an epoch in batches. ``epoch`` and ``skip`` are set before each pass."""

    def __init__(self, length: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self.length, self.batch_size, self.seed, self.shuffle = length, batch_size, seed, shuffle
        self.epoch = self.skip = 0

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = epoch_keys(
            self.length, seed=self.seed, epoch=self.epoch, shuffle=self.shuffle, skip=self.skip
        )
        while batch := list(itertools.islice(keys, self.batch_size)):
            yield batch


class _Batches(Dataset[Any]):
    """Makes whole batches, in the worker.

    A `UserError` is handed over as a value: DataLoader would bury an exception under a worker's traceback.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, keys: Sequence[SampleKey]) -> Any:  # Batch | UserError
        try:
            return collate([self.dataset[key] for key in keys])
        except UserError as error:
            return error


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    """Stack samples, [C, H, W] to [B, C, H, W].

    Raises:
        UserError: they differ in size.
    """
    for name, first in samples[0].items():
        for sample in samples[1:]:
            if isinstance(first, Tensor) and sample[name].shape != first.shape:
                raise UserError(
                    f"images of different sizes cannot share a batch ({_describe(samples[0], name)} and"
                    f" {_describe(sample, name)}); use --batch_size 1 or a --preprocess mode that crops"
                )
    return dict(default_collate(list(samples)))


def _describe(sample: dict[str, Any], name: str) -> str:
    height, width = sample[name].shape[-2:]
    return f"{sample[f'{name[0]}_paths']} gives {width}x{height}"


def _as_it_is(batch: Any) -> Any:
    return batch
