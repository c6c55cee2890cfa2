"""The scripts that train and test: what they run, and that it runs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from cli import ROOT, make_images

from models import MODELS

TRAINING = sorted(path.stem for path in (ROOT / "scripts").glob("train_*.sh"))
SHORT = "--gpu_ids -1 --num_threads 0 --no_html --max_iters 2 --max_dataset_size 2 --vgg_weights random"


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", ROOT / "scripts" / f"{script}.sh", *arguments], capture_output=True, text=True,
                          timeout=300, check=False, env={**os.environ, **environment})


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


@pytest.mark.parametrize("script", [*TRAINING, "test_sc", "test_sinsc", "test_fid", "torchrun_train", "slurm_train"])
@pytest.mark.parametrize("arguments", [[], ["folder"], ["--lr", "0.1"], ["folder", "--lr", "0.1"]])
def test_without_data_root_and_name_the_usage_is_shown(script: str, arguments: list[str]) -> None:
    done = run(script, *arguments)
    assert done.returncode == 2
    assert done.stderr == f"usage: bash scripts/{script}.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]\n"


def test_the_usage_is_no_mistake_where_it_is_asked_for() -> None:
    done = run("train_sc", "--help")
    assert done.returncode == 0
    assert "DATAROOT NAME [FLAGS]" in done.stderr


def test_a_training_of_ones_own_has_the_models_own_defaults(tmp_path: Path) -> None:
    done = run("train_sc", str(tmp_path / "no folder"), "mine", "--gpu_ids", "-1")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    typed = shlex.split(done.stdout.splitlines()[0])
    assert typed[2:] == ["train.py", "--dataroot", str(tmp_path / "no folder"), "--name", "mine", "--model", "sc",
                         "--learned_attn", "--augment", "--gpu_ids", "-1"]


def test_a_data_root_is_found_from_the_folder_that_it_was_typed_in(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    done = subprocess.run(["bash", ROOT / "scripts" / "train_sc.sh", "mine", "run", "--gpu_ids", "-1"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert shlex.split(done.stdout.splitlines()[0])[3:5] == ["--dataroot", str(tmp_path / "mine")]
    assert "trainA" in done.stderr, "the folder is there, and empty"


def test_the_scores_of_a_demo_need_no_download(tmp_path: Path) -> None:
    images = make_images(tmp_path, "fake_B", size=128)
    drawings = sorted((ROOT / "datasets" / "lineart2color" / "testB").iterdir())[:2]
    for image, drawing in zip(sorted(images.glob("fake_B/*")), drawings, strict=True):
        image.rename(image.with_name(drawing.name))
    done = run("test_fid", "--demo", "--gpu_ids", "-1", "--layer", "relu1_1", "--outputs", str(images / "fake_B"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "evaluate.py metrics --outputs results/demo_sc/test_latest/images/fake_B --real datasets/" in done.stdout
    assert "fid" not in shlex.split(done.stdout.splitlines()[0])


def test_the_scores_of_ones_own_are_the_fid_of_inception(tmp_path: Path) -> None:
    done = run("test_fid", "data", "mine", "--no_such_flag")
    assert done.returncode == 2
    assert shlex.split(done.stdout.splitlines()[0])[2:] == [
        "evaluate.py", "metrics", "--outputs", "results/mine/test_latest/images/fake_B", "--real", "data/testB",
        "--metrics", "fid", "--resize", "clean", "--no_such_flag"]


def test_torchrun_trains_in_several_processes(tmp_path: Path) -> None:
    done = run("torchrun_train", "--demo", *short("torchrun_train", tmp_path), PROCESSES="2", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch.distributed.run --nproc_per_node=2 --standalone train.py --dataroot" in done.stdout
    assert "done: 2 images seen" in done.stdout
    assert (tmp_path / "demo_train" / "latest_state.pth").is_file()


@pytest.mark.parametrize(("visible", "processes"), [("2,5,7", 3), ("", 1)])
def test_processes_are_as_many_as_visible_devices(visible: str, processes: int) -> None:
    done = run("torchrun_train", "data", "mine", "--no_such_flag", CUDA_VISIBLE_DEVICES=visible)
    assert f"--nproc_per_node={processes} " in done.stdout


def test_several_machines_need_to_be_told_of_each_other() -> None:
    done = run("torchrun_train", "data", "mine", NODES="2")
    assert done.returncode != 0
    assert "NODE_RANK: number of this machine, from 0" in done.stderr


def test_under_no_slurm_its_script_trains_here_and_goes_on(tmp_path: Path) -> None:
    flags = short("slurm_train", tmp_path)
    done = run("slurm_train", "--demo", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--continue_train" not in done.stdout
    done = run("slurm_train", "--demo", *flags, "--max_iters", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--continue_train" in done.stdout.splitlines()[0]
    assert "done: 4 images seen" in done.stdout


@pytest.mark.parametrize("spelling", ["--checkpoints_dir {} --name other", "--name=other --checkpoints_dir={}"])
def test_a_queued_job_finds_its_state_however_the_folder_is_typed(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "latest_state.pth").touch()
    done = run("slurm_train", "data", "mine", *spelling.format(tmp_path).split(), "--no_such_flag")
    assert done.stdout.splitlines()[0].split()[-1] == "--continue_train"


def test_a_job_with_a_suffix_which_hides_its_folder_is_refused() -> None:
    done = run("slurm_train", "data", "mine", "--suffix", "{netG}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--suffix hides the name" in done.stderr


@pytest.mark.parametrize(("code", "queued"), [(75, True), (0, False), (2, False)])
def test_a_job_at_its_time_limit_is_queued_again_and_no_other(tmp_path: Path, code: int, queued: bool) -> None:
    tools = {
        "srun": 'echo "$SRUN_CPUS_PER_TASK cores"; SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NTASKS=8 "$@"',
        "scontrol": '[ "$1" = requeue ] && echo "queued $2" || echo "node7"',
        "python3": f'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT $1"; exit {code}',
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    clone = tmp_path / "clone"  # without .venv
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    copy = Path(shutil.copy(ROOT / "scripts" / "slurm_train.sh", tmp_path / "slurm_script"))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "node[7-8]",
                   "SLURM_SUBMIT_DIR": str(clone), "SLURM_CPUS_PER_TASK": "6"}
    done = subprocess.run(["bash", copy, "data", "mine"], capture_output=True, text=True, check=False, cwd=tmp_path,
                          env=environment)
    assert done.returncode == (0 if queued else code), done.stderr
    assert "6 cores" in done.stdout
    assert "3 1 8 node7 20012 train.py" in done.stdout
    assert ("queued 12" in done.stdout) == queued


PYTHON = """#!/usr/bin/env bash
case $1 in
train.py)
    echo "$*"
    sleep 1
    mkdir -p checkpoints/quickstart
    if [ ! -e checkpoints/quickstart/latest_state.pth ]; then
        touch checkpoints/quickstart/latest_state.pth
        exit 130
    fi ;;
evaluate.py) echo "$*" ;;
-c) echo 2 ;;
esac
"""


def test_a_quickstart_that_was_stopped_goes_on_and_counts_the_seconds_of_both_calls(tmp_path: Path) -> None:
    """With a Python that trains for a second, and is stopped in its first training."""
    files = {"scripts/quickstart.sh": (ROOT / "scripts" / "quickstart.sh").read_text(encoding="utf-8"),
             "scripts/setup.sh": "", ".venv/bin/python": PYTHON}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    command = ["bash", "scripts/quickstart.sh"]
    stopped, finished, again = (subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                                               check=False) for _ in range(3))
    assert stopped.returncode == 130
    assert "run quickstart.sh again to go on with it" in stopped.stdout
    assert "--continue_train" not in stopped.stdout
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "--continue_train" in finished.stdout
    seconds = int((tmp_path / "checkpoints/quickstart/train_seconds").read_text())
    assert seconds >= 2
    for outcome in (finished, again):
        assert f"train_seconds={seconds} seed=1 threads=2" in outcome.stdout
    assert "train.py" not in again.stdout
