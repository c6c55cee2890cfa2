"""The scripts: the commands that they run, and one demo that trains and translates."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli import ROOT

from data import DATASETS
from models import MODELS
from options import TEST, TRAIN, Options, RunFlags, parse

TRAINING = sorted(path.stem for path in (ROOT / "scripts").glob("train_*.sh"))
STARTED = [*TRAINING, "test_sc", "test_sinsc", "test_fid", "torchrun_train", "slurm_train"]
LONG = f"""exec {sys.executable} -c 'import time; time.sleep(20); print("ended", flush=True); exit(1)'"""
SHORT = "--gpu_ids -1 --num_threads 0 --no_html --max_iters 2 --max_dataset_size 2 --vgg_weights random"


def run(script: str | Path, *arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    file = ROOT / "scripts" / f"{script}.sh" if isinstance(script, str) else script
    return subprocess.run(["bash", file, *arguments], capture_output=True, text=True, timeout=300, check=False, cwd=cwd,
                          env={**os.environ, **environment})


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts, with a Python that does nothing."""
    shutil.copytree(ROOT / "scripts", tmp_path / "clone/scripts")
    program(tmp_path / "clone/.venv/bin/python", "exit 0")
    return tmp_path / "clone"


@pytest.mark.skipif(shutil.which("dash") is None, reason="needs dash")
@pytest.mark.parametrize("script", sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "scripts").rglob("*.sh") if path.name != "common.sh"))
def test_scripts_started_by_sh_go_on_in_bash(tmp_path: Path, script: str) -> None:
    """`sh scripts/train_sc.sh`, as the published README has it; on Debian and Ubuntu sh is dash."""
    bash = tmp_path / "bash"
    bash.write_text("#!/bin/sh\nprintf '[%s]' \"$@\"\n")  # shows what it is asked to run
    bash.chmod(0o755)
    done = subprocess.run(["dash", script, "a folder", "--lr", "1"], cwd=ROOT, capture_output=True, text=True,
                          timeout=60, check=False, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"[{script}][a folder][--lr][1]", "")


def command(clone: Path, script: str, *arguments: str, **environment: str) -> list[str]:
    """Return the words of the command that a script shows."""
    done = run(clone / f"scripts/{script}.sh", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("$ ")
    return shlex.split(done.stdout.splitlines()[0][2:])


def options_of(words: list[str]) -> Options:
    """Return the options of a command whose data set lies below the repository's root."""
    place = next(number for number, word in enumerate(words) if word in ("train.py", "test.py"))
    dataroot = words.index("--dataroot") + 1
    arguments = [str(ROOT / word) if number == dataroot else word for number, word in enumerate(words)][place + 1:]
    return parse(TRAIN if words[place] == "train.py" else TEST, MODELS, DATASETS, arguments)


def test_every_model_has_its_script_and_every_demo_is_a_command_of_its_program(clone: Path) -> None:
    models = set()
    for script in [*TRAINING, "test_sc", "test_sinsc", "torchrun_train", "slurm_train"]:
        options = options_of(command(clone, script, "--demo", "--gpu_ids", "-1"))
        assert options[RunFlags].name == f"demo_{script.split('_', maxsplit=1)[1]}"
        models.add(options[RunFlags].model)
    assert models == set(MODELS) - {"test"}


@pytest.mark.slow
def test_a_demo_trains_and_is_tested(tmp_path: Path) -> None:
    done = run("train_sc", "--demo", *SHORT.split(), "--checkpoints_dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    done = run("test_sc", "--demo", "--gpu_ids", "-1", "--num_threads", "0", "--num_test", "1",
               "--checkpoints_dir", str(tmp_path), "--results_dir", str(tmp_path / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "results").rglob("fake_B/*.png"))) == 1


def test_without_data_root_and_name_the_usage_is_shown(clone: Path) -> None:
    for script in STARTED:
        for arguments in ([], ["folder", "--lr", "0.1"]):
            done = run(clone / f"scripts/{script}.sh", *arguments)
            usage = f"usage: bash scripts/{script}.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]\n"
            assert (done.returncode, done.stderr) == (2, usage)
    assert run("train_sc", "--help").returncode == 0


def test_a_training_has_the_models_own_defaults_and_finds_its_data_from_where_it_was_typed(clone: Path) -> None:
    (clone.parent / "mine").mkdir()
    done = run(clone / "scripts/train_sc.sh", "mine", "run", "--lr", "1", cwd=clone.parent)
    assert shlex.split(done.stdout)[2:] == [
        "train.py", "--dataroot", str(clone.parent / "mine"), "--name", "run", "--model", "sc", "--learned_attn",
        "--augment", "--lr", "1"]


def test_a_demo_is_scored_by_the_bundled_features_and_ones_own_by_fid(clone: Path) -> None:
    demo, mine = command(clone, "test_fid", "--demo"), command(clone, "test_fid", "photos", "mine")
    assert "fid" not in demo
    assert mine[1:] == ["evaluate.py", "metrics", "--outputs", "results/mine/test_latest/images/fake_B", "--real",
                        "photos/testB", "--metrics", "fid", "--resize", "clean"]


@pytest.mark.parametrize(("environment", "launched"), [
    ({"PROCESSES": "4"}, "--nproc_per_node=4 --standalone train.py"),
    ({"CUDA_VISIBLE_DEVICES": "2,5,7"}, "--nproc_per_node=3 --standalone train.py"),
    ({"CUDA_VISIBLE_DEVICES": ""}, "--nproc_per_node=1 --standalone train.py"),
    ({"PROCESSES": "8", "NODES": "2", "NODE_RANK": "1", "MASTER": "a:1"},
     "--nproc_per_node=8 --nnodes=2 --node_rank=1 --rdzv_backend=c10d --rdzv_id=mine --rdzv_endpoint=a:1 train.py"),
])
def test_torchrun_starts_a_process_for_each_device(clone: Path, environment: dict[str, str], launched: str) -> None:
    assert launched in " ".join(command(clone, "torchrun_train", "data", "mine", **environment))


def test_several_machines_need_their_numbers(clone: Path) -> None:
    assert "NODE_RANK: number of this machine, from 0" in run(
        clone / "scripts/torchrun_train.sh", "data", "mine", NODES="2").stderr


@pytest.mark.parametrize("spelling", ["--checkpoints_dir {} --name other", "--name=other --checkpoints_dir={}"])
def test_a_queued_job_goes_on_from_its_state_however_the_folder_is_typed(clone: Path, spelling: str) -> None:
    flags = spelling.format(clone).split()
    assert "--continue_train" not in command(clone, "slurm_train", "data", "mine", *flags)
    (clone / "other").mkdir()
    (clone / "other" / "latest_state.pth").touch()
    assert command(clone, "slurm_train", "data", "mine", *flags)[-1] == "--continue_train"


def test_a_job_with_a_suffix_which_hides_its_folder_is_refused(clone: Path) -> None:
    done = run(clone / "scripts/slurm_train.sh", "data", "mine", "--suffix", "{netG}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--suffix hides the name" in done.stderr


@pytest.mark.parametrize(("code", "queued"), [(75, True), (0, False), (2, False)])
def test_a_job_at_its_time_limit_is_queued_again_and_no_other(clone: Path, code: int, queued: bool) -> None:
    tools = clone.parent / "tools"
    program(tools / "srun", 'echo "$SRUN_CPUS_PER_TASK cores"; SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NTASKS=8 "$@"')
    program(tools / "scontrol", '[ "$1" = requeue ] && echo "queued $2" || echo "node7"')
    program(clone / ".venv/bin/python", 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT $1"; '
                                        f"exit {code}")
    copy = Path(shutil.copy(clone / "scripts/slurm_train.sh", tools / "slurm_script"))  # as SLURM does
    done = run(copy, "data", "mine", cwd=tools, PATH=f"{tools}:{os.environ['PATH']}", SLURM_JOB_ID="12",
               SLURM_JOB_NODELIST="node[7-8]", SLURM_SUBMIT_DIR=str(clone), SLURM_CPUS_PER_TASK="6")
    assert done.returncode == (0 if queued else code), done.stderr
    assert "6 cores" in done.stdout
    assert "3 1 8 node7 20012 train.py" in done.stdout
    assert ("queued 12" in done.stdout) == queued


def test_a_stopped_quickstart_goes_on_and_counts_the_seconds_of_both_calls(clone: Path) -> None:
    """With a Python that trains for a second, and is stopped in its first training."""
    program(clone / "scripts/setup.sh", "")
    program(clone / ".venv/bin/python", """
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
esac""")
    stopped, finished, again = (run(clone / "scripts/quickstart.sh", cwd=clone) for _ in range(3))
    assert stopped.returncode == 130
    assert "run quickstart.sh again to go on with it" in stopped.stdout
    assert "--continue_train" not in stopped.stdout
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "--continue_train" in finished.stdout
    seconds = int((clone / "checkpoints/quickstart/train_seconds").read_text())
    assert seconds >= 2
    for outcome in (finished, again):
        assert f"train_seconds={seconds} seed=1 threads=2" in outcome.stdout
    assert "train.py" not in again.stdout


def checks(clone: Path, **commands: str) -> Path:
    """Return run_tests.sh, with a Python that runs a command in the place of each module."""
    program(clone / "scripts/setup.sh", "")
    cases = "".join(f"{module}) {commands.get(module, 'exit 0')} ;; " for module in ("ruff", "mypy", "pytest"))
    program(clone / ".venv/bin/python", f'case "$2" in {cases} esac')
    return clone / "scripts/run_tests.sh"


@pytest.mark.parametrize("failing", ["ruff", "mypy", "pytest", None])
def test_run_tests_fails_if_one_check_fails(clone: Path, failing: str | None) -> None:
    done = run(checks(clone, **({failing: "echo wrong; exit 3"} if failing else {})))
    assert bool(done.returncode) == bool(failing), done.stderr
    assert done.stdout == ("wrong\n" if failing else "")


def test_interrupted_tests_do_not_wait_for_mypy(clone: Path) -> None:
    assert run(checks(clone, mypy=LONG, pytest="exit 2")).returncode == 2


def test_run_tests_ends_its_children(clone: Path) -> None:
    file = checks(clone, pytest=f"echo started; {LONG}")
    with subprocess.Popen(["bash", file], stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "started\n"
        script.terminate()
        assert script.stdout.read() == ""  # ends when no process can write to it any more
