"""Processes that train together, started by ``torchrun``; a single process is a world of size 1.

N processes with batch size b compute the same as one process with N * b: all draw the same random numbers, each takes
its slice of every batch, and gradients are averaged. There are two exceptions: batch normalisation sees only the slice
of its process, and draws for each image (image pool, dropout, points of the gradient penalty) are the same in every
process.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from .errors import JobError, UserError, explain

LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited")
"""Words of gloo and nccl about a process that is gone."""


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this machine, which is that of its GPU."""

    @classmethod
    def of_environment(cls) -> World:
        """Read the world from the environment that ``torchrun`` sets; without ``torchrun``, return a world of size 1.

        Raises:
            UserError: some of the variables are missing.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if missing := [name for name in names if name not in os.environ]:
            raise UserError(f"the environment has WORLD_SIZE {os.environ['WORLD_SIZE']} but no {missing[0]}: start the "
                            "processes with torchrun, or unset WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names[:3]))

    @property
    def is_first(self) -> bool:
        """True in the process that writes files and prints."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Collect ``value`` of every process, in the order of ranks; empty on all but the first. All must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        dist.gather_object(value, values)
        return values or []

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the mean over all processes, for each name. All must call it with the same names."""
        if self.size == 1 or not values:
            return dict(values)
        numbers = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(numbers)
        return dict(zip(values, (numbers / self.size).tolist(), strict=True))

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one type by their mean over all processes, in place, without waiting for a GPU.

        All processes must call it, with tensors of the same shapes.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(to) for part, to in zip(parts, tensors, strict=True)])

    def same(self, value: Any) -> Any:
        """Return the ``value`` of the first process, in all processes. All must call it."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def start_max(self, value: int) -> Callable[[], int]:
        """Begin to find the greatest ``value`` of all processes.

        All must call it.

        Returns:
            A function that waits for the result and returns it.
        """
        if self.size == 1:
            return lambda: value
        greatest = torch.tensor(value)
        work = dist.all_reduce(greatest, dist.ReduceOp.MAX, async_op=True)

        def wait() -> int:
            work.wait()
            return int(greatest)

        return wait


ALONE = World()


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[World]:
    """Connect the processes (nccl between GPUs, gloo between CPUs) for as long as the block runs.

    Raises:
        JobError: in place of an error that the user can fix, or if another process has ended.
    """
    if world.size == 1:
        yield world
        return
    store = next(rendezvous("env://"))[0]
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", store=store, rank=world.rank,
                            world_size=world.size)
    try:
        yield world  # after an error the process ends, and would only wait for the others below
    except Exception as error:
        said = _is_said(store)
        if (sentence := _sentence(error)) is None:
            raise
        traceback.clear_frames(error.__traceback__)
        gc.collect()  # see below
        raise JobError(sentence, said) from error
    gc.collect()  # reducers are parts of cycles; those that outlive the group abort the process at its end
    dist.barrier()  # without it gloo of torch 2.6 was once seen to wait for ever in the next line
    dist.destroy_process_group()


def _sentence(error: Exception) -> str | None:
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in LOST):
        return ("another process of this training was killed, or its machine has failed; --continue_train goes on from "
                "the last save")
    return explain(error)


def _is_said(store: Any) -> bool:
    """Check whether another process has already reported why the training ends.

    Each process registers here before it ends, and so before the others can lose the connection to it.
    """
    try:
        return bool(store.add("errors", 1) > 1)
    except RuntimeError:  # the process that held the store is gone as well
        return False
