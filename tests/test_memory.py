"""Memory is flat: a long training occupies what a short one does, however much it logs."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from cli import ROOT
from test_util_visdom import ENV, curves, start_server
from tiny import LOSSES, NETWORKS, SIZES, save_folders

EARLY, STEPS = 200, 2000
GROWTH = 50e6  # bytes: the most between the two
METHOD = "--learned_attn --augment --ema 0.99 --n_epochs 1000 --gpu_ids -1 --seed 1 --num_threads 1"
LOGGING = "--print_freq 20 --display_freq 25 --update_html_freq 25 --save_latest_freq 200 --save_epoch_freq 50"
REPORTS, SAMPLES = STEPS // 20, STEPS // 25

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc to weigh a process"),
]


class Training(NamedTuple):
    """Memory, output and files of a training."""

    weights: dict[int, int]
    """By step, the bytes of the process and its worker."""
    terminal: str
    folder: Path
    curve: list[tuple[int, float]] | None
    """Visdom's, of the generator's loss; None where visdom is not installed."""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """2,000 steps with everything that the loop carries along and every logger that is installed."""
    root = save_folders(tmp_path_factory.mktemp("training"))
    server, port = start_server(tmp_path_factory.mktemp("visdom")) if importlib.util.find_spec("visdom") else (None, 0)
    flags = [
        *shlex.split(f"{NETWORKS} {LOSSES} {SIZES} {METHOD} {LOGGING} --max_iters {STEPS}"), "--dataroot", str(root),
        "--checkpoints_dir", str(root), "--name", "run", "--display_id", "1" if server else "0",
        "--display_server", "http://127.0.0.1", "--display_port", str(port or 1), "--display_env", ENV]
    try:
        run = subprocess.run(
            [sys.executable, "tests/train_and_weigh.py", str(root / "weights.json"), *flags], cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            timeout=900, check=False)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr
        curve = curves(port, 1)["G"] if server else None
    finally:
        if server:
            server.kill()
            server.wait()
    weights = {int(step): weight for step, weight in json.loads((root / "weights.json").read_text()).items()}
    return Training(weights, run.stdout, root / "run", curve)


def test_two_thousand_steps_do_not_grow_the_process(training: Training) -> None:
    growth = training.weights[STEPS] - training.weights[EARLY]
    course = ", ".join(f"{step}: {weight / 1e6:.1f}" for step, weight in training.weights.items())
    assert growth < GROWTH, f"{growth / 1e6:.1f} MB more after {STEPS} steps than after {EARLY}; MB by step: {course}"


def test_terminal_file_and_page_were_at_work_all_the_while(training: Training) -> None:
    lines = [json.loads(line) for line in (training.folder / "loss_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(20, STEPS + 1, 20))
    assert training.terminal.count("data_wait") >= REPORTS
    assert "100%|" in training.terminal  # the bar
    reports = {path.stem for path in (training.folder / "web" / "images").rglob("output_[0-9]*.png")}
    assert len(reports) == SAMPLES + 1, "and one before the first step"
    assert "warning" not in training.terminal


def test_visdom_was_at_work_all_the_while(training: Training) -> None:
    if training.curve is None:
        pytest.skip("visdom is not installed")
    assert len(training.curve) == REPORTS
