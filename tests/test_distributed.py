"""Training in several processes: the same gradients as one process, checkpoints for any number, one clear error."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cli import ROOT
from tiny import LOSSES, METHODS, NETWORKS, SIZES, save_folders
from torch import Tensor

from training.checkpoints import refuse_drift
from util.distributed import World
from util.errors import UserError
from util.state_dicts import load_state, network_path

SCRIPT = Path(__file__).parent / "steps_in_processes.py"
COMMON = ["--gpu_ids", "-1", "--num_threads", "0", "--seed", "1", "--no_html", "--print_freq", "2",
          *shlex.split(f"{NETWORKS} {SIZES}")]
TINY = [*COMMON, *shlex.split(LOSSES)]
R1 = "--lambda_gradient 0 --lambda_R1 1"  # draws no random places between images, which differ from process to process
STEPS = METHODS | {name: f"{METHODS[name]} {R1}" for name in ("single-image FSeSim", "single-image LSeSim")} | {
    "all terms": f"{METHODS['LSeSim']} --lambda_identity 1 --lambda_spatial_idt 1 --lambda_perceptual 1 "
                 "--lambda_style 1",
    "VGG trained": f"{METHODS['FSeSim']} --learned_attn --vgg_lr_scale 0.1",
    "VGG trained in part": f"{METHODS['FSeSim']} --learned_attn --vgg_lr_scale 0.1 --lambda_perceptual 1",
    "accumulated": f"{METHODS['LSeSim']} --grad_accum 2",
    "moving average": f"{METHODS['FSeSim']} --ema 0.9",
}


def torchrun(processes: int, *arguments: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a program in several processes."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}",
         *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=timeout, check=False)


def train(processes: int, root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    run = torchrun(processes, "train.py", "--dataroot", root, "--checkpoints_dir", root / "checkpoints", *TINY, *flags)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, dict[str, Tensor]]]:
    """By number of processes and method: gradients after the first step and weights after the second, in float64."""
    folder = tmp_path_factory.mktemp("steps")
    (folder / "methods.json").write_text(json.dumps(STEPS))
    for processes in (1, 2):
        run = torchrun(processes, SCRIPT, folder, *COMMON)
        assert run.returncode == 0, run.stdout + run.stderr
    return {processes: torch.load(folder / f"{processes}.pth") for processes in (1, 2)}


@pytest.mark.parametrize("method", STEPS)
def test_two_processes_take_the_gradients_of_one_with_twice_the_batch(
    steps: dict[int, dict[str, dict[str, Tensor]]], method: str
) -> None:
    one, two = (steps[processes][method] for processes in (1, 2))
    assert one.keys() == two.keys()
    assert any(name.startswith("first.G") for name in one)
    for name, value in one.items():
        if name.startswith("first."):
            largest = max(other.abs().max().item() for key, other in one.items() if key.startswith(name[:7]))
            torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-13 * max(1, largest),
                                       msg=lambda text, n=name: f"{n}: {text}")
        else:  # Adam divides by gradients that are zero but for rounding
            torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_checkpoints_go_on_in_any_number_of_processes(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(5, 7))
    learned = ["--learned_attn", "--augment"]
    run = train(2, root, *learned, "--max_iters", "8")
    assert run.stdout.count("device cpu in each of 2 processes") == 1
    train(1, root, *learned, "--max_iters", "12", "--continue_train", "--batch_size", "2")
    train(2, root, *learned, "--max_iters", "18", "--continue_train")
    folder = root / "checkpoints" / "experiment_name"
    state = load_state(folder, "latest")
    assert state is not None
    assert state["progress"] == {"epoch": 3, "images_in_epoch": 4, "images": 18}  # two epochs of 7 images, and 4
    lines = [json.loads(line) for line in (folder / "loss_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["step"] == 18


def test_a_run_in_two_processes_resumes_to_the_bit(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(5, 7))
    flags = ["--pool_size", "4", "--lr_policy", "plateau", "--n_epochs", "4"]
    train(2, root, *flags, "--name", "whole", "--max_iters", "18")
    train(2, root, *flags, "--name", "parts", "--max_iters", "10")
    train(2, root, *flags, "--name", "parts", "--max_iters", "18", "--continue_train")
    whole, parts = (
        torch.load(network_path(root / "checkpoints" / name, "latest", "G"), weights_only=True)
        for name in ("whole", "parts"))
    assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []


def test_a_failing_process_ends_the_job_with_its_error(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(6, 6))
    (root / "trainA" / "3.png").write_bytes(b"no image")
    start = time.monotonic()
    run = torchrun(2, "train.py", "--dataroot", root, "--checkpoints_dir", root / "checkpoints", *TINY,
                   "--max_bad_images", "0")
    assert run.returncode != 0
    assert time.monotonic() - start < 120
    errors = [line for line in run.stderr.splitlines() if line.startswith("train.py: error:")]
    assert len(errors) == 1, run.stderr
    assert "3.png" in errors[0]


def test_a_wrong_flag_is_named_once(tmp_path: Path) -> None:
    run = torchrun(2, "train.py", "--dataroot", tmp_path / "nothing", *TINY)
    assert run.returncode != 0
    assert len(re.findall("train.py: error: --dataroot", run.stderr)) == 1, run.stderr


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
