"""Report speed, memory, learning rates and gradient norms of a training."""

import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import get_total_norm

STATUS = Path("/proc/self/statm")


class Vitals:
    """Reads speed, memory, rates and gradients when the training reports; costs nothing between reports.

    Args:
        networks: for the norms of their gradients.
        optimizers: for their learning rates.
        device: for its memory.
        images: images seen so far.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer],
        device: torch.device, images: int,
    ) -> None:
        self.networks, self.optimizers, self.device = networks, optimizers, device
        self._images, self._since = images, time.perf_counter()

    def read(self, images: int) -> dict[str, float]:
        """Return the values by name, after ``images`` seen; wait for the device.

        ``speed/images_per_second`` since the last call, ``memory/...`` (see `memory`), ``lr/G`` of an optimizer's
        first parameters, ``gradient/G``: the norm of a network's gradient in the last step.
        """
        now = time.perf_counter()
        rate = (images - self._images) / (now - self._since) if now > self._since else math.nan
        self._images, self._since = images, now
        rates = {f"lr/{name}": float(optimizer.param_groups[0]["lr"]) for name, optimizer in self.optimizers.items()}
        gradients = {f"gradient/{name}": norm for name, norm in gradient_norms(self.networks).items()}
        return {"speed/images_per_second": rate, **memory(self.device), **rates, **gradients}


def gradient_norms(networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """Compute the Euclidean norm of the gradient that each network holds; those that hold none are left out."""
    norms = {}
    for name, network in networks.items():
        if gradients := [p.grad for p in network.parameters() if p.grad is not None]:
            norms[name] = get_total_norm(gradients)
    return {name: float(norm) for name, norm in norms.items()}  # only here, the host waits


def memory(device: torch.device) -> dict[str, float]:
    """Measure ``memory/peak_GB``, the most that tensors took on a GPU; else ``memory/resident_GB`` of this process.

    Loading processes do not count. Where the system does not tell what is resident now, it is the most so far; Windows
    tells neither.
    """
    if device.type == "cuda":
        return {"memory/peak_GB": torch.cuda.max_memory_allocated(device) / 1e9}
    if STATUS.is_file():  # Linux
        pages = int(STATUS.read_text(encoding="ascii").split()[1])
        return {"memory/resident_GB": pages * os.sysconf("SC_PAGE_SIZE") / 1e9}
    if sys.platform == "win32":
        return {}
    import resource  # noqa: PLC0415 - only on Unix

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory/resident_GB": most * (1 if sys.platform == "darwin" else 1024) / 1e9}
