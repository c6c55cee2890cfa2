"""Batches, loaded in worker processes; the same for the same seed and position in the run."""

import multiprocessing
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from options import usable_cores
from util.errors import ENLARGE, UserError, explain
from util.image_files import BadImage
from util.signals import leave_to_parent

from .base import ImageDataset
from .batch import Batch, collate, finish
from .sampler import EpochSampler, SampleKey, epoch_batches
from .workers import SHARED, LoadingError, Workers, pack, shared_room, without_torchs_advice

UNREADABLE = "unreadable"
"""Entry of a batch: the items that its worker has found unreadable, with reasons."""
PREFETCHED = 2  # batches that each worker loads ahead


class Loader:
    """Load batches of a data set, in worker processes if asked.

    Batches are the same to the bit for any number of workers, and torch's global random state is not touched: a run can
    stop after any batch and resume there. The last batch of an epoch may be smaller.

    N processes with batches of b see together the images that one process sees with batches of N * b, except in the
    last batch of an epoch: of its m images each process gets m / N, rounded up with first images of the epoch.

    Args:
        dataset: picklable if processes are spawned.
        batch_size: images in a batch of this process.
        num_workers: worker processes, kept for all epochs; 0: load in this process.
        seed: of order and random choices; the same in all processes.
        shuffle: draw a new order every epoch; otherwise it is that of the data set.
        pin_memory: page-lock batches, for fast copies to a GPU.
        finished: `finish` batches in the workers. Otherwise they are raw, a quarter of the size, and the caller
            finishes them, best on a GPU.
        rank, world_size: number of this process, and of all.

    Attributes:
        warn: called with a sentence about an unreadable image, or about the workers.
        stopped: whether a signal asks to end the wait for a batch.
        leave_out: called with a sentence about an unreadable image that is not replaced; its batch is left out. None:
            the epoch ends with an error.
    """

    def __init__(
        self, dataset: ImageDataset, *, batch_size: int, num_workers: int, seed: int, shuffle: bool,
        pin_memory: bool = False, finished: bool = True, rank: int = 0, world_size: int = 1,
    ) -> None:
        self._dataset, self._length, self._global_batch = dataset, len(dataset), world_size * batch_size
        self._num_workers, self._pin_memory = num_workers, pin_memory
        self._advised = num_workers == 0 or rank > 0
        self._named: set[int] = set()  # unreadable items
        self.warn: Callable[[str], None] = lambda text: None
        self.stopped: Callable[[], bool] = lambda: False
        self.leave_out: Callable[[str], None] | None = None
        if num_workers:
            dataset.reading = torch.full((num_workers,), -1).share_memory_()
        self._sampler = EpochSampler(partial(
            epoch_batches, self._length, batch_size, seed=seed, shuffle=shuffle, rank=rank, world_size=world_size))
        # Python 3.14 on Linux no longer forks by default. Forked workers share the cache, and import nothing.
        context = "fork" if num_workers and multiprocessing.get_start_method() == "forkserver" else None
        with without_torchs_advice():  # `_advise` says it
            batches = DataLoader(
                _Batches(dataset, finished), batch_sampler=self._sampler, collate_fn=_as_it_is, num_workers=num_workers,
                persistent_workers=num_workers > 0, prefetch_factor=PREFETCHED if num_workers else None,
                worker_init_fn=leave_to_parent, multiprocessing_context=context,
                generator=torch.Generator(),  # DataLoader would draw from the global one
            )
        self._workers = Workers(batches, partial(_files_read, dataset))
        self._room = shared_room()
        weakref.finalize(self, self._workers.end)  # at the latest when the interpreter ends

    def __len__(self) -> int:
        """Return the number of images in an epoch, of all processes."""
        return self._length

    def images_after(self, seen: int) -> int:
        """Return the number of images, of all processes, in the batch that follows ``seen`` images of an epoch."""
        return min(self._global_batch, len(self) - seen)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Yield this process's batches of one epoch. Iterate over one epoch at a time; leaving one early is fine.

        Args:
            epoch: its number, from 0.
            skip: first images to leave out, of all processes together; the rest is the same as without interruption.

        Raises:
            LoadingError: too many files are unreadable, images of a batch differ in size, a worker has died or hangs,
                or `stopped`. One sentence, also for an error in a worker process.
        """
        if epoch < 0 or not 0 <= skip <= len(self):
            raise ValueError(f"there is no epoch {epoch} with {skip} of {len(self)} images seen")
        self._sampler.epoch, self._sampler.skip = epoch, skip
        self._note(self._dataset.unreadable)  # found by the cache
        for batch in self._workers.epoch(self.warn, self.stopped):
            if isinstance(batch, BadImage) and self.leave_out:
                self.leave_out(str(batch))
                continue
            if isinstance(batch, UserError):
                # Not `raise batch`: traceback and frame would refer to each other, and workers that wait for the
                # garbage collector miss their orderly end and are killed after seconds.
                raise LoadingError(*batch.args)
            self._note(batch.pop(UNREADABLE))
            self._advise(batch)
            yield {name: value.pin_memory() if self._pin_memory and isinstance(value, Tensor) else value
                   for name, value in batch.items()}

    def _note(self, reasons: Mapping[int, str]) -> None:
        """Remember items that any process has found unreadable, and warn about each once.

        Raises:
            LoadingError: they are too many.
        """
        for item, reason in reasons.items():
            self._dataset.note_unreadable(item, reason)
            if item not in self._named:
                self._named.add(item)
                self.warn(f"{reason}; the next readable image of its folder replaces it")

    def _advise(self, batch: Batch) -> None:
        """Warn, with the first batch, if the machine is too small for the workers."""
        if self._advised:
            return
        self._advised = True
        if self._num_workers > usable_cores():
            self.warn(f"--num_threads {self._num_workers} starts more processes than there are CPU cores for this one "
                      f"({usable_cores()}), which mostly slows loading down")
        # Batches loaded ahead, and the one in use.
        needed = (PREFETCHED * self._num_workers + 1) * sum(
            value.nbytes for value in batch.values() if isinstance(value, Tensor))
        needed *= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: processes of this job, on this machine
        if self._room is not None and needed > self._room:
            self.warn(f"{SHARED} has room for {self._room / 1e6:.3g} MB, but batches that wait can need "
                      f"{needed / 1e6:.3g} MB; {ENLARGE}")


class _Batches(Dataset[Any]):
    """Make whole batches, in the worker.

    A `UserError` is returned: DataLoader would bury an exception under a worker's traceback.
    """

    def __init__(self, dataset: ImageDataset, finished: bool) -> None:
        self.dataset, self.finished = dataset, finished

    def __getitems__(self, keys: Sequence[SampleKey]) -> Any:  # Batch | UserError
        try:
            batch = collate([self.dataset[key] for key in keys])
            batch = finish(batch) if self.finished else batch
            return pack({**batch, UNREADABLE: dict(self.dataset.unreadable)})
        except Exception as error:
            if isinstance(error, UserError):
                return type(error)(*error.args)
            if sentence := explain(error):
                return UserError(sentence)
            raise


def _files_read(dataset: ImageDataset, worker: int) -> Sequence[Path]:
    """Return the files of the item that a worker has read last."""
    if dataset.reading is None or dataset.reading[worker] < 0:
        return []
    return dataset.files(int(dataset.reading[worker]))


def _as_it_is(batch: Any) -> Any:
    return batch
