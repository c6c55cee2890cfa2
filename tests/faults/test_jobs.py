"""Training in several processes: what happens to one of them ends all, in order, and is said once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from states import content
from tiny import save_folders, train_options
from trainings import FLAGS, end, lines, start, wait_until

from train import train
from util.errors import UserError

pytestmark = pytest.mark.slow
ENDLESS = f"{FLAGS} --print_freq 2 --n_epochs 100000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_folders(tmp_path, counts=(5, 7))


def ranks(launcher: int) -> dict[int, int]:
    """Return process ids of the ranks that torchrun, with the id ``launcher``, has started."""
    return dict(sorted(_ranks_of(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())))


def _ranks_of(processes: list[str]) -> Iterator[tuple[int, int]]:
    for process in processes:
        for entry in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"RANK="):
                yield int(entry[5:]), int(process)


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("train.py: error:")]


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to find the ranks in")


@needs_proc
def test_a_signal_to_one_process_stops_all_after_the_same_step(root: Path) -> None:
    process = start(root, ENDLESS, processes=2)
    wait_until(lambda: lines(root) >= 3, process)
    os.kill(ranks(process.pid)[1], signal.SIGTERM)
    _, out, err = end(process)
    assert "stopped by a signal after" in out
    assert out.count("stopped by") == 1
    assert "exitcode  : 143" in err
    assert errors(err) == []
    assert err.count("Traceback") == 1, err  # torchrun's own
    images = content(root / "checkpoints" / "experiment_name")["state.progress.images"]
    assert f"stopped by a signal after {images} of" in out
    assert train(train_options(root, f"--no_html --max_iters {images + 2} --continue_train")) == 0


def test_a_signal_to_torchrun_stops_all_in_order(root: Path) -> None:
    process = start(root, f"{ENDLESS} --num_threads 1", processes=2)
    wait_until(lambda: lines(root) >= 3, process)
    process.send_signal(signal.SIGTERM)
    _, out, err = end(process)
    assert "stopped by a signal after" in out, err
    assert errors(err) == []
    images = content(root / "checkpoints" / "experiment_name")["state.progress.images"]
    assert f"stopped by a signal after {images} of" in out


@needs_proc
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_with_one_sentence(root: Path, rank: int) -> None:
    process = start(root, f"{ENDLESS} --save_latest_freq 2", processes=2)
    wait_until(lambda: lines(root) >= 3, process)
    os.kill(ranks(process.pid)[rank], signal.SIGKILL)
    code, _, err = end(process)  # within a minute or two
    assert code != 0
    assert len(errors(err)) == 1, err
    assert "another process of this training was killed" in errors(err)[0]
    assert err.count("Traceback") == 1, err  # torchrun's own
    assert train(train_options(root, "--no_html --max_iters 20 --continue_train")) == 0


def test_a_first_process_that_cannot_save_ends_all_with_one_sentence(root: Path) -> None:
    """The folder of a later save is taken by a file of somebody else's, so that only the writing rank can know."""
    process = start(root, f"{ENDLESS} --save_latest_freq 200", processes=2)
    wait_until(lambda: lines(root) >= 2, process)
    (root / "checkpoints" / "experiment_name" / "latest_net_G.pth").mkdir()
    code, _, err = end(process)
    assert code != 0
    assert len(errors(err)) == 1, err
    assert "the checkpoint latest could not be written to" in errors(err)[0]
    assert err.count("Traceback") == 1, err  # torchrun's own
    assert err.count("exitcode  : 2") >= 1


@pytest.mark.parametrize("flags", ["", "--continue_train"])
def test_a_second_training_of_one_name_is_refused_until_the_first_has_ended(root: Path, flags: str) -> None:
    process = start(root, f"{ENDLESS} --save_latest_freq 2 --num_threads 1")
    folder = root / "checkpoints" / "experiment_name"
    wait_until((folder / "latest_net_D.pth").exists, process)
    options = train_options(root, f"--no_html --max_iters 4 {flags}")
    with pytest.raises(UserError, match=r"another process is writing into .*experiment_name"):
        train(options)
    assert process.poll() is None
    assert not folder.with_name("experiment_name.1").exists(), "the folder of a running training was moved"
    process.kill()  # which leaves its workers behind for a while
    process.communicate()
    assert train(options) == 0
