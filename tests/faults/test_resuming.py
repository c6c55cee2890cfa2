"""Resumed runs continue all parts of the state, the curves and the flags; test_train.py has further tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from states import content, differing
from tiny import METHODS, NETWORKS, SIZES, save_noise, train_options

from train import train
from util.errors import UserError
from util.state_dicts import load_file

EVERYTHING = ("--ema 0.9 --pool_size 3 --amp fp16 --no_dropout false --n_epochs 1 --grad_accum 2 --save_latest_freq 3 "
              "--diff_augment color,translation")


def run(root: Path, flags: str, name: str, method: str = METHODS["LSeSim"]) -> Path:
    options = train_options(root, f"--seed 3 --no_html --name {name} {flags}", defaults=(NETWORKS, method, SIZES))
    assert train(options) == 0
    return root / "checkpoints" / name


def reports(folder: Path) -> dict[int, dict[str, float]]:
    """Return the log's values by step, but for those of the clock and the machine."""
    found = [json.loads(line) for line in (folder / "loss_log.jsonl").read_text().splitlines()]
    return {line["step"]: {key: value for key, value in line.items() if key not in ("step", "time", "data_wait")
                           and not key.startswith(("speed/", "memory/"))}
            for line in found}


def test_a_run_with_everything_in_its_state_resumes_to_the_bit(root: Path) -> None:
    whole = content(run(root, f"{EVERYTHING} --max_iters 13", "whole"))
    run(root, f"{EVERYTHING} --max_iters 6", "parts")
    parts = content(run(root, f"{EVERYTHING} --max_iters 13 --continue_train", "parts"))
    assert differing(whole, parts) == []
    for part in ("networks.G.", "networks.D.", "networks.F.", "networks.G_ema.", "optimizers.G.", "optimizers.D.",
                 "optimizers.F.", "memory.0.scaler.scale", "memory.0.pool.images.2", "random.cpu", "schedulers.G.",
                 "losses.sums.", "epoch_losses.sums.G", "progress.images_in_epoch"):
        assert any(key.startswith(f"state.{part}") for key in whole), f"the state has no {part}"


def test_curves_of_a_resumed_run_are_those_of_an_uninterrupted_one(root: Path) -> None:
    flags = "--print_freq 4 --save_latest_freq 3"
    whole = reports(run(root, f"{flags} --max_iters 13", "whole"))
    run(root, f"{flags} --max_iters 6", "parts")
    parts = reports(run(root, f"{flags} --max_iters 13 --continue_train", "parts"))
    assert list(whole) == [4, 8, 12, 13]
    assert list(parts) == [4, 6, 8, 12, 13]  # 6 was the end of the first part
    assert {step: parts[step] for step in whole} == whole


def test_an_older_state_without_sums_goes_on(root: Path) -> None:
    folder = run(root, "--max_iters 3", "run")
    state = load_file(folder / "latest_state.pth")
    del state["losses"]
    torch.save(state, folder / "latest_state.pth")
    run(root, "--max_iters 5 --continue_train", "run")
    assert list(reports(folder)) == [3, 5]


def test_what_is_in_force_is_what_is_recorded(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In train_opt.json, by which experiments are compared, and in the state, with which the next resume compares."""
    typed = ("--lr 0.01 --beta1 0.2 --beta2 0.9 --vgg_lr_scale 0.5 --init_type normal --init_gain 0.5 --epoch_count 3 "
             "--n_epochs 7")
    in_force = {"lr": 0.0001, "beta1": 0.5, "beta2": 0.999, "vgg_lr_scale": 0.0, "init_type": "xavier",
                "init_gain": 0.02, "epoch_count": 1, "n_epochs": 7}
    run(root, "--max_iters 1", "run")
    capsys.readouterr()
    folder = run(root, f"--max_iters 2 --continue_train {typed}", "run")
    said = capsys.readouterr().out
    recorded = json.loads((folder / "train_opt.json").read_text(encoding="utf-8"))
    saved = load_file(folder / "latest_state.pth")["options"]
    for name, value in in_force.items():
        assert f"note: --{name} " in said, "a typed flag is never ignored in silence"
        assert (recorded[name], saved[name]) == (value, value), name
    run(root, "--max_iters 3 --continue_train --n_epochs 7", "run")
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(("policy", "then", "factor"), [
    ("cosine --n_epochs 1", "--n_epochs 4", 0.5), ("step --lr_decay_iters 1", "--lr_decay_iters 2", 0.1)])
def test_a_schedule_follows_the_flags_that_are_recorded(root: Path, policy: str, then: str, factor: float) -> None:
    """Epoch 3 of the resumed run, of 5 images an epoch, is that of a run with its flags from the start."""
    run(root, f"--lr_policy {policy} --max_iters 7", "run")
    folder = run(root, f"--lr_policy {policy} {then} --max_iters 12 --continue_train", "run")
    optimizers = load_file(folder / "latest_state.pth")["optimizers"]
    rates = [group["lr"] for optimizer in optimizers.values() for group in optimizer["param_groups"]]
    assert rates == [pytest.approx(1e-4 * factor)] * 3


@pytest.mark.parametrize("change", ["grown", "replaced", "moved"])
def test_a_data_set_that_has_changed_is_noted(
    root: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    run(root, "--max_iters 2", "run")
    capsys.readouterr()
    if change == "grown":
        save_noise(root / "trainA" / "new.png", 7)
    elif change == "replaced":
        save_noise(root / "trainA" / "0.png", 7, size=(40, 40))
    else:
        for folder in ("trainA", "trainB"):
            (root / "moved").mkdir(exist_ok=True)
            (root / folder).rename(root / "moved" / folder)
    run(root, "--max_iters 3 --continue_train" + f" --dataroot {root / 'moved'}" * (change == "moved"), "run")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    differs = {"grown": "9 files, was 8", "replaced": "as many files as at the save, but other names or sizes"}
    assert notes == [f"note: --dataroot has {text}; the training goes on with what is there now"
                     for name, text in differs.items() if name == change]


def test_where_nothing_is_left_to_train_it_says_so_and_changes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = "--n_epochs 1 --n_epochs_decay 0"
    folder = run(root, finished, "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    run(root, f"{finished} --continue_train --lambda_spatial 3", "run")
    out = capsys.readouterr().out
    assert "note: --lambda_spatial is 3.0, was 10.0\nnothing is left to train after 5 images: raise --n_epochs" in out
    assert "done" not in out
    with pytest.raises(UserError, match=r"--epoch_count 1 has no effect: .* in epoch 2, and nothing is left to train"):
        run(root, f"{finished} --continue_train --epoch_count 1", "run")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_fine_tuned_as_its_message_says(root: Path) -> None:
    finished = "--n_epochs 1 --n_epochs_decay 0"
    folder = run(root, finished, "run")
    for path in folder.glob("latest_net_*.pth"):
        (root / "checkpoints" / "tuned").mkdir(exist_ok=True)
        shutil.copy(path, root / "checkpoints" / "tuned")
    tuned = run(root, f"{finished} --lr 0.00005 --continue_train --epoch_count 1", "tuned")
    state = load_file(tuned / "latest_state.pth")
    assert (state["progress"]["images"], state["options"]["lr"]) == (5, 0.00005)


@pytest.mark.parametrize(("flags", "says"), [
    ("--ngf 3", r"does not fit this ResnetGenerator.*What differs: --ngf is 3, was 2$"),
    ("--netD pixel", "does not fit this .*--netD"),
    ("--norm none", "--norm is none, was instance, with which the networks were trained: type --norm instance, or "),
    ("--direction BtoA", "--direction is BtoA, was AtoB, with which the networks were trained: type --direction AtoB"),
    ("--attn_layers relu2_1,relu3_1", "does not fit this .*attn_layers"),
    ("--learned_attn false", "trained network F, which this run would drop: .*--learned_attn"),
    ("--lambda_spatial 0", "trained network F, which this run would drop: .*--lambda_spatial"),
    ("--max_dataset_size 2", "--max_dataset_size of its training"),
])
def test_flags_that_would_lose_what_was_trained_are_refused(root: Path, flags: str, says: str) -> None:
    folder = run(root, "--max_iters 3", "run")
    before: dict[str, Any] = content(folder)
    with pytest.raises(UserError, match=says):
        run(root, f"--max_iters 5 --continue_train {flags}", "run")
    assert differing(before, content(folder)) == []
    if says.startswith(flags):
        (folder / "latest_state.pth").unlink()  # the networks alone would fit
        with pytest.raises(UserError, match=says):
            run(root, f"--max_iters 5 --continue_train {flags}", "run")
