"""Choose devices and move batches to them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .distributed import ALONE, World
from .errors import UserError
from .words import counted


def choose_device(gpu_ids: str, world: World = ALONE) -> torch.device:
    """Return the device that ``--gpu_ids`` names: ``auto`` is the best there is, ``-1`` the CPU, ``0`` the first GPU.

    Of several processes on one machine each gets a GPU of its own, in the order of the list, with ``auto`` of all.
    A GPU becomes CUDA's current device.

    Raises:
        UserError: no such GPU, not a number, or not one GPU for each process.
    """
    count = torch.cuda.device_count() if gpu_ids != "-1" else 0
    if gpu_ids == "auto":
        if count == 0:
            return torch.device("mps" if torch.backends.mps.is_available() and world.size == 1 else "cpu")
        ids = [str(index) for index in range(count)][:None if world.size > 1 else 1]
    else:
        ids = [item.strip() for item in gpu_ids.split(",")]
    if ids == ["-1"]:
        return torch.device("cpu")
    if not all(item.isdecimal() for item in ids):
        raise UserError(f"--gpu_ids {gpu_ids} is neither auto, -1 for the CPU, nor a GPU's number")
    if world.size == 1 and len(ids) > 1:
        raise UserError(f"--gpu_ids {gpu_ids} names several GPUs, but one process uses one: name a single GPU, or "
                        f"start a process for each: torchrun --nproc_per_node={len(ids)} train.py ...")
    if missing := [item for item in ids if int(item) >= count]:
        there = f"only {count} (numbered from 0)" if count else "no CUDA GPU"
        raise UserError(f"--gpu_ids {missing[0]}: this machine has {there}; leave the flag out for the best device, or "
                        "use -1 for the CPU")
    if world.local_rank >= len(ids):
        raise UserError(f"--gpu_ids {gpu_ids} gives {counted(len(ids), 'GPU')} to more processes than that: start "
                        f"--nproc_per_node={len(ids)}, or use -1 to train on CPUs")
    index = int(ids[world.local_rank])
    torch.cuda.set_device(index)  # code that names no GPU, such as a random generator, uses this one
    return torch.device("cuda", index)


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch to ``device``; everything else stays as it is."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }
