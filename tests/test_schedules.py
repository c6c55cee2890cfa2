"""Learning-rate schedules."""

from __future__ import annotations

import golden_files as golden
import pytest
import torch

from options import TrainFlags
from training.schedulers import create_scheduler


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
