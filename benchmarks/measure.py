"""Measure time, memory, operations, and the machine's own rates."""

import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[], object]
MIB = 2**20


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def median_seconds(
    candidates: Mapping[str, Call], device: torch.device, *, rounds: int = 10, warmup: int = 2, calls: int = 1,
) -> dict[str, float]:
    """Measure the median seconds of one call of each candidate.

    The candidates take turns round by round, so that a machine that slows down slows all of them down.

    Args:
        candidates: what to call, by name.
        device: where the work happens; it is waited for before the clock is read.
        rounds: how many times each candidate is timed.
        warmup: untimed calls of each before the first round.
        calls: calls between two readings of the clock. Above 1 a GPU may run behind the host, as it does in training.
    """
    for call in candidates.values():
        for _ in range(warmup):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            synchronize(device)
            start = time.perf_counter()
            for _ in range(calls):
                call()
            synchronize(device)
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: median(times) for name, times in seconds.items()}


def peak_memory(build: Callable[..., Call], *arguments: object, device: torch.device, calls: int = 2) -> int:
    """Measure the most bytes that ``build(*arguments)`` and ``calls`` calls of its result hold at one time.

    On CUDA these are the tensors allocated on the device, after one call that is not looked at (it tries out
    algorithms). On the CPU it is the growth of the resident memory of a process started for the purpose, so
    ``build`` must be a function at the top of a module and ``arguments`` must be such that they can be sent there.
    """
    if device.type == "cuda":
        gc.collect()
        before = torch.cuda.memory_allocated(device)
        call = build(*arguments)
        call()
        torch.cuda.reset_peak_memory_stats(device)
        for _ in range(calls):
            call()
        return torch.cuda.max_memory_allocated(device) - before
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_resident_growth, torch.get_num_threads(), calls, build, *arguments).result()


def _resident_growth(threads: int, calls: int, build: Callable[..., Call], *arguments: object) -> int:
    torch.set_num_threads(threads)
    before = peak_resident()
    call = build(*arguments)
    for _ in range(calls):
        call()
    return peak_resident() - before


def peak_resident() -> int:
    """Measure the most bytes of memory that this process has occupied.

    Linux lets a process inherit its parent's ``ru_maxrss``, hence the other source there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def count_flops(call: Call) -> int:
    """Count floating-point operations of convolutions and matrix products, forward and backward, of one call.

    A multiplication and an addition are two. Compiled code hides its operations: count the plain one.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Work:
    """Something to call, and the floating-point operations of one call."""

    call: Call
    flops: int


def convolution_work(device: torch.device, dtype: torch.dtype, *, channels_last: bool = False) -> Work:
    """Build a 3x3 convolution of 256 to 256 channels at 64x64, forward and backward: most of the generator's work.

    One image on a CPU; 32 on a GPU, which a single one would not fill.
    """
    batch = 1 if device.type == "cpu" else 32
    layout = torch.channels_last if channels_last else torch.contiguous_format
    convolution = nn.Conv2d(256, 256, 3, padding=1, bias=False).to(device, dtype).to(memory_format=layout)
    images = torch.randn(batch, 256, 64, 64, device=device, dtype=dtype).to(memory_format=layout).requires_grad_()
    gradient = torch.randn_like(images)

    def call() -> None:
        images.grad = convolution.weight.grad = None  # nothing to add the new ones to
        convolution(images).backward(gradient)

    return Work(call, 3 * 2 * batch * 64 * 64 * 256 * 256 * 9)


def matrix_work(device: torch.device, dtype: torch.dtype) -> Work:
    """Build a product of two square matrices, of 2048 rows on a CPU and 8192 on a GPU."""
    side = 2048 if device.type == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return Work(lambda: torch.matmul(left, right), 2 * side**3)


def machine_rates(device: torch.device, *, rounds: int = 10) -> dict[str, float]:
    """Measure the operations a second that this machine reaches in a convolution and a matrix product, by name.

    A convolution's rate is that of the faster of the two memory layouts. float32 means what torch is set to at the
    moment: on recent GPUs that may be TF32.
    """
    rates: dict[str, float] = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        works = {
            f"convolution {name} NCHW": convolution_work(device, dtype),
            f"convolution {name} NHWC": convolution_work(device, dtype, channels_last=True),
            f"matrix {name}": matrix_work(device, dtype),
        }
        seconds = median_seconds({key: work.call for key, work in works.items()}, device, rounds=rounds)
        speeds = {key: work.flops / seconds[key] for key, work in works.items()}
        rates[f"convolution {name}"] = max(speeds[f"convolution {name} NCHW"], speeds[f"convolution {name} NHWC"])
        rates[f"matrix {name}"] = speeds[f"matrix {name}"]
    return rates
