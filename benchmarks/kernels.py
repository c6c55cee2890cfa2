"""Profile a call by kernel."""

import torch
from torch.profiler import ProfilerActivity, profile

from util.errors import UserError

from .measure import Call, synchronize


def top_kernels(call: Call, device: torch.device, *, count: int = 10, calls: int = 3) -> list[dict[str, str | float]]:
    """The kernels that take longest: name, milliseconds and launches a call, share of all kernels' time.

    On the CPU these are torch's operators, without the operators that they call.

    Raises:
        UserError: the profiler has seen nothing of the device.
    """
    for _ in range(3):
        call()
    synchronize(device)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        for _ in range(calls):
            call()
        synchronize(device)
    kind = "CUDA" if on_gpu else "CPU"
    found = [(event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.count, event.key)
             for event in profiler.key_averages()
             if event.device_type.name == kind and not getattr(event, "is_user_annotation", False)]
    if not found:
        raise UserError(f"torch's profiler has recorded nothing on {device}: another profiler may hold the device, or "
                        "the driver may not let you read its counters; leave --profile out to time the steps")
    total = sum(microseconds for microseconds, _, _ in found)
    longest = sorted(found, reverse=True)[:count]
    return [{"kernel": name[:90], "ms": microseconds / 1000 / calls, "share": microseconds / total,
             "launches": launches / calls} for microseconds, launches, name in longest]
