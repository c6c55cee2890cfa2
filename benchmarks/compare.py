"""Train every method on the same drawings with as many generator updates, and compare what comes out.

    python -m benchmarks.compare                                     # every method, two seeds: hours on a CPU
    python -m benchmarks.compare --methods cut sc-LSeSim --seeds 1   # a part of it
    python -m benchmarks.compare --measure                           # the costs of a step too: on a quiet machine

Size and length are the quickstart's. Runs lie in checkpoints/compare and results/compare; one that is finished is not
run again, one that was interrupted goes on. Methods and seeds may be divided among several calls at the same time.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image, ImageDraw

from models import MODELS
from options import RunFlags
from util.errors import UserError, run_program

from .measure import median_seconds, peak_memory
from .report import (
    benchmark_parser,
    describe_machine,
    lines,
    not_negative,
    positive,
    table,
    use_device,
    writable,
    write_json,
)
from .step import build_ours, training_options

STRUCTURE = "--attn_layers relu3_1"
METHODS = {
    "sc-FSeSim": f"--model sc {STRUCTURE} --use_norm",
    "sc-LSeSim": f"--model sc {STRUCTURE} --learned_attn --augment",
    "cycle_gan": "--model cycle_gan",
    "cycle_gan-LSeSim": f"--model cycle_gan {STRUCTURE} --structure lsesim --augment",
    "cut": "--model cut",
    "FastCUT": "--model cut --CUT_mode FastCUT --lambda_NCE 3",
    "munit_sc": f"--model munit_sc {STRUCTURE} --learned_attn --augment",
}
"""Name in the table, and what ``train.py`` is told beside `COMMON`.

FastCUT's published ``--lambda_NCE 10`` tints the paper, whose patches nothing but a tint tells apart. Without
``--use_norm`` FSeSim lets the lines take colour.
"""
VARIANTS = {
    f"{base}-{name}": f"{METHODS[base]} {flags}" for base, name, flags in (
        ("sc-FSeSim", "lambda-2.5", "--lambda_spatial 2.5"),
        ("sc-FSeSim", "lambda-40", "--lambda_spatial 40"),
        ("sc-FSeSim", "relu2_1", "--attn_layers relu2_1"),
        ("sc-FSeSim", "relu4_1", "--attn_layers relu4_1"),
        ("sc-FSeSim", "both-layers", "--attn_layers relu3_1,relu4_1"),
        ("sc-FSeSim", "patch-8", "--patch_size 8"),
        ("sc-FSeSim", "patch-16", "--patch_size 16"),
        ("sc-LSeSim", "T-0.02", "--T 0.02"),
        ("sc-LSeSim", "T-0.3", "--T 0.3"),
        ("sc-LSeSim", "patch-16", "--patch_size 16"),
    )
}
"""One setting each that differs from the method's: lambda is 10, the layer relu3_1 with its whole map, T 0.07."""
KNOWN = METHODS | VARIANTS
COMMON = ("--preprocess none --ngf 16 --ndf 32 --no_antialias --init_type normal --lr 0.0008 --ema 0.99 "
          "--pool_size 50 --print_freq 200 --no_html --save_latest_freq 400 --save_epoch_freq 1000")
MEASURES = {"frechet": "Fréchet", "line_iou": "line IoU", "colour_error": "colour error"}
SIZE = "--load_size 128 --crop_size 128"  # of the images, for the noise that steps are timed on
MIB = 2**20
COLUMNS, CELL, LABEL = 10, 80, 150  # of the picture: images in a row, their side, and the room for names, in pixels


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
    report = {"benchmark": "compare", "machine": machine, "dataroot": str(flags.dataroot), "epochs": flags.epochs,
              "seeds": flags.seeds, "common": COMMON, "methods": {method: KNOWN[method] for method in flags.methods}}
    print(lines(machine))
    print(f"\n{table(rows, markdown=flags.markdown)}")
    if flags.json:
        write_json(flags.json, {**report, "rows": rows})
    if flags.picture:
        montage(flags).save(flags.picture)


def command_line(argv: Sequence[str] | None) -> Namespace:
    """The arguments."""
    parser = benchmark_parser("compare", "Train every method on the same images, equally long, and compare.", rounds=10)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(KNOWN), metavar="METHOD",
                        help=f"default: {' '.join(METHODS)}; also {' '.join(VARIANTS)}")
    parser.add_argument("--seeds", nargs="+", type=not_negative, default=[1, 2], help="of the trainings (default 1 2)")
    parser.add_argument("--epochs", nargs=2, type=not_negative, default=[2, 2], metavar=("CONSTANT", "DECAY"),
                        help="with the initial learning rate, and while it falls to zero (default 2 2)")
    parser.add_argument("--dataroot", type=Path, default=Path("datasets/lineart2color"), help="default: %(default)s")
    parser.add_argument("--max_dataset_size", type=positive, help="images of each folder (default: all)")
    parser.add_argument("--extra", default="", metavar="FLAGS", help="further flags of train.py, in one word")
    for kind in ("checkpoints", "results"):
        parser.add_argument(f"--{kind}_dir", type=Path, default=Path(kind, "compare"), help="default: %(default)s")
    parser.add_argument("--picture", type=writable, metavar="FILE",
                        help="draw some of the inputs, what each method's first seed makes of them, and the truths")
    parser.add_argument("--measure", action="store_true",
                        help="also time a step of each method, in turns, and weigh it: keep the machine quiet")
    return parser.parse_args(argv)


def run(method: str, seed: int, flags: Namespace) -> None:
    """Train, translate and score, unless that was done.

    Raises:
        UserError: a program failed; it has said why.
    """
    name = f"{method}-{seed}"
    scores = flags.results_dir / name / "metrics.json"
    if scores.is_file():
        return
    images = flags.results_dir / name / "test_latest" / "images"
    size = ["--max_dataset_size", str(flags.max_dataset_size)] if flags.max_dataset_size else []
    where = ["--dataroot", str(flags.dataroot), "--name", name, "--checkpoints_dir", str(flags.checkpoints_dir),
             "--gpu_ids", {"cpu": "-1", "cuda": "0"}.get(flags.device, "auto"), *size]
    resumed = ["--continue_train"] if (flags.checkpoints_dir / name / "latest_state.pth").is_file() else []
    constant, decay = map(str, flags.epochs)
    call("train.py", *where, *shlex.split(f"{COMMON} {KNOWN[method]} {flags.extra}"), "--seed", str(seed),
         "--n_epochs", constant, "--n_epochs_decay", decay, *resumed, threads=flags.threads)
    model = shlex.split(KNOWN[method])[1]
    call("test.py", *where, "--model", model, "--dataset_mode", "aligned", "--num_test", "inf", "--use_ema",
         "--results_dir", str(flags.results_dir), threads=flags.threads)
    truth = str(flags.dataroot / "testB")
    call("evaluate.py", "metrics", "--inputs", str(images / "real_A"), "--outputs", str(images / "fake_B"),
         "--real", truth, "--truth", truth, "--json", str(scores), "--record", f"method={method}", f"seed={seed}",
         threads=flags.threads)


def call(*command: str, threads: int | None) -> None:
    """Run one of the programs, its output shown as it comes."""
    print(f"$ python {shlex.join(command)}", flush=True)
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    if code := subprocess.run([sys.executable, *command], env={**os.environ, **limit}, check=False).returncode:
        raise UserError(f"{command[0]} ended with exit code {code}; the runs before it are kept")


def rows_of(flags: Namespace) -> list[dict[str, str | int | float | None]]:
    """For each method the means over the seeds that are there, after a row of the untranslated inputs."""
    found = {method: [json.loads(path.read_text(encoding="utf-8")) for seed in flags.seeds
                      if (path := flags.results_dir / f"{method}-{seed}" / "metrics.json").is_file()]
             for method in flags.methods}
    inputs: Mapping[str, Any] = next(scores for of in found.values() for scores in of)
    rows: list[dict[str, str | int | float | None]] = [
        {"method": "untranslated inputs", "seeds": None, **{title: inputs[f"{key}_inputs"]
                                                              for key, title in MEASURES.items()}, "spread": None}]
    for method, of in found.items():
        values = {key: [scores[f"{key}_outputs"] for scores in of] for key in MEASURES}
        rows.append({
            "method": method, "seeds": len(of), **{title: mean(values[key]) for key, title in MEASURES.items()},
            "spread": max(values["frechet"]) - min(values["frechet"])})
    return rows


def measured(flags: Namespace, device: torch.device) -> dict[str, dict[str, float]]:
    """For each method the seconds of a step, millions of trained parameters and MiB at the peak."""
    typed = {method: tuple(shlex.split(f"{COMMON} {SIZE} {KNOWN[method]} {flags.extra}")) for method in flags.methods}
    steps = {method: build_ours(of, device) for method, of in typed.items()}
    seconds = median_seconds(steps, device, rounds=flags.rounds)
    return {method: {
        "seconds a step": seconds[method], "M parameters": parameters(of) / 1e6,
        "peak MiB": peak_memory(build_ours, of, device, device=device) / MIB} for method, of in typed.items()}


def montage(flags: Namespace) -> Image.Image:
    """A row for the inputs, for each method and for the truths; columns are images spread over the test set."""
    def images(run: str, kind: str) -> Path:
        return Path(flags.results_dir, run, "test_latest", "images", kind)

    runs = [(method, f"{method}-{flags.seeds[0]}") for method in flags.methods]
    rows = [("inputs", images(runs[0][1], "real_A")), *((method, images(run, "fake_B")) for method, run in runs),
            ("truths", images(runs[0][1], "real_B"))]
    names = sorted(path.name for path in rows[0][1].iterdir())
    names = names[len(names) // COLUMNS // 2::max(len(names) // COLUMNS, 1)][:COLUMNS]
    picture = Image.new("RGB", (LABEL + CELL * len(names), CELL * len(rows)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, folder) in enumerate(rows):
        draw.text((LABEL - 6, row * CELL + CELL // 2), title, fill="black", anchor="rm", font_size=13)
        for column, name in enumerate(names):
            with Image.open(folder / name) as image:
                picture.paste(image.convert("RGB").resize((CELL, CELL)), (LABEL + column * CELL, row * CELL))
    return picture


def parameters(flags: Sequence[str]) -> int:
    """Of all networks that are trained."""
    options = training_options(flags)
    optimizers = MODELS[options[RunFlags].model](options, training=True).optimizers.values()
    return sum(p.numel() for optimizer in optimizers for group in optimizer.param_groups for p in group["params"])


if __name__ == "__main__":
    run_program("benchmarks.compare", main)
