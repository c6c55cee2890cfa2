"""Batches whose order and random choices depend on nothing but the seed and the position in the run."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from options import usable_cores
from util.errors import ENLARGE, UserError, explain
from util.images import BadImage
from util.signals import leave_to_parent

from .base import ImageDataset
from .batch import Batch, collate, finish
from .memory import SHARED, shared_room
from .sampler import SampleKey, epoch_batches
from .workers import LoadingError, Workers, pack, without_torchs_advice

UNREADABLE = "unreadable"
"""The entry of a batch with the items that its worker could not read, and why."""
PREFETCHED = 2  # batches that wait for each worker's turn


class Samples(Protocol):
    """A pure function from a `SampleKey` to a raw sample."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey) -> dict[str, Any]: ...


class Loader:
    """Loads batches of a data set, in worker processes where asked.

    Batches are the same to the bit for any number of workers, and torch's global random state is not touched,
    so a run can stop after any batch and go on from there. The last batch of an epoch may be smaller.

    N processes with batches of b see together what one sees with batches of N * b, but for an epoch's last batch
    where it does not divide by N: of its m images each process gets m / N, rounded up, so that some of the epoch's
    first images come a second time.

    Args:
        dataset: a pure function of a `SampleKey`; picklable where processes are spawned.
        batch_size: images in a batch of this process.
        num_workers: worker processes, kept from epoch to epoch; 0 loads in this process.
        seed: of order and random choices; the same in all processes.
        shuffle: a new order every epoch; otherwise the data set's own.
        pin_memory: page-locked batches, for fast copies to a GPU.
        finished: `finish` the batches where they are loaded. Otherwise they come raw, a quarter of the size, to be
            finished by the caller, on a GPU best.
        rank, world_size: which process this is, and of how many.

    Attributes:
        warn: takes a sentence about an image that cannot be read, and about what may be wrong with the workers.
        stopped: whether a signal asks not to wait for the next batch.
        leave_out: where nothing stands in for such an image, takes the sentence, and the batch is left out; None: it
            ends the epoch.
    """

    def __init__(
        self, dataset: Samples, *, batch_size: int, num_workers: int, seed: int, shuffle: bool,
        pin_memory: bool = False, finished: bool = True, rank: int = 0, world_size: int = 1,
    ) -> None:
        self._dataset, self._length, self._global_batch = dataset, len(dataset), world_size * batch_size
        self._num_workers, self._pin_memory = num_workers, pin_memory
        self._advised = num_workers == 0 or rank > 0
        self._warned: set[int] = set()  # of which unreadable items
        self.warn: Callable[[str], None] = lambda text: None
        self.stopped: Callable[[], bool] = lambda: False
        self.leave_out: Callable[[str], None] | None = None
        if num_workers and isinstance(dataset, ImageDataset):
            dataset.reading = torch.full((num_workers,), -1).share_memory_()
        self._sampler = _BatchSampler(partial(
            epoch_batches, self._length, batch_size, seed=seed, shuffle=shuffle, rank=rank, world_size=world_size))
        with without_torchs_advice():  # but with `_advise`
            batches = DataLoader(
                _Batches(dataset, finished), batch_sampler=self._sampler, collate_fn=_as_it_is, num_workers=num_workers,
                persistent_workers=num_workers > 0, prefetch_factor=PREFETCHED if num_workers else None,
                worker_init_fn=leave_to_parent,
                generator=torch.Generator(),  # DataLoader draws from it; otherwise it would from the global one
            )
        self._workers = Workers(batches, partial(_files_read, dataset))
        self._room = shared_room()
        weakref.finalize(self, self._workers.end)  # at the latest when the interpreter ends

    def __len__(self) -> int:
        """Images in an epoch, of all processes."""
        return self._length

    def images_after(self, seen: int) -> int:
        """How many images all processes together see in the batch that follows ``seen`` images of an epoch."""
        return min(self._global_batch, len(self) - seen)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """This process's batches of one epoch. Iterate over one epoch at a time; leaving one early is fine.

        Args:
            epoch: its number, from 0.
            skip: how many images of it all processes have seen before; the rest comes as if it had never been
                interrupted.

        Raises:
            LoadingError: a file is unreadable, images of different sizes meet in a batch, a worker has died or hangs,
                or `stopped`. One sentence, also when it happens in a worker process.
        """
        if epoch < 0 or not 0 <= skip <= len(self):
            raise ValueError(f"there is no epoch {epoch} with {skip} of {len(self)} images seen")
        self._sampler.epoch, self._sampler.skip = epoch, skip
        if isinstance(self._dataset, ImageDataset):
            self._note(self._dataset.unreadable.reasons)  # those of the cache
        for batch in self._workers.epoch(self.warn, self.stopped):
            if isinstance(batch, BadImage) and self.leave_out:
                self.leave_out(str(batch))
                continue
            if isinstance(batch, UserError):
                # Not `raise batch`: its traceback would hold this frame and the frame it, and workers that wait
                # for the garbage collector miss their orderly end and are killed after seconds.
                raise LoadingError(*batch.args)
            self._note(batch.pop(UNREADABLE, {}))
            self._advise(batch)
            yield {name: value.pin_memory() if self._pin_memory and isinstance(value, Tensor) else value
                   for name, value in batch.items()}

    def _note(self, reasons: Mapping[int, str]) -> None:
        """Remember items that some process could not read, and warn about each once.

        Raises:
            LoadingError: they are too many.
        """
        found = {item: reason for item, reason in reasons.items() if item not in self._warned}
        if not found or not isinstance(self._dataset, ImageDataset):
            return
        for item, reason in found.items():
            self._dataset.unreadable.note(item, reason)
        for item, reason in found.items():
            stand_in = self._dataset.files(self._dataset.unreadable.stand_in(item))[0]
            self.warn(f"{reason}; meanwhile {stand_in} takes its place")
        self._warned.update(found)

    def _advise(self, batch: Batch) -> None:
        """Warn, with the first batch, of workers that the machine is too small for."""
        if self._advised:
            return
        self._advised = True
        if self._num_workers > usable_cores():
            self.warn(f"--num_threads {self._num_workers} starts more processes than there are CPU cores for this one "
                      f"({usable_cores()}), which mostly slows loading down")
        # What is waiting, and what is trained on.
        needed = (PREFETCHED * self._num_workers + 1) * sum(
            value.nbytes for value in batch.values() if isinstance(value, Tensor))
        needed *= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: processes of this job, on this machine
        if self._room is not None and needed > self._room:
            self.warn(f"{SHARED} has room for {self._room / 1e6:.3g} MB, but batches that wait can need "
                      f"{needed / 1e6:.3g} MB; {ENLARGE}")


class _BatchSampler(Sampler[list[SampleKey]]):
    """Keys of an epoch in batches. ``epoch`` and ``skip`` are set before each pass."""

    def __init__(self, batches_of: Callable[..., Iterator[list[SampleKey]]]) -> None:
        self.batches_of = batches_of
        self.epoch = self.skip = 0

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return self.batches_of(epoch=self.epoch, skip=self.skip)


class _Batches(Dataset[Any]):
    """Makes whole batches, in the worker.

    A `UserError` is handed over as a value: DataLoader would bury an exception under a worker's traceback.
    """

    def __init__(self, dataset: Samples, finished: bool) -> None:
        self.dataset, self.finished = dataset, finished

    def __getitems__(self, keys: Sequence[SampleKey]) -> Any:  # Batch | UserError
        try:
            batch = collate([self.dataset[key] for key in keys])
            batch = finish(batch) if self.finished else batch
            if isinstance(self.dataset, ImageDataset) and self.dataset.unreadable.reasons:
                batch[UNREADABLE] = dict(self.dataset.unreadable.reasons)
            return pack(batch)
        except Exception as error:
            if isinstance(error, UserError):
                return type(error)(*error.args)
            if sentence := explain(error):
                return UserError(sentence)
            raise


def _files_read(dataset: Samples, worker: int) -> Sequence[Path]:
    """The files of the item that a worker has read last."""
    item = int(dataset.reading[worker]) if isinstance(dataset, ImageDataset) and dataset.reading is not None else -1
    return dataset.files(item) if isinstance(dataset, ImageDataset) and item >= 0 else []


def _as_it_is(batch: Any) -> Any:
    return batch
