"""Time, memory and operations of one training step, against the published formulation of it (benchmarks/plain.py).

    python -m benchmarks.step                                             # every row that suits the machine
    python -m benchmarks.step --rows 'LSeSim-*' --batch_size 1 8 --json step.json
    python -m benchmarks.step --rows LSeSim-p32-bf16 --profile

A row is METHOD-pWINDOW-SPEED. Flags that --help does not list go to ``train.py``'s parser: --ngf 32, --netG unet_256.
The plain step always runs in float32 as torch sets itself up, which on recent GPUs lets convolutions use TF32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

import torch
from torch import Tensor

from data import DATASETS
from models import MODELS
from options import TRAIN, DataFlags, Options, TrainFlags, flag, parse, parse_known_flags
from training import job
from training.graph import WARM_UP
from util.errors import UserError, run_program

from .images import jittered, random_images
from .kernels import top_kernels
from .measure import MIB, Call, convolution_work, count_flops, machine_rates, median_seconds, peak_memory
from .plain import PlainStep
from .report import BenchmarkFlags, describe_machine, lines, table, use_device, write_json

METHODS = {"FSeSim": (), "LSeSim": ("--learned_attn", "--augment")}
WINDOWS = (64, 32)
SPEEDS: dict[str, tuple[str, ...]] = {
    "float32": ("--no_tf32",),
    "bf16": ("--amp", "bf16"),
    "tf32": (),
    "fp16": ("--amp", "fp16"),
    "bf16-graph": ("--amp", "bf16", "--cuda_graph", "on", "--pool_size", "1"),  # a graph waits until the pool is full
    "bf16-compile": ("--amp", "bf16", "--compile"),
    "float32-channels_first": ("--no_tf32", "--channels_last", "false"),
    "bf16-channels_first": ("--amp", "bf16", "--channels_last", "false"),
}
ON_CPU = ("float32", "bf16")


@dataclass(frozen=True)
class Case:
    """One row: ours computed one way, against the plain step of the same method and window."""

    method: str
    window: int
    speed: str
    batch: int

    @property
    def name(self) -> str:
        return f"{self.method}-p{self.window}-{self.speed}"

    @property
    def flags(self) -> tuple[str, ...]:
        """The method's flags of ``train.py``."""
        return (*METHODS[self.method], "--patch_size", str(self.window), "--batch_size", str(self.batch))


@dataclass(frozen=True)
class Settings:
    """Settings of torch for the whole process, which candidates set differently."""

    convolutions_in_tf32: bool = True
    search_convolutions: bool = False

    @classmethod
    def current(cls) -> Settings:
        return cls(torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)

    def apply(self) -> None:
        torch.backends.cudnn.allow_tf32 = self.convolutions_in_tf32
        torch.backends.cudnn.benchmark = self.search_convolutions

    def around(self, call: Call) -> Call:
        """Return the same call, always made under these settings."""
        def adjusted() -> object:
            self.apply()
            return call()
        return adjusted


PUBLISHED = Settings(search_convolutions=True)


@dataclass(frozen=True)
class StepFlags(BenchmarkFlags):
    """Time one training step against the published formulation of it. Other flags are those of train.py, like --ngf."""

    size: int = flag(256, "side of the images in pixels", minimum=1)
    batch_size: tuple[int, ...] = flag((1,), "images in a batch", minimum=1, several=True)
    rows: str = flag("*", "rows by name, with wildcards and commas, like 'LSeSim-*,*-p64-bf16'; wildcards find the "
                     "rows that suit the device")
    calls: int | None = flag(None, "steps between two readings of the clock", minimum=1, unset="1; CUDA: 5")
    profile: bool = flag(False, "print the ten most expensive kernels of each row instead")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rows that were asked for and print them."""
    arguments, training_flags = parse_known_flags(StepFlags, "python -m benchmarks.step", argv)
    device = use_device(arguments.device, arguments.threads)
    common = ("--crop_size", str(arguments.size), "--load_size", str(arguments.size), *training_flags)
    cases = choose_cases(arguments.rows, arguments.batch_size, device)
    if arguments.profile:
        for case in cases:
            print(f"{case.name}, batch {case.batch}")
            call = build_ours((*common, *case.flags, *SPEEDS[case.speed]), device)
            longest = top_kernels(call, device)
            if device.type == "cuda" and "operator" in longest[0]:
                print("torch's profiler has recorded no kernel: another profiler may hold the device, or the driver "
                      "may not let you read its counters. These are operators by the time of the host:")
            print(f"{table(longest, markdown=arguments.markdown)}\n", flush=True)
        return
    machine = describe_machine(device)
    measured = machine_rates(device, rounds=arguments.rounds)
    rates = {f"{name} GFLOP/s": rate / 1e9 for name, rate in measured.items()}
    print(lines({**machine, **rates}), flush=True)
    calls = arguments.calls or (5 if device.type == "cuda" else 1)
    report = {"benchmark": "step", "machine": machine, "rates": rates, "rounds": arguments.rounds,
              "size": arguments.size, "training_flags": training_flags}
    rows: list[dict[str, str | int | float]] = []
    for case in cases:
        rows.append(measure_case(case, common, device, rounds=arguments.rounds, calls=calls))
        print(f"{case.name}, batch {case.batch}: {rows[-1]['times faster']:.2f} times", flush=True)
        if arguments.json:  # after each row: a long run that is interrupted has not been for nothing
            write_json(arguments.json, {**report, "rows": rows})
    print(f"\n{table(rows, markdown=arguments.markdown)}")


def choose_cases(patterns: str, batches: Sequence[int], device: torch.device) -> list[Case]:
    """Return the rows whose names fit a pattern; wildcards find only those that suit the device.

    Raises:
        UserError: none fits.
    """
    cases = [Case(method, window, speed, batch)
             for batch in batches for method in METHODS for window in WINDOWS for speed in SPEEDS]
    wanted = patterns.split(",")
    chosen = [case for case in cases if case.name in wanted or (
        (device.type == "cuda" or case.speed in ON_CPU) and any(fnmatch(case.name, pattern) for pattern in wanted))]
    if not chosen:
        names = ", ".join(sorted({case.name for case in cases}))
        raise UserError(f"--rows {patterns} fits no row; there are {names}")
    return chosen


def measure_case(
    case: Case, common: tuple[str, ...], device: torch.device, *, rounds: int, calls: int
) -> dict[str, str | int | float]:
    """Measure one row of the table. Both steps and the convolution whose rate is the yardstick take turns."""
    flags = (*common, *case.flags)
    fast = (*flags, *SPEEDS[case.speed])
    plain_flops, plain_bytes, flops = plain_costs(flags, device)
    our_bytes = peak_memory(build_ours, fast, device, device=device)
    candidates = {"plain": build_plain(flags, device), "ours": build_ours(fast, device)}
    settings = Settings.current()
    works = {
        layout: convolution_work(device, precision(case.speed), channels_last=layout == "NHWC")
        for layout in ("NCHW", "NHWC")
    }
    candidates |= {layout: settings.around(work.call) for layout, work in works.items()}
    seconds = median_seconds(candidates, device, rounds=rounds, calls=calls)
    rate = max(work.flops / seconds[layout] for layout, work in works.items())
    return {
        "row": case.name, "batch": case.batch, "plain ms": 1000 * seconds["plain"], "ms": 1000 * seconds["ours"],
        "times faster": seconds["plain"] / seconds["ours"], "steps/s": 1 / seconds["ours"],
        "plain GFLOP": plain_flops / 1e9, "GFLOP": flops / 1e9, "of conv. rate": flops / seconds["ours"] / rate,
        "plain MiB": plain_bytes / MIB, "MiB": our_bytes / MIB, "memory ratio": our_bytes / plain_bytes,
    }


def precision(speed: str) -> torch.dtype:
    """Name the type in which a row's convolutions are computed."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(speed.split("-", maxsplit=1)[0], torch.float32)


@cache
def plain_costs(flags: tuple[str, ...], device: torch.device) -> tuple[int, int, int]:
    """Count operations and bytes of the plain step, and operations of ours, which are the same at every speed."""
    return (count_flops(build_plain(flags, device)), peak_memory(build_plain, flags, device, device=device),
            count_flops(build_ours(flags, device)))


def build_plain(flags: Sequence[str], device: torch.device) -> Call:
    """Build the plain step on one batch; ``flags`` are those of ``train.py``."""
    options = training_options(flags)
    batch = synthetic_batch(options, device)
    plain = PlainStep(options, device)
    return PUBLISHED.around(lambda: plain.train_step(batch))


def build_ours(flags: Sequence[str], device: torch.device) -> Call:
    """Build our step on the same batch: its own kernels, unless ``flags`` have ``--cuda_graph``."""
    options = training_options(["--cuda_graph", "off", *flags])
    batch = synthetic_batch(options, device)
    torch.compiler.reset()  # what it compiled for earlier rows counts against its limit of variants
    Settings().apply()
    _, step = job.build(options, device)
    if step.graphs:
        for _ in range(options[TrainFlags].pool_size + 2 * WARM_UP):  # until the image pool is full
            step([batch])
    return Settings.current().around(lambda: step([batch]))


def training_options(flags: Sequence[str]) -> Options:
    """Return options of ``train.py``, which wants a folder of images that nobody reads here."""
    return parse(TRAIN, MODELS, DATASETS, ["--dataroot", ".", *flags])


def synthetic_batch(options: Options, device: torch.device) -> Mapping[str, Tensor]:
    """Draw images A and B and appearance-jittered copies of them: [B, 3, H, W] in [-1, 1]."""
    data = options[DataFlags]
    real_a, real_b = random_images(2 * data.batch_size, data.crop_size).to(device).chunk(2)
    return {"A": real_a, "B": real_b, "A_aug": jittered(real_a), "B_aug": jittered(real_b)}


if __name__ == "__main__":
    run_program("benchmarks.step", main)
