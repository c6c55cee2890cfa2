"""``runs.jsonl``: what every start of a training leaves behind."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from states import content, differing
from tiny import save_folders, train_options

from train import train
from util.starts import FILE, code_version, read_starts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_folders(tmp_path / "data")


def start(root: Path, flags: str) -> Path:
    train(train_options(root, f"--name run --seed 3 --no_html {flags}"))
    return root / "checkpoints" / "run"


def test_every_start_is_a_line(root: Path) -> None:
    start(root, "--max_iters 2")
    folder = start(root, "--max_iters 4 --continue_train --lambda_spatial 5")
    first, second = (json.loads(line) for line in (folder / FILE).read_text().splitlines())
    assert first["changed"] is None
    assert second["changed"] == ["--max_iters is 4, was 2", "--continue_train is True, was False",
                                 "--lambda_spatial is 5.0, was 10.0"]
    assert (first["images"], second["images"]) == (0, 2)
    assert second["command"].endswith(" --max_iters 4 --continue_train --lambda_spatial 5")
    for record in (first, second):
        assert record["command"].startswith(f"train.py --dataroot {root} --checkpoints_dir ")
        assert record["time"].endswith("+00:00")
        assert (record["commit"], record["dirty"]) == code_version()
        assert (record["python"], record["torch"]) == (platform.python_version(), torch.__version__)
        assert (record["cuda"], record["device"]) == (torch.version.cuda, "cpu")
        assert (record["processes"], record["seed"]) == (1, 3)
    assert platform.node() not in (folder / FILE).read_text()


def test_a_new_training_has_a_file_of_its_own_and_a_finished_one_gets_no_line(root: Path) -> None:
    folder = start(root, "--max_iters 2")
    start(root, "--max_iters 2 --continue_train")
    assert len(read_starts(folder)) == 1, "nothing was left to train"
    start(root, "--max_iters 2")
    assert len(read_starts(folder)) == len(read_starts(folder.with_name("run.1"))) == 1


def test_damage_costs_a_line_or_what_has_changed(root: Path) -> None:
    folder = start(root, "--max_iters 2")
    (folder / FILE).write_bytes((folder / FILE).read_bytes() + b'{"time": "2')
    (folder / "train_opt.json").unlink()
    start(root, "--max_iters 4 --continue_train")
    assert [(record["images"], record["changed"]) for record in read_starts(folder)] == [(0, None), (2, None)]


def test_a_file_that_cannot_be_written_costs_a_warning(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk."""
    expected = content(start(root, "--max_iters 2"))
    folder = start(root, "--max_iters 2")
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    for path in folder.glob("*.pth"):
        path.unlink()  # or the folder would be moved
    assert differing(expected, content(start(root, "--max_iters 2"))) == []
    assert f"warning: {folder / FILE} cannot be written (Is a directory); the" in capsys.readouterr().out
    assert read_starts(folder) == []


def test_the_commit_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=name", "-c", "user.email=mail", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    code = tmp_path / "copied"
    code.mkdir()
    git("init")
    (tmp_path / "file.py").write_text("1")
    assert code_version(tmp_path) == (None, False), "there is no commit yet"
    git("add", "file.py")
    git("commit", "-m", "message")
    git("symbolic-ref", "HEAD", os.fsdecode(b"refs/heads/caf\xe9"))  # a branch whose name is not UTF-8
    git("commit", "-q", "-m", "message")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "new.txt").write_text("no part of the code")
    assert code_version(tmp_path) == (commit, False)
    (tmp_path / "file.py").write_text("22")
    assert code_version(tmp_path) == (commit, True)
    assert code_version(code) == (None, None), "the repository above is another project"
    monkeypatch.setenv("PATH", str(code))
    assert code_version(tmp_path) == (None, None)


def test_lines_that_are_no_starts_are_left_out(tmp_path: Path) -> None:
    records: list[Any] = [{"commit": "1"}, [], {"commit": "2"}]
    (tmp_path / FILE).write_text("\n".join([*map(json.dumps, records), "", "text", "[" * 10**5]))
    assert read_starts(tmp_path) == [records[0], records[2]]
    assert read_starts(tmp_path / "missing") == []
