"""Damaged, incomplete and older checkpoints with --continue_train, and the checkpoints that --keep_last keeps."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import ROOT
from states import content, differing, exports_are_those_of_the_state
from tiny import train_options

from options import RunFlags
from train import train
from training import checkpoints
from training.checkpoints import read_state, remove_older
from training.run import Run
from util.errors import UserError
from util.state_dicts import load_file, network_path, state_path

RUN = "--seed 3 --no_html --save_latest_freq 2"


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


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "one bit": flip,
    "cut off": lambda path: os.truncate(path, path.stat().st_size - 100),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"no checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_refused_and_other_saves_are_named(tmp_path: Path, damage: str) -> None:
    for tag in ("latest", "5"):
        torch.save({"networks": {"G": {"weight": torch.rand(100)}}}, state_path(tmp_path, tag))
    assert read_state(tmp_path, "latest").keys() == {"networks"}
    DAMAGE[damage](state_path(tmp_path, "latest"))
    with pytest.raises(UserError, match=r"latest_state\.pth cannot be read .*another --epoch\. Other saves: 5; or"):
        read_state(tmp_path, "latest")
    state_path(tmp_path, "5").unlink()
    with pytest.raises(UserError, match="Other saves: none;"):
        read_state(tmp_path, "latest")


def test_an_earlier_save_that_is_asked_for_goes_on_to_the_bit(root: Path) -> None:
    whole = run(root, "--max_iters 7", "whole")
    folder = run(root, "--max_iters 6 --save_by_iter")
    flip(folder / "latest_state.pth")
    with pytest.raises(UserError, match="Other saves: iter_2, iter_4, iter_6;"):
        run(root, "--max_iters 7 --continue_train")
    run(root, "--max_iters 7 --continue_train --load_iter 4")
    assert differing(content(whole), content(folder)) == []


def test_networks_beside_a_state_are_exports(root: Path) -> None:
    """A resumed training neither reads nor misses them, and writes them again."""
    whole = run(root, "--max_iters 7", "whole")
    folder = run(root, "--max_iters 6")
    (folder / "latest_net_G.pth").write_bytes(b"no checkpoint")
    (folder / "latest_net_D.pth").unlink()
    run(root, "--max_iters 7 --continue_train")
    assert differing(content(whole), content(folder)) == []
    assert exports_are_those_of_the_state(folder)


# The layout before: published networks in files of their own, with SHA-256 in a manifest and in the state. The stored
# checkpoint was trained with these flags on three images of five.
OLD = ("--netD pixel --ngf 1 --ndf 1 --no_antialias --no_antialias_up --attn_layers relu1_2 --learned_attn --augment "
       "--ema 0.9 --pool_size 2")


def old_checkpoint(root: Path, name: str) -> Path:
    folder = root / "checkpoints" / name
    with zipfile.ZipFile(ROOT / "tests" / "data" / "checkpoint_with_manifest.zip") as archive:
        archive.extractall(folder)
    return folder


def test_a_checkpoint_with_a_manifest_goes_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = old_checkpoint(root, "old")
    networks = {name: load_file(network_path(folder, "latest", name)) for name in ("G", "D", "G_ema")}
    state = read_state(folder, "latest")
    assert state["networks"].keys() == {"F", *networks}
    assert all(torch.equal(state["networks"][name][key], value)
               for name, network in networks.items() for key, value in network.items())
    new = root / "checkpoints" / "new"
    new.mkdir()
    torch.save(state, state_path(new, "latest"))
    for name in ("old", "new"):
        run(root, f"{OLD} --max_iters 5 --continue_train", name)
    assert "note:" not in capsys.readouterr().out
    assert differing(content(folder), content(new)) == []
    assert content(folder)["state.progress.images"] == 5
    assert exports_are_those_of_the_state(folder)
    assert "sha256" not in load_file(folder / "latest_state.pth")


@pytest.mark.parametrize("hurt", [flip, Path.unlink])
def test_networks_that_do_not_belong_to_a_state_with_their_sums_are_refused(
    root: Path, hurt: Callable[[Path], Any]
) -> None:
    folder = old_checkpoint(root, "old")
    hurt(folder / "latest_net_D.pth")
    with pytest.raises(UserError, match=r"latest_net_D\.pth is missing or of another save than .*--epoch"):
        read_state(folder, "latest")


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
    """List the tags of all saves but the latest, and check that each has all of its files."""
    found = {path.name.removesuffix("_state.pth") for path in folder.glob("*_state.pth")}
    for part in ("net_G.pth", "net_D.pth"):
        assert {path.name.removesuffix(f"_{part}") for path in folder.glob(f"*_{part}")} == found
    return found - {"latest"}


@pytest.mark.parametrize(("keep", "epochs", "iterations"), [
    (0, {"1", "2", "3"}, {f"iter_{n}" for n in range(2, 16, 2)}), (2, {"2", "3"}, {"iter_12", "iter_14"})])
def test_keep_last_keeps_the_newest(root: Path, keep: int, epochs: set[str], iterations: set[str]) -> None:
    folder = run(root, f"--n_epochs 3 --n_epochs_decay 0 --save_epoch_freq 1 --save_by_iter --keep_last {keep}")
    assert tags_of(folder) == epochs | iterations


@pytest.mark.parametrize(("pattern", "keep", "written", "stay"), [
    (r"\d+", 1, "10", {"10"}), (r"\d+", 2, "10", {"9", "10"}), (r"\d+", 9, "10", {"2", "9", "10"}),
    (r"\d+", 1, "2", {"2", "10"}), (r"\d+", 1, None, {"10"}), (r"iter_\d+", 1, "10", {"2", "9", "10"}),
])
def test_the_saves_of_the_most_images_stay_whatever_the_clock_said(
    tmp_path: Path, pattern: str, keep: int, written: str | None, stay: set[str]
) -> None:
    """After a return to an earlier epoch, the save that was just written stays beside those of more images."""
    for age, tag in enumerate(("latest", "best", "10", "9", "2")):
        for file in ("state.pth", "net_G.pth", "net_D.pth", "net_G_ema.pth", "manifest.json"):
            path = tmp_path / f"{tag}_{file}"
            path.touch()
            os.utime(path, (10**9 + age, 10**9 + age))  # the clock was set back: the newest are the oldest
    remove_older(tmp_path, pattern, keep, written)
    assert {path.name.split("_")[0] for path in tmp_path.iterdir()} == {"latest", "best", *stay}
    assert len(list(tmp_path.iterdir())) == 5 * len({"latest", "best", *stay})


def test_a_failure_while_older_saves_are_removed_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoints, "remove_older", refuse)
    with pytest.raises(UserError, match=r"latest could not be written to .* \(Input/output error\)"):
        run(root, "--max_iters 2 --keep_last 1")
