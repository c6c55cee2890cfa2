"""Processes that load images die, hang, or find no room: one sentence, and the training is saved first."""

from __future__ import annotations

import errno
import gc
import itertools
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cli import ROOT, make_images, run_process
from states import content
from tiny import NETWORKS, NoModel, train_options

from data import DATASETS, Loader, LoadingError
from options import TRAIN, DataFlags, parse
from train import train
from util.errors import UserError
from util.images import load_image

RUN = ("--gpu_ids", "-1", "--crop_size", "16", "--load_size", "16", "--vgg_weights", "random", "--attn_layers", "1,2",
       *shlex.split(NETWORKS))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_images(tmp_path / "good", "trainA", "trainB", count=6)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that looks after its workers more often."""
    monkeypatch.setattr("data.workers.LOOK_EVERY", 0.05)


@pytest.fixture
def started() -> Callable[[], list[BaseProcess]]:
    """The processes that the test itself has started and that still run: an earlier test's may end only now."""
    before = multiprocessing.active_children()
    return lambda: [process for process in multiprocessing.active_children() if process not in before]


def loader(root: Path, workers: int = 1, flags: str = "--serial_batches") -> Loader:
    options = parse(TRAIN, {"sc": NoModel}, DATASETS, [
        "--dataroot", str(root), *shlex.split(f"--load_size 20 --crop_size 16 {flags}")])
    dataset = DATASETS[options[DataFlags].dataset_mode](options, training=True)
    return Loader(dataset, batch_size=1, num_workers=workers, seed=3, shuffle=False)


def at_file(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], object]) -> None:
    """Replace the decoder by one that does something at one file. Workers are forked, and have it too."""
    def load(path: Path, *how: Any, **named: Any) -> torch.Tensor:
        if path.as_posix().endswith(name):
            action()
        return load_image(path, *how, **named)

    monkeypatch.setattr("data.base.load_image", load)


def error_of(batches: Loader) -> str:
    """Return the sentence in which an epoch ends."""
    with pytest.raises(LoadingError) as caught:
        list(batches.epoch(0))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def third_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Wait until a training with --print_freq 3 has taken its third step."""
    monkeypatch.setattr("training.loop.report", lambda *_: (tmp_path / "third").touch())

    def wait() -> None:
        while not (tmp_path / "third").exists():
            time.sleep(0.01)

    return wait


@pytest.fixture
def hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Hang; from then on each look at the clock takes the training 100 seconds further."""
    hours = itertools.count(0, 100)
    clock = SimpleNamespace(monotonic=lambda: next(hours) if (tmp_path / "hangs").exists() else 0)
    monkeypatch.setattr("data.workers.time", clock)

    def action() -> None:
        (tmp_path / "hangs").touch()
        time.sleep(1000)

    return action


def raise_(error: BaseException) -> None:
    raise error


# --- they die


@pytest.mark.parametrize(("end", "how"), [
    (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
    (lambda: os._exit(3), "exit code 3"),
], ids=["killed", "crashed", "left"])
def test_a_worker_that_dies_is_told_with_the_file_it_held(
    root: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], how: str
) -> None:
    at_file(monkeypatch, "trainA/3.png", end)
    text = error_of(loader(root, workers=2))
    assert text.startswith(f"a process that loads images has ended ({how}) while it read {root / 'trainA/3.png'}; if "
                           "memory has run out, lower --num_threads")


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError(),
                                   FileNotFoundError(2, "No such file or directory"), RuntimeError("unexpected pos")])
def test_a_worker_that_dies_while_its_tensors_arrive_is_told_as_any_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[], list[BaseProcess]], error: Exception
) -> None:
    def interrupted(*arguments: object) -> None:
        (worker,) = started()
        worker.kill()
        raise error  # before the death can be seen

    monkeypatch.setattr("multiprocessing.resource_sharer.DupFd.detach", interrupted)
    assert error_of(loader(root)).startswith("a process that loads images has ended (SIGKILL) while it read ")


def test_a_worker_that_dies_during_a_save_is_told_after_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[], list[BaseProcess]]
) -> None:
    save = torch.save

    def interrupted(*arguments: Any) -> None:
        for worker in started():
            worker.kill()
            worker.join()
        save(*arguments)

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(UserError, match=r"^a process that loads images has ended \(SIGKILL\)"):
        train(train_options(root, "--max_iters 100 --no_html --num_threads 1 --save_latest_freq 2"))
    assert content(root / "checkpoints/experiment_name")["state.progress.images"] >= 2


def test_a_training_whose_worker_dies_is_saved_first(
    root: Path, monkeypatch: pytest.MonkeyPatch, third_step: Callable[[], None]
) -> None:
    at_file(monkeypatch, "trainA/3.png", lambda: (third_step(), os.kill(os.getpid(), signal.SIGKILL)))
    with pytest.raises(UserError, match=r"^a process that loads images has ended"):
        train(train_options(root, "--max_iters 100 --no_html --num_threads 1 --serial_batches --print_freq 3"))
    assert content(root / "checkpoints/experiment_name")["state.progress.images"] == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_programming_errors_keep_their_names(root: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr("data.workers.DEATH_TAKES", 0.1)
    at_file(monkeypatch, "trainA/3.png", lambda: raise_(RuntimeError("shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(loader(root, workers).epoch(0))


@pytest.mark.slow
def test_a_program_whose_worker_dies_ends_with_one_sentence(root: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}]
import data.base, train
from torch.utils.data import get_worker_info
from util.errors import run_program
decode = data.base.load_image
def load(path, *how, **named):
    if path.name == "3.png" and get_worker_info():
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(path, *how, **named)
data.base.load_image = load
run_program("train.py", train.main)
""")
    outcome = run_process(tmp_path / "run.py", "--dataroot", root, "--checkpoints_dir", tmp_path, "--num_threads", "2",
                          *RUN)
    assert outcome.code == 2, outcome.err
    line = outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert line.startswith("train.py: error: a process that loads images has ended (SIGKILL) while it read ")
    assert "3.png; if memory has run out" in line


# --- they hang


def test_a_time_without_batches_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch, hang: Callable[[], None], started: Callable[[], list[BaseProcess]]
) -> None:
    at_file(monkeypatch, "trainA/3.png", hang)
    batches, told = loader(root), list[str]()
    batches.warn = told.append
    text = error_of(batches)
    while_reading = f"00 seconds while it read {root / 'trainA/3.png'}; "
    assert f"no batch has come for 7{while_reading}see whether the files can be read" in text
    assert [warning.endswith(f"1{while_reading}the training waits") for warning in told] == [True]
    for worker in started():
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_ends_the_wait_for_a_batch_and_the_training_is_saved(
    root: Path, monkeypatch: pytest.MonkeyPatch, hang: Callable[[], None], third_step: Callable[[], None], workers: int
) -> None:
    monkeypatch.setattr("training.loop.warning", lambda sinks: lambda text: os.kill(os.getpid(), signal.SIGTERM))
    at_file(monkeypatch, "trainA/3.png", lambda: (third_step(), hang()))
    flags = f"--max_iters 100 --no_html --num_threads {workers} --serial_batches --print_freq 3"
    assert train(train_options(root, flags)) == 143
    assert content(root / "checkpoints/experiment_name")["state.progress.images"] == 3


def test_a_pipe_in_the_folder_is_an_unreadable_image(root: Path) -> None:
    os.mkfifo(root / "trainA/2x.png")
    batches, told = loader(root), list[str]()
    batches.warn = told.append
    assert len(list(batches.epoch(0))) == 7
    assert [text for text in told if f"{root / 'trainA/2x.png'} is no regular file" in text]


# --- they find no room


def test_too_small_shared_memory_is_told_with_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `/dev/shm` of a container: torch told it in a thread of the worker's, and the batch never came."""
    full = RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")
    batches = loader(root)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", lambda storage: raise_(full))
    text = error_of(batches)
    assert text.startswith("shared memory (/dev/shm) is too small for the batches")
    assert "enlarge it (docker run --shm-size 2g, or --ipc host), or use --num_threads 0" in text


def test_shared_memory_that_will_be_too_small_is_told_at_the_start(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_bytes = 2 * 3 * 16 * 16 * 4
    for room, warned in ((5 * batch_bytes - 1, True), (5 * batch_bytes, False), (None, False)):
        monkeypatch.setattr("data.loader.shared_room", lambda room=room: room)
        batches, told = loader(root, workers=2), list[str]()
        batches.warn = told.append
        list(batches.epoch(0))
        assert [text.startswith("/dev/shm has room for") for text in told if "--shm-size" in text] == [True] * warned


@pytest.mark.slow
def test_a_program_in_a_container_of_little_shared_memory_ends_with_one_sentence(root: Path, tmp_path: Path) -> None:
    inside = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=16k tmpfs /dev/shm && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("cannot mount a tmpfs here (needs root)")
    done = subprocess.run(
        [*inside, sys.executable, "train.py", "--dataroot", root, "--checkpoints_dir", tmp_path, "--num_threads", "1",
         *RUN, "--crop_size", "64", "--load_size", "64"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "train.py: error: shared memory (/dev/shm) is too small" in line


def test_too_many_open_files_are_not_taken_for_bad_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a limit of the system, of workers and of the training alike."""
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: raise_(OSError(24, "Too many open files", "a.png")))
    assert error_of(loader(root)).startswith("too many open files; raise the limit (ulimit -n 4096)")


def test_a_limit_of_open_files_is_told_before_workers_start(
    root: Path, started: Callable[[], list[BaseProcess]]
) -> None:
    import resource

    limits, used = resource.getrlimit(resource.RLIMIT_NOFILE), len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 15, limits[1]))
    try:
        text = error_of(loader(root, workers=3))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert text.startswith("too many open files; raise the limit (ulimit -n 4096), or lower --num_threads")
    assert not started()


@pytest.mark.parametrize(("number", "sentence"), [
    (errno.EAGAIN, r"^the processes that load images cannot be started \(.*\); lower --num_threads"),
    (errno.ENOSPC, r"^shared memory \(/dev/shm\) is too small for the batches"),
])
def test_workers_that_cannot_be_started_are_one_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[], list[BaseProcess]], number: int, sentence: str
) -> None:
    fork, calls, complaints = os.fork, itertools.count(), list[object]()
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    monkeypatch.setattr(os, "fork", lambda: fork() if next(calls) == 0 else raise_(OSError(number, "refused")))
    assert re.search(sentence, error_of(loader(root, workers=2)))
    gc.collect()
    assert not complaints  # of torch's half-made iterator, at its end
    for worker in started():
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("cores", "warned"), [(2, 1), (3, 0)])
def test_more_workers_than_cores_are_one_line_of_ours(
    root: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, cores: int, warned: int
) -> None:
    monkeypatch.setattr("data.loader.usable_cores", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(2))  # what torch asks
    batches, told = loader(root, workers=3), list[str]()
    batches.warn = told.append
    for epoch in range(2):
        list(batches.epoch(epoch))
    assert [text.startswith("--num_threads 3 starts more processes than") for text in told] == [True] * warned
    assert not recwarn.list
