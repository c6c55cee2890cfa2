"""Training in several processes: the same gradients as one process, checkpoints for any number, one clear error."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import job_of_processes
import pytest
import torch
from cli import ROOT
from tiny import LOSSES, METHODS, NETWORKS, SIZES, save_folders
from torch import Tensor

from data import DATASETS
from models import MODELS
from options import TRAIN, parse
from train import train
from training.checkpoints import refuse_drift
from util.distributed import World
from util.errors import UserError
from util.starts import read_starts
from util.state_dicts import load_state

SCRIPT = Path(__file__).parent / "job_of_processes.py"
COMMON = ["--gpu_ids", "-1", "--num_threads", "0", "--seed", "1", "--no_html", "--print_freq", "2",
          *shlex.split(f"{NETWORKS} {SIZES}")]
TINY = [*COMMON, *shlex.split(LOSSES)]
DIVIDED = {  # what would depend on how a batch is divided among processes
    "single-image FSeSim": "--lambda_gradient 0 --lambda_R1 1",  # no random places between images
    "single-image LSeSim": "--lambda_gradient 0 --lambda_R1 1",
    "SinCUT": "--nce_includes_all_negatives_from_minibatch false",
    "DistanceGAN": "--distance self",
}
STEPS = METHODS | {name: f"{METHODS[name]} {flags}" for name, flags in DIVIDED.items()} | {
    "all terms": f"{METHODS['LSeSim']} --lambda_identity 1 --lambda_spatial_idt 1 --lambda_perceptual 1 "
                 "--lambda_style 1",
    "VGG trained": f"{METHODS['FSeSim']} --learned_attn --vgg_lr_scale 0.1",
    "VGG trained in part": f"{METHODS['FSeSim']} --learned_attn --vgg_lr_scale 0.1 --lambda_perceptual 1",
    "accumulated": f"{METHODS['LSeSim']} --grad_accum 2",
    "moving average": f"{METHODS['FSeSim']} --ema 0.9",
}


def torchrun(processes: int, *arguments: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a program in several processes."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}",
         *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch_and_resume(
    tmp_path: Path
) -> None:
    """One job: gradients of every method, a checkpoint of one process, a run that is stopped and one that is not."""
    root = save_folders(tmp_path, counts=(5, 7))
    places = ["--dataroot", str(root), "--checkpoints_dir", str(root / "checkpoints"), *TINY]

    def flags(name: str, images: int, more: str = "") -> list[str]:
        return [*places, "--name", name, "--max_iters", str(images), *shlex.split(more)]

    def train_alone(*argv: str) -> None:
        train(parse(TRAIN, MODELS, DATASETS, argv))

    pooled = "--pool_size 4 --lr_policy plateau --n_epochs 4"
    train_alone(*flags("moved", 8, "--learned_attn --augment"))
    job = {"common": COMMON, "methods": STEPS, "trainings": [
        flags("whole", 18, pooled), flags("parts", 10, pooled), flags("parts", 18, f"{pooled} --continue_train"),
        flags("moved", 12, "--learned_attn --augment --continue_train"),
        flags("tuned", 4, "--init_from whole --freeze 'G|D\\.model\\.0'"),
    ]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = torchrun(2, SCRIPT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("device cpu in each of 2 processes") == 5

    two = torch.load(tmp_path / "2.pth")
    for name, method in STEPS.items():
        compare(name, run([*COMMON, *shlex.split(method)], tmp_path), two[name])

    whole, parts = (load_state(root / "checkpoints" / name, "latest") for name in ("whole", "parts"))
    for name, network in whole["networks"].items():
        assert all(torch.equal(value, parts["networks"][name][key]) for key, value in network.items()), name
    assert [start["processes"] for start in read_starts(root / "checkpoints" / "parts")] == [2, 2]

    tuned = load_state(root / "checkpoints" / "tuned", "latest")["networks"]
    stayed = {f"{name}.{key}" for name in tuned for key in tuned[name]
              if torch.equal(tuned[name][key], whole["networks"][name][key])}
    stayed.remove("D.model.3.bias")  # instance normalisation removes it: nothing trains it
    assert {key for key in stayed if "filt" not in key} == {
        f"{name}.{key}" for name in tuned for key in tuned[name]
        if "filt" not in key and (name == "G" or key.startswith("model.0."))}

    train_alone(*flags("moved", 18, "--learned_attn --augment --continue_train --batch_size 2"))
    state = load_state(root / "checkpoints" / "moved", "latest")
    assert state["progress"] == {"epoch": 3, "images_in_epoch": 4, "images": 18}  # two epochs of 7 images, and 4
    lines = [json.loads(line) for line in (root / "checkpoints/moved/loss_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["step"] == 18


def run(argv: list[str], folder: Path) -> dict[str, Tensor]:
    return job_of_processes.run(folder, argv, World())


def compare(method: str, one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Return gradients after the first step, and weights after the second."""
    assert one.keys() == two.keys()
    assert any(name.startswith("first.G") for name in one)
    for name, value in one.items():
        if name.startswith("first."):
            largest = max(other.abs().max().item() for key, other in one.items() if key.startswith(name[:7]))
            tolerance = {"rtol": 1e-9, "atol": 1e-13 * max(1, largest)}
        else:  # Adam divides by gradients that are zero but for rounding
            tolerance = {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(two[name], value, **tolerance, msg=lambda text, n=name: f"{method}, {n}: {text}")


@pytest.mark.slow
def test_a_failing_process_ends_the_job_with_its_error(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(6, 6))
    (root / "trainA" / "3.png").write_bytes(b"no image")
    run = torchrun(2, "train.py", "--dataroot", root, "--checkpoints_dir", root / "checkpoints", *TINY,
                   "--max_bad_images", "0")
    assert run.returncode != 0
    errors = [line for line in run.stderr.splitlines() if line.startswith("train.py: error:")]
    assert len(errors) == 1, run.stderr
    assert "3.png" in errors[0]


class Drifted(World):
    """Two processes, of which the second has other weights."""

    def gather(self, value: dict[str, list[float]]) -> list[dict[str, list[float]]]:
        return [value, {**value, "D": [number + 1 for number in value["D"]]}]


def test_networks_that_drift_apart_are_noticed_at_the_next_save() -> None:
    model = SimpleNamespace(networks={"G": torch.nn.Linear(2, 2), "D": torch.nn.Linear(2, 1)})
    with pytest.raises(RuntimeError, match="network D differ"):
        refuse_drift(model, Drifted(size=2))
    refuse_drift(model, World())


def test_weights_that_are_no_numbers_have_not_drifted_apart() -> None:
    class Twins(World):
        def gather(self, value: dict[str, list[float]]) -> list[dict[str, list[float]]]:
            return [value, json.loads(json.dumps(value))]  # another NaN

    model = SimpleNamespace(networks={"G": torch.nn.Linear(2, 2)})
    torch.nn.init.constant_(model.networks["G"].weight, float("nan"))
    refuse_drift(model, Twins(size=2))


def test_a_lone_rank_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert World.of_environment() == World()


def test_half_an_environment_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE 2 but no RANK: start the processes with torchrun"):
        World.of_environment()
