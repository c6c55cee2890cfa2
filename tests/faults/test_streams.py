"""No output stream ends a training: closed terminals, readers that end, full disks, descriptors that are not open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from cli import ROOT
from states import content
from trainings import FLAGS, Forked, end, lines, wait_until

ENDLESS = f"{FLAGS} --print_freq 1 --n_epochs 100000"
SAYS = """
import sys
from util.errors import run_program

def main():
    print("hello", sys.stdout.isatty(), flush=True)
    print("a warning", file=sys.stderr, flush=True)
    print("goodbye")
    sys.exit(129)

run_program("train.py", main, outlives_output=True)
"""
WARNING = "train.py: warning: standard output cannot be written ({}); the program goes on without it\n"


def run(program: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a program under a shell that redirects its streams."""
    command = f"{shlex.join([sys.executable, '-c', program])} {redirection}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("redirection", "err"), [
    (">&-", "a warning\n"),
    ("2>&-", ""),
    (">&- 2>&- <&-", ""),
    ("> /dev/full", WARNING.format("No space left on device") + "a warning\n"),
    ("2> /dev/full", ""),
    ("> /dev/full 2>&1", ""),
])
def test_streams_that_cannot_be_written_leave_the_program_its_exit_code(redirection: str, err: str) -> None:
    done = run(SAYS, redirection)
    assert (done.returncode, done.stderr) == (129, err)
    assert done.stdout == ("hello False\ngoodbye\n" if redirection.startswith("2>") else "")


def test_a_reader_that_ends_leaves_the_program_its_exit_code() -> None:
    done = run(SAYS, "| true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 129
    assert done.stderr in ("a warning\n", WARNING.format("Broken pipe") + "a warning\n")  # the pipe may take the first


def test_files_never_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Otherwise libraries would write their messages into a checkpoint."""
    program = ("import os, sys; from util.errors import run_program\n"
               f"def main():\n file = open({str(tmp_path / 'file')!r}, 'w'); sys.exit(100 + file.fileno())\n"
               "run_program('train.py', main)")
    assert run(program, "<&- >&- 2>&-").returncode > 102


def test_a_result_that_cannot_be_written_is_an_error_all_the_same() -> None:
    """The programs whose output is their result."""
    program = "from util.errors import run_program; run_program('evaluate.py', lambda: print('a table'))"
    done = run(program, "> /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("evaluate.py: error: No space left on device")


# --- trainings ------------------------------------------------------------------------------------------------------


def command(root: Path, flags: str) -> list[str]:
    return [sys.executable, "train.py", "--dataroot", str(root), "--checkpoints_dir", str(root / "checkpoints"),
            *shlex.split(flags)]


def assert_saved(root: Path, code: int | None, expected: int, said: object = "") -> None:
    assert code == expected, said
    assert content(root / "checkpoints" / "experiment_name")["state.progress.images"] == lines(root) > 0


@pytest.mark.slow
def test_a_closed_terminal_saves_and_ends_with_129(root: Path) -> None:
    """The kernel sends SIGHUP when the terminal's other end is closed, and every later write fails."""
    terminal, side = pty.openpty()
    os.set_blocking(terminal, False)

    def take_terminal() -> None:
        fcntl.ioctl(side, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored

    process = subprocess.Popen(
        command(root, f"{ENDLESS} --num_threads 1"), cwd=ROOT, stdin=side, stdout=side, stderr=side, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"}, start_new_session=True,
        preexec_fn=take_terminal)  # noqa: PLW1509 - no threads here
    os.close(side)
    shown = b""

    def trains() -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(terminal, 4096)  # a terminal that nobody reads stops its writers
        return lines(root) >= 3

    wait_until(trains, process)
    os.close(terminal)
    assert_saved(root, process.wait(60), 129, shown)
    assert b"images/s" in shown


@pytest.mark.slow
def test_ctrl_c_that_also_ends_tee_saves_and_ends_with_130(root: Path) -> None:
    log = root / "train.log"
    training = shlex.join(command(root, f"{ENDLESS} --num_threads 1"))
    # The trap keeps bash for the exit code; the commands of the pipeline do not inherit it.
    process = subprocess.Popen(
        ["bash", "-c", f"trap : INT; {training} 2>&1 | tee {shlex.quote(str(log))}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None)  # noqa: PLW1509 - no threads here
    wait_until(lambda: lines(root) >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = end(process)
    assert_saved(root, code, 130, err)
    assert "Traceback" not in err + log.read_text()


def test_a_full_disk_of_the_output_leaves_the_training_alone(root: Path) -> None:
    process = Forked(root, f"{FLAGS} --print_freq 1 --max_iters 3", Path("/dev/full"))
    assert process.end() == 0
    assert content(root / "checkpoints" / "experiment_name")["state.progress.images"] == lines(root) == 3
