"""Where tensors live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import UserError


def choose_device(gpu_ids: str) -> torch.device:
    """The device that ``--gpu_ids`` names: ``auto`` is the best there is, ``-1`` the CPU, ``0`` the first GPU.

    A GPU becomes CUDA's current device.

    Raises:
        UserError: no such GPU, several GPUs, or not a number.
    """
    if gpu_ids == "auto":
        if torch.cuda.is_available():
            return _gpu(0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    ids = [item.strip() for item in gpu_ids.split(",")]
    if ids == ["-1"]:
        return torch.device("cpu")
    if not all(item.isdecimal() for item in ids):
        raise UserError(f"--gpu_ids {gpu_ids} is neither auto, -1 for the CPU, nor a GPU's number")
    if len(ids) > 1:
        raise UserError(f"--gpu_ids {gpu_ids} names several GPUs, but one process uses one: name a single GPU")
    count = torch.cuda.device_count()
    if int(ids[0]) >= count:
        there = f"only {count} (numbered from 0)" if count else "no CUDA GPU"
        raise UserError(f"--gpu_ids {gpu_ids}: this machine has {there}; leave the flag out for the best device, or "
                        "use -1 for the CPU")
    return _gpu(int(ids[0]))


def _gpu(index: int) -> torch.device:
    torch.cuda.set_device(index)  # what names no GPU of its own, a generator of random numbers say, means this one
    return torch.device("cuda", index)


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch with its tensors on ``device``; everything else stays as it is."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }
