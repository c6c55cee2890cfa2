"""Measure the gain of several processes, the data that they exchange, and the start of a large data set.

    python -m benchmarks.scaling --layouts 1x1 1x2 2x1 --size 64 --json scaling.json

Flags that are not listed by --help are those of ``train.py``.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist

from data.sampler import epoch_batches
from models import MODELS
from options import DataFlags, flag, parse_known_flags
from training import job
from util.device import choose_device
from util.distributed import ALONE, World, joined
from util.errors import UserError, run_program
from util.image_folders import find_images

from .measure import Call, median_seconds, peak_memory
from .report import BenchmarkFlags, Row, describe_machine, lines, table, use_device, write_json
from .step import synthetic_batch, training_options

ROOT = Path(__file__).parent.parent
A_FOLDER = 1000  # empty files in each folder of the synthetic data set


def layout(text: str) -> tuple[int, int]:
    """Convert ``2x1`` to two processes of one thread."""
    if not (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise ValueError(f"'{text}' is not of the form 2x1")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class ScalingFlags(BenchmarkFlags):
    """Time several processes against one, and the start of a large epoch. Other flags are those of train.py."""

    layouts: tuple[tuple[int, int], ...] = flag(
        (), "P processes of T CPU threads each", parse=layout, several=True, metavar="PxT",
        unset="1x1 1x2 2x1; with GPUs 1, 2, 4 and 8 of one thread, as far as there are GPUs")
    size: int = flag(256, "side of the images in pixels", minimum=1)
    batch_size: int = flag(1, "images of a process", minimum=1)
    files: tuple[int, ...] = flag((100_000,), "empty files to list", minimum=1, several=True)
    child: Path | None = flag(None, "used by this program: file for the row of a layout")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print three tables."""
    arguments, more_flags = parse_known_flags(ScalingFlags, "python -m benchmarks.scaling", argv)
    side, batch = arguments.size, arguments.batch_size
    flags = ["--learned_attn", "--augment", "--crop_size", str(side), "--load_size", str(side),
             "--batch_size", str(batch), *more_flags]
    if arguments.child:
        run_child(arguments, flags, arguments.child)
        return
    device = use_device(arguments.device)
    machine = describe_machine(device)
    del machine["threads"]  # each layout has its own
    print(lines(machine))
    reduced = gradient_rows(flags)
    print(f"\nGradients that are reduced in each step, float32\n\n{table(reduced, markdown=arguments.markdown)}")
    layouts: list[Row] = [layout_row(shape, more_flags, arguments)
                          for shape in arguments.layouts or usual_layouts(device)]
    print(f"\nProcesses that train LSeSim at {side}x{side}, batch {batch} in each. Apart: at the same time, but each "
          f"for itself\n\n{table(layouts, markdown=arguments.markdown)}")
    beginning: list[Row] = [beginning_row(count) for count in arguments.files]
    print(f"\nBefore the first image of an epoch\n\n{table(beginning, markdown=arguments.markdown)}")
    if arguments.json:
        settings = {name: value for name, value in asdict(arguments).items()
                    if name not in ("json", "markdown", "child")}
        write_json(arguments.json, {"benchmark": "scaling", "machine": machine, **settings, "flags": flags,
                                    "gradients": reduced, "layouts": layouts, "beginning": beginning})


def usual_layouts(device: torch.device) -> list[tuple[int, int]]:
    """Return the default layouts."""
    if device.type == "cpu":
        return [(1, 1), (1, 2), (2, 1)]
    return [(count, 1) for count in (1, 2, 4, 8) if count <= torch.cuda.device_count()]


def gradient_rows(flags: Sequence[str]) -> list[Row]:
    """Count the parameters and bytes of each optimizer."""
    optimizers = MODELS["sc"](training_options(flags), training=True).optimizers
    counts = {name: sum(p.numel() for group in optimizer.param_groups for p in group["params"])
              for name, optimizer in optimizers.items()}
    counts["together"] = sum(counts.values())
    return [{"of": name, "parameters": count, "MB": 4 * count / 1e6} for name, count in counts.items()]


def layout_row(shape: tuple[int, int], more_flags: Sequence[str], arguments: ScalingFlags) -> Row:
    """Measure one layout, in processes of its own.

    Raises:
        UserError: they failed.
    """
    processes, threads = shape
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}",
            "-m", "benchmarks.scaling", "--child", str(file), "--device", arguments.device, "--threads", str(threads),
            "--rounds", str(arguments.rounds), "--size", str(arguments.size),
            "--batch_size", str(arguments.batch_size), *more_flags]
        run = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                             capture_output=True, text=True, check=False)
        if run.returncode:
            raise UserError(f"--layouts {processes}x{threads} failed: {run.stderr[-2000:]}")
        row: Row = json.loads(file.read_text())
    return row


def run_child(arguments: ScalingFlags, flags: Sequence[str], file: Path) -> None:
    """Run one of a layout's processes; the first one writes the row."""
    torch.set_num_threads(arguments.threads or 1)
    world = World.of_environment()
    device = choose_device({"auto": "auto", "cpu": "-1", "cuda": "auto"}[arguments.device], world)
    with joined(world, device):
        together, apart = (build(flags, device, among) for among in (world, ALONE))
        steps = 1 if device.type == "cpu" else 5
        candidates = {"together": in_turn(together, steps, world), "apart": in_turn(apart, steps, world)}
        if world.size > 1:
            gradients = torch.zeros(int(gradient_rows(flags)[-1]["parameters"] or 0), device=device)
            candidates["reduction"] = in_turn(lambda: dist.all_reduce(gradients), steps, world)
        seconds = median_seconds(candidates, device, rounds=arguments.rounds)
    images = world.size * training_options(flags)[DataFlags].batch_size * steps
    if world.is_first:
        write_json(file, {
            "processes": world.size, "threads": arguments.threads, "images/s": images / seconds["together"],
            "ms a step": 1000 * seconds["together"] / steps, "ms apart": 1000 * seconds["apart"] / steps,
            "ms of reduction alone": 1000 * seconds.get("reduction", 0.0) / steps})


def build(flags: Sequence[str], device: torch.device, world: World) -> Call:
    """Build a training step on one batch."""
    options = training_options(flags)
    torch.manual_seed(0)
    _, step = job.build(options, device, world)
    batch = synthetic_batch(options, device)
    return lambda: step([batch])


def in_turn(call: Call, times: int, world: World) -> Call:
    """Make several calls, which begin in all processes at once."""

    def calls() -> None:
        if world.size > 1:
            dist.barrier()
        for _ in range(times):
            call()

    return calls


def beginning_row(count: int) -> Row:
    """Time and memory until the first image of an epoch over so many files is known."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            parent = Path(folder, f"{number // A_FOLDER:06d}")
            if number % A_FOLDER == 0:
                parent.mkdir()
            (parent / f"{number:09d}.jpg").touch()
        start = time.perf_counter()
        find_images(Path(folder), "--dataroot")
        listed = time.perf_counter()
        keys = epoch_batches(count, 1, seed=0, epoch=1, shuffle=True)
        next(keys)
        ordered = time.perf_counter()
        some = len(list(islice(keys, 1000)))
        drawn = time.perf_counter()
        cpu = torch.device("cpu")
        list_bytes = peak_memory(listing, folder, device=cpu, calls=1)
    order_bytes = peak_memory(ordering, count, device=cpu, calls=1)
    return {"files": count, "listing s": listed - start, "listing MB": list_bytes / 1e6, "order s": ordered - listed,
            "order MB": order_bytes / 1e6, "key us": 1e6 * (drawn - ordered) / max(1, some)}


def listing(folder: str) -> Call:
    """List a folder as data sets do."""
    return lambda: find_images(Path(folder), "--dataroot")


def ordering(count: int) -> Call:
    """Draw the order of an epoch."""
    return lambda: next(epoch_batches(count, 1, seed=0, epoch=1, shuffle=True))


if __name__ == "__main__":
    run_program("benchmarks.scaling", main)
