"""Count a training step's launches, operations and bytes on a GPU, and compute its time at best.

    python -m benchmarks.launches --batch_size 1 8 --json launches.json
    python tests/null_device.py python -m benchmarks.launches                  # without a GPU; only times are missing

Launches are counted: by torch's profiler, or by the device that computes nothing (tests/null_cuda). Operations and
bytes are computed from the shapes: each operator reads each of its inputs and writes each of its outputs once. The
bounds follow from them and from the device's rates.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from models.networks import fused
from options import flag, parse_known_flags
from util.errors import UserError, run_program

from .measure import MIB, Call, median_seconds, synchronize
from .report import BenchmarkFlags, Row, describe_machine, lines, table, use_device, write_json
from .step import build_ours

LSESIM = ("--learned_attn", "--augment")
METHODS: dict[str, tuple[str, ...]] = {
    "FSeSim-p64": (),
    "LSeSim-p64": LSESIM,
    "LSeSim-p32": (*LSESIM, "--patch_size", "32"),
    "cycle_gan": ("--model", "cycle_gan"),
    "cycle_gan-LSeSim": ("--model", "cycle_gan", "--structure", "lsesim", "--augment"),
    "cut": ("--model", "cut"),
    "FastCUT": ("--model", "cut", "--CUT_mode", "FastCUT"),
    "gc_gan": ("--model", "gc_gan"),
    "munit_sc": ("--model", "munit_sc"),
    "pix2pix": ("--model", "pix2pix"),
    "sb": ("--model", "sb"),
}


OVERWRITES = ("copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "_foreach_copy_", "_foreach_zero_")
"""Operators that do not read what they change."""


@dataclass(frozen=True)
class LaunchFlags(BenchmarkFlags):
    """Count the launches, operations and bytes of training steps. Other flags are those of train.py, like --ngf."""

    size: int = flag(256, "side of the images in pixels", minimum=1)
    batch_size: tuple[int, ...] = flag((1,), "images in a batch", minimum=1, several=True)
    methods: tuple[str, ...] = flag(tuple(METHODS), "methods", choices=tuple(METHODS), several=True)
    amp: tuple[str, ...] = flag(("no", "bf16"), "precisions", choices=("no", "bf16", "fp16"), several=True)
    half_tflops: float = flag(989.0, "rate in half precision, TFLOP/s; the default rates are those of an H100", above=0)
    tf32_tflops: float = flag(495.0, "rate of the device in TF32, TFLOP/s", above=0)
    terabytes: float = flag(3.35, "rate of the device's memory, TB/s", above=0)
    launch_us: float = flag(5.0, "time of a launch, us", above=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    arguments, training_flags = parse_known_flags(LaunchFlags, "python -m benchmarks.launches", argv)
    device = use_device(arguments.device, arguments.threads)
    if device.type != "cuda":
        raise UserError("launches are those of a CUDA device: without one, put python tests/null_device.py before the "
                        "command")
    machine = describe_machine(device)
    print(lines(machine), flush=True)
    rows: list[Row] = []
    for batch in arguments.batch_size:
        for name in arguments.methods:
            for amp in arguments.amp:
                flags = ("--crop_size", str(arguments.size), "--load_size", str(arguments.size), "--batch_size",
                         str(batch), "--amp", amp, *METHODS[name], *training_flags)
                rows.append({"step": name, "batch": batch, "amp": amp, **measured(flags, device, arguments)})
                if arguments.json:
                    write_json(arguments.json, {"benchmark": "launches", "machine": machine, "rows": rows})
    print(f"\n{table(rows, markdown=arguments.markdown)}")


def measured(flags: Sequence[str], device: torch.device, arguments: LaunchFlags) -> dict[str, float | None]:
    """Measure one step; ``ms`` is None on the device that computes nothing."""
    gc.collect()
    before = torch.cuda.memory_allocated(device)
    call = build_ours(flags, device)
    for _ in range(3):
        call()
    torch.cuda.reset_peak_memory_stats(device)
    launches = count_launches(call, device)
    memory = torch.cuda.max_memory_allocated(device) - before
    with Traffic() as traffic, traffic.of_own_kernels():
        call()
    arithmetic = traffic.half_operations / arguments.half_tflops + traffic.other_operations / arguments.tf32_tflops
    seconds = None if null_launches() else median_seconds({"": call}, device, rounds=arguments.rounds, calls=5)[""]
    return {
        "launches": launches, "GFLOP": (traffic.half_operations + traffic.other_operations) / 1e9,
        "GB": traffic.bytes / 1e9, "MiB": memory / MIB, "arithmetic ms": arithmetic / 1e9,
        "memory ms": traffic.bytes / arguments.terabytes / 1e9, "launch ms": launches * arguments.launch_us / 1e3,
        "ms": None if seconds is None else 1000 * seconds,
    }


def count_launches(call: Call, device: torch.device) -> int:
    """Count launches of kernels, copies and fills of one call."""
    synchronize(device)
    if count := null_launches():
        before = count()
        call()
        return count() - before
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call()
        synchronize(device)
    found = int(sum(event.count for event in profiler.key_averages() if event.device_type.name == "CUDA"))
    if not found:
        raise UserError(f"torch's profiler has recorded nothing on {device}: another profiler may hold the device, or "
                        "the driver may not let you read its counters")
    return found


def null_launches() -> Callable[[], int] | None:
    """Return the counter of the device that computes nothing, if it is there."""
    symbols = ctypes.CDLL(None)
    if not hasattr(symbols, "null_launches"):
        return None
    symbols.null_launches.restype = ctypes.c_long
    count: Callable[[], int] = symbols.null_launches
    return count


class Traffic(TorchDispatchMode):
    """Adds up operations, and bytes that operators on a GPU read and write. Views and new memory are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.half_operations = self.other_operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        schema, name = func._schema, func.overloadpacket.__name__
        is_view = any(of.alias_info is not None and not of.alias_info.is_write for of in schema.returns)
        if is_view or name.lstrip("_").startswith(("empty", "new_empty", "unsafe_view")):
            return result
        outputs = tensors(result)
        changed = tensors([args[number] if number < len(args) else kwargs.get(of.name)
                           for number, of in enumerate(schema.arguments)
                           if of.alias_info is not None and of.alias_info.is_write])
        read = {id(of): of for of in tensors((args, kwargs))}
        if name in OVERWRITES:
            for of in changed:
                read.pop(id(of), None)
        if any(of.is_cuda for of in (*read.values(), *outputs, *changed)):
            self.bytes += sum(stored_bytes(of) for of in (*read.values(), *(changed or outputs)))
        if func.overloadpacket in flop_registry:
            operations = flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)
            if outputs[0].dtype in (torch.bfloat16, torch.float16):
                self.half_operations += operations
            else:
                self.other_operations += operations
        return result

    @contextmanager
    def of_own_kernels(self) -> Iterator[None]:
        """Add the bytes of this project's kernels, which torch does not see."""
        launch = fused.launch

        def counted(name: str, grid: tuple[int, int, int], given: tuple[Tensor, ...], *more: Any) -> None:
            self.bytes += sum(stored_bytes(of) for of in {id(of): of for of in given}.values())
            launch(name, grid, given, *more)

        with mock.patch.object(fused, "launch", counted):
            yield


def tensors(tree: object) -> list[Tensor]:
    """List the tensors in nested lists, tuples and dictionaries."""
    return [of for of in tree_leaves(tree) if isinstance(of, Tensor)]


def stored_bytes(tensor: Tensor) -> int:
    """Count bytes of a tensor in memory: what is expanded counts once."""
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or size == 1 else 1
    return count


if __name__ == "__main__":
    run_program("benchmarks.launches", main)
