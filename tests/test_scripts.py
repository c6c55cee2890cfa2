"""The scripts that train and test: what they run, and that it runs."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from cli import ROOT

from models import MODELS

TRAINING = sorted(path.stem for path in (ROOT / "scripts").glob("train_*.sh"))
SHORT = "--gpu_ids -1 --num_threads 0 --no_html --max_iters 2 --max_dataset_size 2 --vgg_weights random"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", ROOT / "scripts" / f"{script}.sh", *arguments], capture_output=True, text=True,
                          timeout=300, check=False)


def short(script: str, folder: Path) -> list[str]:
    without = ["train_cut", "train_pix2pix"]
    flags = SHORT.replace("--vgg_weights random", "") if script in without else SHORT
    return [*shlex.split(flags), "--checkpoints_dir", str(folder)]


def test_every_model_has_its_script() -> None:
    texts = "\n".join((ROOT / "scripts" / f"{name}.sh").read_text() for name in TRAINING)
    assert [name for name in MODELS if name != "test" and f"--model {name}" not in texts] == []


@pytest.mark.parametrize("script", TRAINING)
def test_the_demo_trains_on_bundled_images_and_says_how(tmp_path: Path, script: str) -> None:
    done = run(script, "--demo", *short(script, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    command, *lines = done.stdout.splitlines()
    assert command.startswith("$ ")
    assert "train.py --dataroot datasets/" in command
    assert lines[-1].startswith("done: 2 images seen")
    assert (tmp_path / f"demo_{script.removeprefix('train_')}" / "latest_state.pth").is_file()


@pytest.mark.parametrize("model", ["sc", "sinsc"])
def test_a_trained_demo_is_tested(tmp_path: Path, model: str) -> None:
    assert run(f"train_{model}", "--demo", *short(f"train_{model}", tmp_path)).returncode == 0
    done = run(f"test_{model}", "--demo", "--gpu_ids", "-1", "--num_threads", "0", "--num_test", "1",
               "--checkpoints_dir", str(tmp_path), "--results_dir", str(tmp_path / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "results").rglob("fake_B/*.png"))) == 1


@pytest.mark.parametrize("script", [*TRAINING, "test_sc", "test_sinsc"])
@pytest.mark.parametrize("arguments", [[], ["folder"], ["--lr", "0.1"], ["folder", "--lr", "0.1"]])
def test_without_data_root_and_name_the_usage_is_shown(script: str, arguments: list[str]) -> None:
    done = run(script, *arguments)
    assert done.returncode == 2
    assert done.stderr == f"usage: bash scripts/{script}.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]\n"


def test_a_training_of_ones_own_has_the_models_own_defaults(tmp_path: Path) -> None:
    done = run("train_sc", str(tmp_path / "no folder"), "mine", "--gpu_ids", "-1")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    typed = shlex.split(done.stdout.splitlines()[0])
    assert typed[2:] == ["train.py", "--dataroot", str(tmp_path / "no folder"), "--name", "mine", "--model", "sc",
                         "--learned_attn", "--augment", "--gpu_ids", "-1"]
