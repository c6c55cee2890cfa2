"""Train, translate and score one run, with the project's programs."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import describe_machine, write_json
from benchmarks.step import training_options
from evaluation.judge import judge_folder
from evaluation.pairing import in_styles
from evaluation.reports import require_place
from models import MODELS
from options import RunFlags
from util.errors import UserError
from util.files import replacing

from .comparison import CompareFlags, settings
from .images import scaled, true_pairs
from .montage import outputs
from .records import read, record, refuse_other_settings, training_costs

STYLES = 10  # that a model of several translates to; in the scores they take turns


def run(method: str, seed: int, flags: CompareFlags, device: torch.device) -> None:
    """Train, translate and score, unless that was done.

    Raises:
        UserError: a program failed, and has said why; what was done was done with other settings; or there is no place
            for the scores.
    """
    name, asked = f"{method}-{seed}", settings(method, seed, flags)
    scores, begun = record(name, flags.records), flags.checkpoints_dir / f"{name}.json"
    if scores.exists():
        refuse_other_settings(scores, asked)
        return
    require_place(scores)
    if begun.exists():
        refuse_other_settings(begun, asked)
    begun.parent.mkdir(parents=True, exist_ok=True)
    write_json(begun, asked)
    data = scaled(flags.images, flags.size, flags.results_dir / "images")
    train_and_translate(method, seed, data, flags)
    found = {**score(translations(name, flags), data, flags, device), **asked, "machine": describe_machine(device),
             "M_parameters": parameters(shlex.split(flags.training(method))) / 1e6,
             **training_costs(flags.checkpoints_dir / name / "loss_log.jsonl")}
    with replacing(scores) as temporary:
        write_json(temporary, found)


def train_and_translate(method: str, seed: int, data: Path, flags: CompareFlags) -> None:
    """Train as long as all, or go on with a training, and translate the test set."""
    name = f"{method}-{seed}"
    model = shlex.split(flags.study.methods[method])[1]
    images = true_pairs(data, flags.results_dir / "images") if model == "pix2pix" else data
    size = ["--max_dataset_size", str(flags.max_dataset_size)] if flags.max_dataset_size else []
    where = ["--name", name, "--checkpoints_dir", str(flags.checkpoints_dir),
             "--gpu_ids", {"cpu": "-1", "cuda": "0"}.get(flags.device, "auto"), *size]
    resumed = ["--continue_train"] if (flags.checkpoints_dir / name / "latest_state.pth").is_file() else []
    constant, decay = map(str, flags.epochs)
    call("train.py", "--dataroot", str(images), *where, *shlex.split(flags.training(method)), "--seed", str(seed),
         "--n_epochs", constant, "--n_epochs_decay", decay, *resumed, threads=flags.threads)
    styles = ["--n_styles", str(STYLES)] if model.startswith("munit") else []
    call("test.py", "--dataroot", str(data), *where, "--model", model, "--dataset_mode", "aligned", "--num_test", "inf",
         "--use_ema", "--results_dir", str(flags.results_dir), *styles, threads=flags.threads)


def score(images: Path, data: Path, flags: CompareFlags, device: torch.device) -> dict[str, Any]:
    """Score translations against the truths, and by the judge where there is one for the data set."""
    truth, scores = data / "testB", images.parent / "metrics.json"
    folders = outputs(images)
    call("evaluate.py", "metrics", "--inputs", str(images / "real_A"), "--outputs", *map(str, folders),
         "--real", str(truth), "--truth", str(truth), "--bootstrap", "0", "--json", str(scores), threads=flags.threads)
    found = read(scores)
    if flags.study.judged:
        judged = judge_folder(in_turns(folders, images.parent / "judged"), data / "testA", truth, device=device)
        del judged["segmentation"]
        found |= judged
    return found


def in_turns(folders: Sequence[Path], place: Path) -> Path:
    """Return a folder with image n in style n modulo the number of styles: the only folder, or else a new one."""
    if len(folders) == 1:
        return folders[0]
    shutil.rmtree(place, ignore_errors=True)
    for number, images in enumerate(zip(*in_styles(folders), strict=True)):
        chosen = images[number % len(folders)]
        target = place / chosen.relative_to(folders[number % len(folders)])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chosen, target)
    return place


def translations(name: str, flags: CompareFlags) -> Path:
    """Return the folder with a run's pictures."""
    return Path(flags.results_dir, name, "test_latest", "images")


def call(*command: str, threads: int | None) -> None:
    """Run one of the programs, its output shown as it comes."""
    print(f"$ python {shlex.join(command)}", flush=True)
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    if code := subprocess.run([sys.executable, *command], env={**os.environ, **limit}, check=False).returncode:
        raise UserError(f"{command[0]} ended with exit code {code}; the runs before it are kept")


def parameters(flags: Sequence[str]) -> int:
    """Count the parameters of all networks that are trained."""
    options = training_options(flags)
    optimizers = MODELS[options[RunFlags].model](options, training=True).optimizers.values()
    return sum(p.numel() for optimizer in optimizers for group in optimizer.param_groups for p in group["params"])
