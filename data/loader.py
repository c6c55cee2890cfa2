"""Batches whose order and random choices depend on nothing but the seed and the position in the run."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from util.errors import UserError
from util.images import BadImage
from util.signals import leave_to_parent

from .base import ImageDataset
from .batch import Batch, collate, finish
from .keys import SampleKey, epoch_batches
from .unreadable import refuse_too_many

NEWS = "unreadable"
"""The entry of a batch in which a worker process tells what it could not read."""
LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))?([\d, ]+)\)[^.\n]*")
"""How torch says that a worker process has ended."""


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
        warn: takes a sentence about an image that cannot be read.
        leave_out: where nothing stands in for such an image, takes the sentence, and the batch is left out; None: it
            ends the epoch.
    """

    def __init__(
        self, dataset: Samples, *, batch_size: int, num_workers: int, seed: int, shuffle: bool,
        pin_memory: bool = False, finished: bool = True, rank: int = 0, world_size: int = 1,
    ) -> None:
        self._dataset, self._length, self._global_batch = dataset, len(dataset), world_size * batch_size
        self._unreadable: dict[str, str] = {}
        self.warn: Callable[[str], None] = lambda text: None
        self.leave_out: Callable[[str], None] | None = None
        if num_workers and isinstance(dataset, ImageDataset):
            dataset.held = torch.full((num_workers, 2), -1).share_memory_()
        self._sampler = _BatchSampler(partial(
            epoch_batches, self._length, batch_size, seed=seed, shuffle=shuffle, rank=rank, world_size=world_size))
        self._batches = DataLoader(
            _Batches(dataset, finished), batch_sampler=self._sampler, collate_fn=_as_it_is, num_workers=num_workers,
            persistent_workers=num_workers > 0, pin_memory=pin_memory, worker_init_fn=leave_to_parent,
            generator=torch.Generator(),  # DataLoader draws from it; otherwise it would from the global one
        )
        weakref.finalize(self, _end_workers, self._batches)

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
            UserError: a file is unreadable, or images of different sizes meet in a batch. One sentence, also
                when it happens in a worker process.
        """
        if epoch < 0 or not 0 <= skip <= len(self):
            raise ValueError(f"there is no epoch {epoch} with {skip} of {len(self)} images seen")
        self._sampler.epoch, self._sampler.skip = epoch, skip
        self._note(take_news(self._dataset))  # of the cache; before worker processes take copies of it
        for batch in self._batches:
            if isinstance(batch, BadImage) and self.leave_out:
                self.leave_out(str(batch))
                continue
            if isinstance(batch, UserError):
                # Not `raise batch`: its traceback would hold this frame and the frame it, and workers that wait
                # for the garbage collector miss their orderly end and are killed after seconds.
                raise UserError(*batch.args)
            self._note(batch.pop(NEWS, []))
            yield batch

    def _note(self, unreadable: Sequence[tuple[str, str]]) -> None:
        """Take down images that some worker process could not read, and warn about each once.

        Raises:
            UserError: they are too many.
        """
        for reason, stand_in in unreadable:
            if reason not in self._unreadable:
                self._unreadable[reason] = stand_in
                self.warn(f"{reason}; meanwhile {stand_in} takes its place")
        if isinstance(self._dataset, ImageDataset):
            refuse_too_many(list(self._unreadable), self._dataset.unreadable.most)

    @contextmanager
    def naming_lost_workers(self) -> Iterator[None]:
        """Within this context a worker process that dies is a sentence with the file that it held.

        Raises:
            UserError: one has died. torch interrupts whatever the main process does, in `epoch` or elsewhere.
        """
        try:
            yield
        except (RuntimeError, UserError) as error:  # a save that torch interrupted tells it in its own sentence
            if not (lost := LOST.search(str(error))):
                raise
            files = self._held_by([int(process) for process in re.findall(r"\d+", lost[1])])
            reading = f" while it read {', '.join(files)}" if files else ""
            raise UserError(f"a process that loads images has ended ({lost[0]}){reading}; if memory has run out, lower "
                            "--num_threads or --batch_size, otherwise look at the file with --num_threads 0") from error

    def _held_by(self, processes: Sequence[int]) -> list[str]:
        """The files of the items that these worker processes read last."""
        if not isinstance(self._dataset, ImageDataset) or self._dataset.held is None:
            return []
        held: dict[int, int] = dict(self._dataset.held.tolist())
        files = [file for process in processes if process in held for file in self._dataset.files(held[process])]
        return [str(file) for file in dict.fromkeys(files)]


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
        except UserError as error:
            return type(error)(*error.args)
        batch = finish(batch) if self.finished else batch
        if news := take_news(self.dataset):
            batch[NEWS] = news
        return batch


def take_news(dataset: Samples) -> list[tuple[str, str]]:
    """Which images a data set could not read, and what takes their places; each once."""
    return dataset.unreadable.news() if isinstance(dataset, ImageDataset) else []


def _end_workers(batches: DataLoader[Any]) -> None:
    """End the worker processes, at the latest when the interpreter ends.

    A loader that a traceback or a cycle keeps until then would wait for them forever: they ignore the SIGTERM with
    which Python and torch end their children.
    """
    iterator: Any = batches._iterator  # of worker processes that outlive an epoch
    if iterator is not None:
        iterator._shutdown_workers()
        for worker in iterator._workers:
            worker.kill()  # one that hangs; the others have ended


def _as_it_is(batch: Any) -> Any:
    return batch
