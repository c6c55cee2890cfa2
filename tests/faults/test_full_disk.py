"""A disk that fills up costs one sentence, and no checkpoint."""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from states import content, differing
from tiny import save_folders, train_options

from train import train
from util.errors import UserError
from util.state_dicts import load_file, size_of

RUN = "--seed 3 --no_html --pool_size 3"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True,
                             check=False) if shutil.which("mount") else None
    if mounted is None or mounted.returncode:
        pytest.skip("cannot mount a tmpfs here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Take all but ``leave`` bytes of the folder's file system."""
    ballast = folder / "ballast"
    ballast.write_bytes(b"\1" * max(0, shutil.disk_usage(folder).free - leave))
    return ballast


@pytest.mark.parametrize(("leave", "honest"), [
    pytest.param(leave, honest, id=f"{leave} bytes, {'seen before' if honest else 'in mid-write'}",
                 marks=[] if leave == 20_000 or (leave, honest) == (0, True) else pytest.mark.slow)
    for leave in (0, 20_000, 100_000) for honest in (True, False)])
def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch, leave: int, honest: bool
) -> None:
    root = save_folders(tmp_path)

    def run(flags: str, checkpoints: Path = disk) -> None:
        train(train_options(root, f"{RUN} --checkpoints_dir {checkpoints} {flags}"))

    run("--max_iters 6", tmp_path / "whole")
    run("--max_iters 2")
    folder = disk / "experiment_name"
    before = content(folder)
    needed = sum(path.stat().st_size for path in folder.glob("latest_*.pth"))
    assert leave < needed
    ballast = fill(disk, leave)
    with monkeypatch.context() as patch:
        if not honest:  # another process takes what is free after it was asked for
            patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
        if leave == 0:  # not even the log can be continued
            with pytest.raises((UserError, OSError), match=r"left|space"):
                run("--max_iters 6 --save_latest_freq 2 --continue_train")
        else:
            with pytest.raises(UserError, match="the checkpoints written before are intact") as error:
                run("--max_iters 6 --save_latest_freq 2 --continue_train")
            assert ("MB left" in str(error.value)) == honest
    assert differing(before, content(folder)) == []
    assert not list(disk.rglob(".*.tmp"))
    ballast.unlink()
    run("--max_iters 6 --continue_train")
    assert differing(content(tmp_path / "whole" / "experiment_name"), content(folder)) == []


def test_a_limit_on_files_is_one_sentence_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a quota: no free space tells of it."""
    root = save_folders(tmp_path)
    train(train_options(root, f"{RUN} --max_iters 2"))
    folder = root / "checkpoints" / "experiment_name"
    before = content(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # Python ignores SIGXFSZ: writing fails
    try:
        with pytest.raises(UserError, match=r"latest_\w+\.pth could not be written .* are intact"):
            train(train_options(root, f"{RUN} --max_iters 4 --continue_train"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert differing(before, content(folder)) == []
    assert not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize("operation", ["os.fsync", "os.replace"])
def test_an_error_of_the_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    root = save_folders(tmp_path)
    train(train_options(root, f"{RUN} --max_iters 3"))
    folder = root / "checkpoints" / "experiment_name"
    before = content(folder)
    options = train_options(root, f"{RUN} --max_iters 5 --continue_train")

    def refuse(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.job.open_sinks", lambda *arguments: [])
    monkeypatch.setattr(operation, refuse)
    with pytest.raises(UserError, match=r"could not be written to .*No space left.* are intact"):
        train(options)
    monkeypatch.undo()
    assert differing(before, content(folder)) == []
    assert not list(folder.glob(".*.tmp"))


def test_the_space_that_a_checkpoint_needs_is_foreseen(tmp_path: Path) -> None:
    root = save_folders(tmp_path)
    train(train_options(root, f"{RUN} --max_iters 3 --ngf 16 --ndf 16"))
    for file in (root / "checkpoints" / "experiment_name").glob("latest_*.pth"):
        assert 0.6 < size_of(load_file(file)) / file.stat().st_size < 1.1, file.name
