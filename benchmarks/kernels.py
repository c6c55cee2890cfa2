"""Profile a call by kernel."""

import torch
from torch.profiler import ProfilerActivity, profile

from .measure import Call, synchronize


def top_kernels(call: Call, device: torch.device, *, count: int = 10, calls: int = 3) -> list[dict[str, str | float]]:
    """Return the kernels that take longest: name, milliseconds and launches a call, share of all kernels' time.

    On the CPU, and where the profiler sees nothing of a GPU, these are torch's operators by the time of the host,
    without the operators that they call. Their name has the key ``operator`` instead of ``kernel``.
    """
    for _ in range(3):
        call()
    synchronize(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(calls):
            call()
        synchronize(device)
    events = [event for event in profiler.key_averages() if not getattr(event, "is_user_annotation", False)]
    kernels = [(event.self_device_time_total, event.count, event.key)
               for event in events if event.device_type.name == "CUDA"]
    found = kernels or [(event.self_cpu_time_total, event.count, event.key)
                        for event in events if event.device_type.name == "CPU"]
    total = sum(microseconds for microseconds, _, _ in found)
    return [{"kernel" if kernels else "operator": name[:90], "ms": microseconds / 1000 / calls,
             "share": microseconds / total, "launches": launches / calls}
            for microseconds, launches, name in sorted(found, reverse=True)[:count]]
