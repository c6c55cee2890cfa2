"""Learning-rate schedules."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import golden_files as golden
import pytest
import torch
from states import content, differing
from tiny import train_options

from options import TrainFlags
from train import train
from training.schedulers import create_scheduler, go_to
from util.errors import UserError


def rates(epochs: int, **flags: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = create_scheduler(optimizer, TrainFlags(**flags))
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("key", [k for k in golden.load("full/lr_linear.npz") if k != "meta"])
def test_linear_policy_equals_the_reference(key: str) -> None:
    n_epochs, n_epochs_decay, first = (int(part[1:]) for part in key.split("_"))
    expected = golden.load("full/lr_linear.npz")[key].tolist()
    found = rates(len(expected) - 1, lr_policy="linear", n_epochs=n_epochs, n_epochs_decay=n_epochs_decay,
                  lr_decay_iters=50, epoch_count=first)
    assert found == pytest.approx(expected, abs=1e-6)


def test_step_policy_divides_by_ten() -> None:
    found = rates(4, lr_policy="step", n_epochs=9, n_epochs_decay=0, lr_decay_iters=2)
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_policy_ends_at_zero() -> None:
    assert rates(6, lr_policy="cosine", n_epochs=6, n_epochs_decay=0, lr_decay_iters=1)[-1] == pytest.approx(0)


# --- by images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [
    {"n_epochs": 2, "n_epochs_decay": 3}, {"n_epochs": 0, "n_epochs_decay": 5, "epoch_count": 2},
    {"n_epochs": 4, "n_epochs_decay": 0, "lr_policy": "cosine"},
])
def test_by_images_the_rates_at_the_ends_of_epochs_stay(flags: dict[str, Any]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = create_scheduler(optimizer, TrainFlags(schedule_by="images", **flags))
    found = []
    for tenths in range(41):
        go_to(scheduler, tenths / 10)
        found.append(optimizer.param_groups[0]["lr"])
    assert found[::10] == pytest.approx(rates(4, **flags))
    assert found == sorted(found, reverse=True)
    falling = [before - after for before, after in itertools.pairwise(found) if after < 1]
    assert min(falling) > 0, "between them, too"
    if "lr_policy" not in flags:
        assert falling == pytest.approx([0.1 / (flags["n_epochs_decay"] + 1)] * len(falling)), "along a line"


@pytest.mark.parametrize("policy", ["step", "plateau"])
def test_by_images_policies_that_only_know_epochs_are_refused(policy: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(UserError, match=f"--schedule_by images: --lr_policy {policy} .* choose linear or cosine"):
        create_scheduler(optimizer, TrainFlags(schedule_by="images", lr_policy=policy))


LSESIM = "--learned_attn --vgg_lr_scale 0.5 --seed 3 --no_html --print_freq 1"


def run(root: Path, flags: str, name: str) -> dict[str, Any]:
    """Train, and return every tensor and number of the final checkpoint."""
    train(train_options(root, f"{LSESIM} --name {name} {flags}"))
    return content(root / "checkpoints" / name)


def printed(capsys: pytest.CaptureFixture[str]) -> list[float]:
    return [float(rate) for rate in re.findall(r"^\d+/.* lr (\S+)$", capsys.readouterr().out, re.MULTILINE)]


def test_one_epoch_anneals_and_resumes_in_its_middle_to_the_bit(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--schedule_by images --n_epochs 1 --n_epochs_decay 0 --lr 1e-3"
    expected = run(root, flags, "whole")
    assert printed(capsys) == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4, 2e-4]), "of the 5 images of the epoch"
    assert expected["state.optimizers.F.param_groups.1.lr"] == pytest.approx(1e-4), "half, for the feature network"
    run(root, f"{flags} --max_iters 2", "parts")
    assert differing(expected, run(root, f"{flags} --continue_train", "parts")) == []


def test_a_resumed_run_may_change_what_the_rate_follows(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--n_epochs 0 --n_epochs_decay 4 --lr 1e-3"
    run(root, f"{flags} --max_iters 7", "run")
    assert printed(capsys) == pytest.approx([8e-4, 6e-4]), "of two epochs"
    run(root, f"{flags} --max_iters 9 --continue_train --schedule_by images", "run")
    assert printed(capsys) == pytest.approx([5.2e-4, 4.8e-4]), "after 1.4 and 1.6 epochs"
    run(root, f"{flags} --max_iters 11 --continue_train --schedule_by epochs", "run")
    assert printed(capsys) == pytest.approx([6e-4, 4e-4]), "of the second and the third epoch"
