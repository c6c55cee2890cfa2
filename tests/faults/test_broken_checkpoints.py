"""What --continue_train does about a checkpoint that is broken, missing or not alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import save_folders, train_options
from trainings import content, differing

from options import RunFlags
from train import train
from training import checkpoints
from training.run import Run
from util import filesets
from util.errors import UserError

RUN = "--seed 3 --no_html --save_latest_freq 2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_folders(tmp_path)


def run(root: Path, flags: str, name: str = "run") -> Path:
    """Train; returns the folder of its checkpoints."""
    options = train_options(root, f"{RUN} --name {name} {flags}")
    assert train(options) == 0
    return root / "checkpoints" / options[RunFlags].name


def flip(path: Path) -> None:
    """Change one byte in the middle: a tensor's value, which torch reads without a complaint."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one bit": (flip, "is broken: it is not what was saved"),
    "cut off": (lambda path: os.truncate(path, path.stat().st_size - 100), "is broken: it has"),
    "empty": (lambda path: path.write_bytes(b""), "is broken: it has 0 bytes"),
    "of another save": (lambda path: path.write_bytes(
        path.with_name(path.name.replace("latest", "iter_2")).read_bytes()), "is broken"),
}


@pytest.mark.parametrize("part", ["net_G", "net_D", "state"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_latest_checkpoint_is_named_and_the_one_before_taken(
    root: Path, capsys: pytest.CaptureFixture[str], damage: str, part: str
) -> None:
    whole = run(root, "--max_iters 7", "whole")
    run(root, "--max_iters 2 --save_by_iter")
    folder = run(root, "--max_iters 6 --continue_train")
    path = folder / f"latest_{part}.pth"
    hurt, reason = DAMAGE[damage]
    hurt(path)
    capsys.readouterr()
    run(root, "--max_iters 7 --continue_train")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert len(notes) == 1, notes
    assert f"{path} {reason}" in notes[0]
    assert "goes on from the save before it, previous" in notes[0]
    assert differing(content(whole), content(folder)) == []


def test_a_missing_network_counts_as_broken(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(root, "--max_iters 6")
    (folder / "latest_net_D.pth").unlink()
    run(root, "--max_iters 7 --continue_train")
    assert "latest_net_D.pth is missing; so the training goes on" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"state.pth": 3}', '{"state.pth": {"bytes": 1}}', "\xff"])
def test_a_broken_manifest_is_named(root: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    folder = run(root, "--max_iters 4")
    (folder / "latest_manifest.json").write_text(text, encoding="latin-1")
    run(root, "--max_iters 5 --continue_train")
    assert "latest_manifest.json is broken" in capsys.readouterr().out


def test_where_both_are_broken_the_others_are_named(root: Path) -> None:
    folder = run(root, "--n_epochs 2 --n_epochs_decay 0 --save_epoch_freq 1")
    flip(folder / "latest_state.pth")
    flip(folder / "previous_state.pth")
    # 2 is another name of the same file, and shares its fate.
    with pytest.raises(UserError, match=r"latest_state\.pth is broken: .*another --epoch \(1, .*previous"):
        run(root, "--n_epochs 3 --n_epochs_decay 0 --continue_train")
    with pytest.raises(UserError, match=r"/2_state\.pth is broken"):
        run(root, "--n_epochs 3 --n_epochs_decay 0 --continue_train --epoch 2")
    run(root, "--n_epochs 3 --n_epochs_decay 0 --continue_train --epoch 1")


def test_a_broken_older_save_is_not_replaced_by_another_unasked(root: Path) -> None:
    folder = run(root, "--max_iters 4 --save_by_iter")
    flip(folder / "iter_2_net_G.pth")
    with pytest.raises(UserError, match=r"iter_2_net_G\.pth is broken.*iter_4"):
        run(root, "--max_iters 6 --continue_train --load_iter 2")


def test_the_save_before_the_last_can_be_asked_for(root: Path) -> None:
    whole = run(root, "--max_iters 7", "whole")
    folder = run(root, "--max_iters 6")
    assert content(folder, "previous")["state.progress.images"] == 4
    run(root, "--max_iters 7 --continue_train --epoch previous")
    assert differing(content(whole), content(folder)) == []


@pytest.mark.parametrize(("images", "logged"), [(4, [5, 6]), (6, [])])
def test_a_folder_that_is_removed_during_the_training_is_told_and_written_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], images: int, logged: list[int]
) -> None:
    """Between two saves, and after the last one."""
    whole, folder, save = run(root, "--max_iters 6 --print_freq 1", "whole"), root / "checkpoints" / "run", Run.save

    def save_and_remove(self: Run, also: str | None = None) -> None:
        save(self, also=also)
        if self.progress.images == images:
            monkeypatch.undo()
            shutil.rmtree(folder)

    monkeypatch.setattr(Run, "save", save_and_remove)
    run(root, "--max_iters 6 --print_freq 1")
    warning = f"warning: the files in {folder} were removed or moved during the training"
    assert capsys.readouterr().out.count(warning) == 1
    assert differing(content(whole), content(folder)) == []
    assert (folder / "train_opt.json").is_file()
    log = folder / "loss_log.jsonl"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == logged if logged else not log.exists()


def test_temporary_files_of_killed_processes_are_removed_and_no_others(root: Path) -> None:
    folder = run(root, "--max_iters 2")
    (folder / "web").mkdir()
    leftovers = [folder / f".{'a' * 32}.tmp", folder / "web" / f".{'0' * 32}.tmp"]
    others = [folder / ".mine.tmp", folder / "notes.tmp"]
    for path in (*leftovers, *others):
        path.touch()
    run(root, "--max_iters 3 --continue_train")
    assert [path for path in leftovers if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


@pytest.mark.parametrize("flags", ["--max_iters 6", "--n_epochs 2 --n_epochs_decay 0 --save_epoch_freq 1",
                                   "--max_iters 5", "--max_iters 3"])
def test_no_state_is_written_twice(root: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    states, save = [], torch.save

    def recording(file_content: dict[str, Any], file: Any) -> None:
        if "progress" in file_content:
            states.append(tuple(file_content["progress"].values()))
        save(file_content, file)

    monkeypatch.setattr(torch, "save", recording)
    run(root, flags)
    assert len(states) == len(set(states))


def tags_of(folder: Path) -> set[str]:
    found = {path.name.removesuffix("_state.pth") for path in folder.glob("*_state.pth")}
    for part in ("net_G.pth", "net_D.pth", "manifest.json"):
        assert {path.name.removesuffix(f"_{part}") for path in folder.glob(f"*_{part}")} == found
    return found - {"latest", "previous"}


@pytest.mark.parametrize(("keep", "epochs", "iterations"), [
    (0, {"1", "2", "3"}, {f"iter_{n}" for n in range(2, 16, 2)}), (1, {"3"}, {"iter_14"}),
    (2, {"2", "3"}, {"iter_12", "iter_14"}), (9, {"1", "2", "3"}, {f"iter_{n}" for n in range(2, 16, 2)})])
def test_keep_last_keeps_the_newest(root: Path, keep: int, epochs: set[str], iterations: set[str]) -> None:
    folder = run(root, f"--n_epochs 3 --n_epochs_decay 0 --save_epoch_freq 1 --save_by_iter --keep_last {keep}")
    assert tags_of(folder) == epochs | iterations
    assert filesets.fault(folder, "latest") is None


def test_keep_last_goes_by_age_and_leaves_other_names_alone(root: Path) -> None:
    flags = "--n_epochs 4 --n_epochs_decay 0 --save_epoch_freq 1"
    folder = run(root, flags)
    filesets.link_set(folder, "latest", "best", ["state.pth", "net_G.pth", "net_D.pth"])
    run(root, f"{flags} --max_iters 10 --continue_train --epoch 1 --keep_last 2")  # epoch 2 is the newest now
    assert tags_of(folder) == {"best", "2", "4"}


def test_a_failure_while_older_saves_are_removed_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoints, "remove_older", refuse)
    with pytest.raises(UserError, match=r"latest could not be written to .* \(Input/output error\)"):
        run(root, "--max_iters 2 --keep_last 1")
