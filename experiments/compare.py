"""Train every method on the same drawings with as many generator updates, and compare what comes out.

    python -m experiments.compare                                     # every method, two seeds: hours on a CPU
    python -m experiments.compare --methods cut sc-LSeSim --seeds 1   # a part of it
    python -m experiments.compare --measure                           # the costs of a step too: on a quiet machine
    python -m experiments.compare --records_dir docs/records/compare --extra="--amp bf16"  # docs' table

Size and length are those of the scripts with --demo. Runs lie in checkpoints/compare and results/compare; one that is
finished is not run again, one that was interrupted goes on, and one of other settings is refused. Methods and seeds may
be divided among several calls at the same time.
"""

import os
import shlex
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image

from benchmarks.measure import MIB, median_seconds, peak_memory
from benchmarks.report import (
    BenchmarkFlags,
    cell,
    describe_machine,
    lines,
    table,
    use_device,
    writable,
    write_json,
)
from benchmarks.step import build_ours, training_options
from datasets.building import picture, save_png, whole_folder, work_through
from models import MODELS
from options import RunFlags, flag, parse_flags
from util.errors import UserError, run_program
from util.images import find_images

from .methods import COMMON, KNOWN, METHODS
from .montage import montage, outputs
from .records import MEASURES, SETTINGS, read_scores, record, refuse_other_settings

FOLDERS = ("trainA", "trainB", "testA", "testB")
OWNED = ("dataroot", "name", "checkpoints_dir", "gpu_ids", "max_dataset_size", "model", "seed", "n_epochs",
         "n_epochs_decay", "continue_train")  # flags of train.py that are not for --extra
STYLES = 10  # that a model of several translates to; in the scores they take turns


def extra(text: str) -> str:
    """Check flags of train.py; refuse those that this program sets itself."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{error} in {text}") from error
    if owned := [word for word in words if word.partition("=")[0] in {f"--{name}" for name in OWNED}]:
        raise ValueError(f"{owned[0]} is what experiments.compare sets itself: leave it out")
    return shlex.join(words)


@dataclass(frozen=True)
class CompareFlags(BenchmarkFlags):
    """Train every method on the same images, equally long, and compare."""

    rounds: int = flag(10, "timed rounds", minimum=1)
    methods: tuple[str, ...] = flag(tuple(METHODS), f"some of {', '.join(KNOWN)}", choices=tuple(KNOWN),
                                     several=True, metavar="METHOD")
    seeds: tuple[int, ...] = flag((1, 2), "seeds of the trainings", minimum=0, several=True)
    epochs: tuple[int, ...] = flag((2, 2), "epochs with the initial learning rate, and while it falls to zero",
                                   minimum=0, several=2)
    dataroot: Path = flag(Path("datasets/lineart2color"), "data set")
    size: int = flag(128, "side that images are scaled to", minimum=1)
    max_dataset_size: int | None = flag(None, "images of each folder", minimum=1, unset="all")
    extra: str = flag("", "further flags of train.py, in one word", parse=extra)
    checkpoints_dir: Path = flag(Path("checkpoints/compare"), "folder of the experiments")
    results_dir: Path = flag(Path("results/compare"), "folder of the translations")
    records_dir: Path | None = flag(None, "folder of scores of finished runs, a file each", unset="--results_dir")
    picture: Path | None = flag(None, "draw some inputs, what the first seed of each method makes of them, and the "
                                "truths", parse=writable)
    measure: bool = flag(False, "also time a step of each method, in turns, and measure its memory: keep the machine "
                         "quiet")

    @property
    def records(self) -> Path:
        """Return the folder of scores."""
        return self.records_dir or self.results_dir


def command_line(argv: Sequence[str] | None) -> CompareFlags:
    """Parse the flags; a method or a seed that is named twice counts once."""
    flags = parse_flags(CompareFlags, "python -m experiments.compare", argv)
    return replace(flags, methods=tuple(dict.fromkeys(flags.methods)), seeds=tuple(dict.fromkeys(flags.seeds)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table of all that is there."""
    flags = command_line(argv)
    device = use_device(flags.device, flags.threads)
    for seed in flags.seeds:
        for method in flags.methods:
            run(method, seed, flags)
    rows = rows_of(flags)
    machine = describe_machine(device)
    if flags.measure:
        costs = measured(flags, device)
        rows = [{**row, **costs.get(str(row["method"]), dict.fromkeys(next(iter(costs.values()))))} for row in rows]
    print(lines(machine))
    print(f"\n{table([in_print(row) for row in rows], markdown=flags.markdown)}")
    if flags.json:
        write_json(flags.json, {
            "benchmark": "compare", "machine": machine, "dataroot": str(flags.dataroot), "size": flags.size,
            "max_dataset_size": flags.max_dataset_size, "epochs": flags.epochs, "seeds": flags.seeds, "common": COMMON,
            "extra": flags.extra,
            "methods": {method: KNOWN[method] for method in flags.methods}, "rows": rows})
    if flags.picture:
        montage({method: translations(f"{method}-{flags.seeds[0]}", flags) for method in flags.methods}).save(
            flags.picture)


def settings(method: str, seed: int, flags: CompareFlags) -> dict[str, str | int]:
    """Return the settings of a run by name, of `SETTINGS`."""
    constant, decay = flags.epochs
    values = (method, seed, f"{COMMON} {KNOWN[method]}", flags.dataroot.resolve().name, f"{constant}+{decay}",
              flags.size, flags.max_dataset_size, flags.extra)
    return {key: value for key, value in zip(SETTINGS, values, strict=True) if value not in (None, "")}


def run(method: str, seed: int, flags: CompareFlags) -> None:
    """Train, translate and score, unless that was done.

    Raises:
        UserError: a program failed, and has said why; or what was done was done with other settings.
    """
    name, asked = f"{method}-{seed}", settings(method, seed, flags)
    scores, begun = record(name, flags.records), flags.checkpoints_dir / f"{name}.json"
    if scores.exists():
        refuse_other_settings(scores, asked)
        return
    if begun.exists():
        refuse_other_settings(begun, asked)
    scores.parent.mkdir(parents=True, exist_ok=True)
    begun.parent.mkdir(parents=True, exist_ok=True)
    write_json(begun, asked)
    data = scaled(flags.dataroot, flags.size, flags.results_dir / "images")
    size = ["--max_dataset_size", str(flags.max_dataset_size)] if flags.max_dataset_size else []
    where = ["--dataroot", str(data), "--name", name, "--checkpoints_dir", str(flags.checkpoints_dir),
             "--gpu_ids", {"cpu": "-1", "cuda": "0"}.get(flags.device, "auto"), *size]
    resumed = ["--continue_train"] if (flags.checkpoints_dir / name / "latest_state.pth").is_file() else []
    constant, decay = map(str, flags.epochs)
    call("train.py", *where, *shlex.split(f"{COMMON} {KNOWN[method]} {flags.extra}"), "--seed", str(seed),
         "--n_epochs", constant, "--n_epochs_decay", decay, *resumed, threads=flags.threads)
    model = shlex.split(KNOWN[method])[1]
    styles = ["--n_styles", str(STYLES)] if model.startswith("munit") else []
    call("test.py", *where, "--model", model, "--dataset_mode", "aligned", "--num_test", "inf", "--use_ema",
         "--results_dir", str(flags.results_dir), *styles, threads=flags.threads)
    images, truth = translations(name, flags), str(data / "testB")
    call("evaluate.py", "metrics", "--inputs", str(images / "real_A"), "--outputs",
         *map(str, outputs(images)), "--real", truth, "--truth", truth, "--bootstrap", "0", "--json", str(scores),
         "--record", *(f"{key}={value}" for key, value in asked.items()), threads=flags.threads)


def translations(name: str, flags: CompareFlags) -> Path:
    """The folder with a run's pictures."""
    return Path(flags.results_dir, name, "test_latest", "images")


def scaled(dataroot: Path, size: int, place: Path) -> Path:
    """The data set with images of ``size`` pixels: itself, or else a copy, which is made once in ``place``."""
    found = {folder: find_images(dataroot / folder, "--dataroot") for folder in FOLDERS}
    if all(sides(path) == (size, size) for paths in found.values() for path in paths):
        return dataroot
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for paths in found.values() for path in paths]
    copy = place / f"{dataroot.resolve().name}-{size}-{zlib.crc32(repr(files).encode()):08x}"  # others have another
    if not copy.is_dir():
        try:
            with whole_folder(copy) as whole:
                for folder, paths in found.items():
                    work_through(partial(save_scaled, whole / folder, size), paths, threads=2)
        except OSError:
            if not copy.is_dir():  # not made by another call meanwhile
                raise
    return copy


def save_scaled(folder: Path, size: int, path: Path) -> None:
    """Write a square copy of an image, ``size`` pixels wide, into a folder."""
    save_png(picture(path, (size, size)), folder / f"{path.stem}.png")


def sides(path: Path) -> tuple[int, int]:
    """Width and height, without decoding the image."""
    with Image.open(path) as image:
        return image.size


def call(*command: str, threads: int | None) -> None:
    """Run one of the programs, its output shown as it comes."""
    print(f"$ python {shlex.join(command)}", flush=True)
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    if code := subprocess.run([sys.executable, *command], env={**os.environ, **limit}, check=False).returncode:
        raise UserError(f"{command[0]} ended with exit code {code}; the runs before it are kept")


def rows_of(flags: CompareFlags) -> list[dict[str, str | int | float | None]]:
    """For each method the means over its seeds, and their extremes, after a row of the untranslated inputs."""
    found = {method: [read_scores(record(f"{method}-{seed}", flags.records)) for seed in flags.seeds]
             for method in flags.methods}
    inputs = next(scores for of in found.values() for scores in of)
    return [{**summary("untranslated inputs", [inputs], "inputs"), "seeds": None},
            *(summary(method, of, "outputs") for method, of in found.items())]


def summary(title: str, runs: Sequence[dict[str, Any]], kind: str) -> dict[str, str | int | float | None]:
    """Of each measure the mean over the runs, the least and the greatest."""
    row: dict[str, str | int | float | None] = {"method": title, "seeds": len(runs)}
    for key, name in MEASURES.items():
        values = [scores[f"{key}_{kind}"] for scores in runs]
        row |= {name: mean(values), f"least {name}": min(values), f"greatest {name}": max(values)}
    return row


def in_print(row: Mapping[str, str | int | float | None]) -> dict[str, str | int | float | None]:
    """A row as people read it: after each mean the extremes, where they differ, in one column."""
    columns: dict[str, str | int | float | None] = {}
    for name, value in row.items():
        if not name.startswith(("least ", "greatest ")):
            columns[name] = value
        if name in MEASURES.values():
            least, greatest = (cell(row[f"{extreme} {name}"]) for extreme in ("least", "greatest"))
            columns[f"{name} range"] = f"{least} to {greatest}" if least != greatest else None
    return columns


def measured(flags: CompareFlags, device: torch.device) -> dict[str, dict[str, float]]:
    """For each method the seconds of a step, millions of trained parameters and MiB at the peak."""
    size = f"--load_size {flags.size} --crop_size {flags.size}"  # of the noise that steps are timed on
    typed = {method: tuple(shlex.split(f"{COMMON} {size} {KNOWN[method]} {flags.extra}")) for method in flags.methods}
    steps = {method: build_ours(of, device) for method, of in typed.items()}
    seconds = median_seconds(steps, device, rounds=flags.rounds)
    return {method: {
        "seconds a step": seconds[method], "M parameters": parameters(of) / 1e6,
        "peak MiB": peak_memory(build_ours, of, device, device=device) / MIB} for method, of in typed.items()}


def parameters(flags: Sequence[str]) -> int:
    """Of all networks that are trained."""
    options = training_options(flags)
    optimizers = MODELS[options[RunFlags].model](options, training=True).optimizers.values()
    return sum(p.numel() for optimizer in optimizers for group in optimizer.param_groups for p in group["params"])


if __name__ == "__main__":
    run_program("experiments.compare", main)
