"""Start trainings in other processes, kill them, and look at their logs."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from cli import ROOT
from tiny import LOSSES, NETWORKS, SIZES

FLAGS = f"{NETWORKS} {LOSSES} {SIZES} --gpu_ids -1 --num_threads 0 --seed 3 --no_html"
MINUTE = 60.0


def start(root: Path, flags: str, *, processes: int = 1, program: str = "train.py") -> subprocess.Popen[str]:
    """Start a tiny training as the leader of a new process group, with the default answer to Ctrl-C."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] * (processes > 1)
    return subprocess.Popen(
        [sys.executable, *launcher, program, "--dataroot", root, "--checkpoints_dir", root / "checkpoints",
         *shlex.split(flags)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None)  # noqa: PLW1509 - no threads here


class Forked:
    """A training in a new process, forked from one that has imported torch already."""

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train"])

    def __init__(self, root: Path, flags: str, log: Path) -> None:
        places = ["--dataroot", str(root), "--checkpoints_dir", str(root / "checkpoints")]
        self.log = log
        self.process = self.context.Process(target=_run, args=(["train.py", *places, *shlex.split(flags)], log))
        self.process.start()

    def kill(self) -> int | None:
        """Send SIGKILL; return the exit code."""
        self.process.kill()
        return self.end()

    def end(self) -> int | None:
        """Wait for the end; return the exit code."""
        self.process.join(20 * MINUTE)  # some hundred steps and saves, on a busy machine
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode


def _run(argv: list[str], log: Path) -> None:
    import train
    from util.errors import run_program

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    sys.argv = argv
    run_program("train.py", train.main, outlives_output=True)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code, output and errors of a process; fail if it does not end."""
    try:
        out, err = process.communicate(timeout=2 * MINUTE)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the training did not end: {stop(process)}") from None
    return process.returncode, out, err


def stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End a process that does not end; return its output and errors. A killed torchrun would leave its own processes.

    Raises:
        subprocess.TimeoutExpired: SIGTERM does not end it, either.
    """
    process.terminate()
    try:
        return process.communicate(timeout=MINUTE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def lines(root: Path, name: str = "experiment_name") -> int:
    """Count the reports in the log."""
    log = root / "checkpoints" / name / "loss_log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str] | Forked) -> None:
    """Wait until the condition holds while the process runs."""
    start = time.monotonic()
    while not condition():
        if process.poll() is not None or time.monotonic() - start > 2 * MINUTE:
            if isinstance(process, Forked):
                process.kill()
                said = process.log.read_text()
            else:
                said = "".join(stop(process))
            raise AssertionError(f"the training did not get there: {process.poll()}, {said}")
        time.sleep(0.001)
