"""SIGTERM, SIGINT and SIGUSR1: the step is finished, the state saved, the exit code what schedulers understand."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cli import TINY_TEST
from states import content, differing
from tiny import save_folders, train_options
from trainings import FLAGS, end, lines, start, wait_until

from data import Loader
from data.sampler import SampleKey
from models import MODELS
from train import train
from util.distributed import ALONE
from util.signals import CODES, Signals, silent_about_connections

ENDLESS = f"{FLAGS} --print_freq 1 --n_epochs 100000"


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Signals are answered, although whoever started the tests in the background may have had them ignored."""
    before = {number: signal.getsignal(number) for number in CODES}
    for number in CODES:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# --- as a user sees it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [
    ("SIGTERM", 143), *(pytest.param(name, code, marks=pytest.mark.slow)
                       for name, code in (("SIGINT", 130), ("SIGHUP", 129), ("SIGUSR1", 75)))])
def test_a_signal_to_the_whole_group_saves_and_tells_the_scheduler(root: Path, name: str, code: int) -> None:
    """As Ctrl-C and schedulers do it: the workers that load images get the signal too, and some come twice."""
    process = start(root, f"{ENDLESS} --num_threads 2")
    wait_until(lambda: lines(root) >= 3, process)
    for _ in range(1 if name == "SIGINT" else 3):
        os.killpg(process.pid, getattr(signal, name))
    ended, out, err = end(process)
    assert ended == code, err
    assert "Traceback" not in err
    assert "error" not in err
    assert out.splitlines()[-1].startswith("stopped by a signal after")
    state = content(root / "checkpoints" / "experiment_name")
    assert state["state.progress.images"] == lines(root)
    assert ("once more, and it ends at once" in err) == (name == "SIGINT")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(root: Path) -> None:
    process = start(root, f"{ENDLESS} --batch_size 3 --load_size 256 --crop_size 256 --ngf 8")  # a step takes a while
    wait_until(lambda: lines(root) >= 1, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, out, err = end(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert err.rstrip().endswith("train.py: interrupted")
    assert "stopped by a signal" not in out
    assert not list((root / "checkpoints" / "experiment_name").glob("*.pth"))


@pytest.mark.slow
def test_ctrl_c_ends_a_translation_without_a_traceback(root: Path) -> None:
    train(train_options(root, "--max_iters 1 --no_html"))
    many = save_folders(root / "many", "test", (1000, 0))
    process = start(root, f"{' '.join(TINY_TEST)} --num_threads 2 --num_test inf --dataroot {many / 'testA'} "
                          f"--results_dir {root / 'results'}", program="test.py")
    wait_until(lambda: any(root.glob("results/*/*/images/*/*.png")), process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = end(process)
    assert (code, err.splitlines()[-1]) == (130, "test.py: interrupted")
    assert "Traceback" not in err  # torch warns of two loading processes where there is one core


# --- to the bit, in this process ------------------------------------------------------------------------------------


def send_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: int) -> None:
    """Send this process a signal in the middle of a step."""
    model_class, taken = MODELS["sc"], []
    step = model_class.optimize_parameters

    def interrupted(self: Any, minimize: Any) -> Any:
        taken.append(1)
        if len(taken) == steps:
            os.kill(os.getpid(), number)
        return step(self, minimize)

    monkeypatch.setattr(model_class, "optimize_parameters", interrupted)


@pytest.mark.parametrize(("steps", "number", "code"), [
    (3, signal.SIGTERM, 143), (5, signal.SIGINT, 130),
    pytest.param(6, signal.SIGUSR1, 75, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_to_the_bit(
    root: Path, monkeypatch: pytest.MonkeyPatch, steps: int, number: int, code: int
) -> None:
    def run(name: str, flags: str = "") -> int:
        return train(train_options(root, f"--seed 3 --max_iters 9 --no_html --name {name} --print_freq 2 {flags}"))

    assert run("whole") == 0
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    with monkeypatch.context() as patch:
        send_after(patch, steps, number)
        assert run("stopped") == code
    assert {s: signal.getsignal(s) for s in before} == before
    whole, stopped = (root / "checkpoints" / name for name in ("whole", "stopped"))
    assert content(stopped)["state.progress.images"] == steps  # 5 is an epoch's end
    assert run("stopped", "--continue_train") == 0
    assert differing(content(whole), content(stopped)) == []


def test_a_signal_in_the_last_step_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send_after(monkeypatch, 4, signal.SIGTERM)
    assert train(train_options(root, "--max_iters 4 --no_html")) == 0


def test_a_signal_waits_for_the_end_of_a_save(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(torch, "save", interrupted)
    assert train(train_options(root, "--max_iters 9 --no_html --save_latest_freq 2")) == 143
    assert content(root / "checkpoints" / "experiment_name")["state.progress.images"] == 2


def test_a_signal_before_the_first_step_ends_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr("training.job.prepare", interrupted)
    with pytest.raises(SystemExit) as ended:
        train(train_options(root, "--max_iters 9 --no_html"))
    assert ended.value.code == 75
    assert not (root / "checkpoints" / "experiment_name").exists()


def test_a_second_sigint_does_not_wait_but_a_second_sigterm_does() -> None:
    with Signals(ALONE) as signals, signals.held():
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_after_an_error_a_signal_ends_at_once() -> None:
    with Signals(ALONE) as signals:
        with pytest.raises(ValueError, match="of the step"), signals.held():
            raise ValueError("of the step")
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)


def test_what_the_parent_has_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals(ALONE) as signals, signals.held():
            os.kill(os.getpid(), signal.SIGINT)
            assert not signals.agreed()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_processes_agree_on_one_step() -> None:
    """Three threads stand for three processes; the second gets a signal in its fourth step."""
    meeting, values = threading.Barrier(3), [0, 0, 0]

    def world_of(rank: int) -> Any:
        def start_max(value: int) -> Any:
            values[rank] = value
            meeting.wait()
            greatest = max(values)
            meeting.wait()
            return lambda: greatest
        return SimpleNamespace(size=3, is_first=rank == 0, start_max=start_max)

    stops: dict[int, tuple[int, int]] = {}

    def run(rank: int) -> None:
        signals = Signals(world_of(rank))
        with signals.held():
            for step in range(1, 10):
                if (rank, step) == (1, 4):
                    signals._receive(signal.SIGTERM, None)
                if signals.agreed():
                    stops[rank] = (step, signals.code)
                    return

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stops == dict.fromkeys(range(3), (5, 143))


class Numbers:
    """A data set of numbers; an item of ``hangs`` never comes."""

    def __init__(self, hangs: int | None = None) -> None:
        self.hangs, self.hanging = hangs, multiprocessing.Event()
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        if key.index == self.hangs:
            self.hanging.set()
            threading.Event().wait()
        return {"A": torch.tensor(float(key.index))}


def loader_of(dataset: Numbers) -> Loader:
    return Loader(dataset, batch_size=1, num_workers=1, seed=0, shuffle=False, finished=False)


def worker_of(loader: Loader) -> Any:
    return loader._workers._processes[0]


def test_workers_ignore_signals_to_the_group_however_often_they_come() -> None:
    loader, seen = loader_of(Numbers()), []
    for batch in loader.epoch(0):
        seen.append(batch["A"].item())
        for number in CODES:
            os.kill(worker_of(loader).pid, number)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    numbers = Numbers(hangs=1)
    loader = loader_of(numbers)
    next(loader.epoch(0))
    assert numbers.hanging.wait(60)
    worker = worker_of(loader)
    del loader
    gc.collect()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("error", "told"), [(ConnectionResetError(), False), (EOFError(), False), (KeyError(3), True)])
def test_workers_are_silent_about_a_parent_that_leaves_and_about_nothing_else(
    error: Exception, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    silent_about_connections(type(error), error, None)
    assert bool(capsys.readouterr().err) == told
