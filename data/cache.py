"""Every image of a data set, decoded and scaled once, in memory that all processes of the run share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from util.errors import UserError
from util.images import BadImage
from util.loggers import Sink

from .memory import room
from .unreadable import Unreadable

REPORTS = 5  # how often the terminal hears how far it is, where it has no bar


class Place(NamedTuple):
    """Where an image lies in the buffer."""

    start: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


class Cache:
    """Images by item, in one buffer of shared memory.

    Worker processes see the same memory whether they are forked or spawned. One buffer for all, because every piece
    of shared memory takes a file descriptor, of which a process has some thousand.

    Args:
        outlines: for each item its images, on the ``meta`` device.

    Raises:
        UserError: that is more than there is room for.
    """

    def __init__(self, outlines: Sequence[Sequence[Tensor]]) -> None:
        self.places: list[list[Place]] = []
        end = 0
        for images in outlines:
            places = []
            for image in images:
                places.append(Place(-(-end // 4) * 4, image.shape, image.dtype))  # a float32 begins at a multiple of 4
                end = places[-1].end
            self.places.append(places)
        refuse_too_much(end)
        self.buffer = torch.empty(end, dtype=torch.uint8).share_memory_()

    def __getitem__(self, item: int) -> list[Tensor]:
        """The images of an item, views of the shared memory: not to be changed."""
        return [self.buffer[place.start:place.end].view(place.dtype).view(place.shape) for place in self.places[item]]


class Loads(Protocol):
    """A data set that loads its images item by item."""

    items: int
    cache: Cache | None
    unreadable: Unreadable

    def files(self, item: int) -> Sequence[Path]: ...

    def outline(self, item: int) -> list[Tensor]: ...

    def read(self, item: int) -> list[Tensor]: ...


def keep_in_memory(dataset: Loads, progress: Sink) -> None:
    """Load every image of ``dataset`` now, in threads, and never again.

    To be called before worker processes start. Each process of a distributed job has a cache of its own. Items that
    cannot be read are noted.

    Args:
        dataset: gets a `Cache`.
        progress: told about every item.

    Raises:
        UserError: there is not enough memory, or too many files are unreadable.
    """
    def outline(item: int) -> list[Tensor] | BadImage:
        try:
            return dataset.outline(item)
        except BadImage as error:
            return error

    def keep(item: int) -> BadImage | None:
        if isinstance(outlined := outlines[item], BadImage):
            return outlined
        try:
            images = dataset.read(item)
        except BadImage as error:
            return error
        for place, image in zip(cache[item], images, strict=True):
            if place.shape != image.shape or place.dtype != image.dtype:
                raise UserError(f"--cache ram: {dataset.files(item)[0]} is not what its header says; save it anew "
                                "or use --cache none")
            place.copy_(image)
        return None

    progress.message(f"--cache ram: images that are read into memory, once: {dataset.items}")
    with ThreadPoolExecutor() as threads:
        outlines = list(threads.map(outline, range(dataset.items)))
        cache = Cache([[] if isinstance(images, BadImage) else images for images in outlines])
        for done, error in enumerate(threads.map(keep, range(dataset.items)), start=1):
            if error is not None:
                dataset.unreadable.note(done - 1, str(error))
            progress.advance(1)
            if done * REPORTS // dataset.items > (done - 1) * REPORTS // dataset.items:
                progress.scalars(done, {})
    progress.close()
    dataset.cache = cache


def refuse_too_much(needed: int) -> None:
    """Raise `UserError` if ``needed`` bytes do not fit into what is free on this machine."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: of this job, on this machine
    where, free = min(room().items(), key=lambda item: item[1], default=("memory", needed * processes))
    if processes * needed > free:
        copies = f" for each of {processes} processes" if processes > 1 else ""
        enlarge = "" if where == "memory" else f"; enlarge {where} (docker run --shm-size)"
        raise UserError(f"--cache ram: the images need {needed / 1e9:.3g} GB{copies}, but {where} has room for "
                        f"{free / 1e9:.3g} GB{enlarge}; use --cache none, or fewer or smaller images")
