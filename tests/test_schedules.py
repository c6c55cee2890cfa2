"""Learning-rate schedules."""

from __future__ import annotations

import golden_files as golden
import pytest
import torch

from training.schedulers import create_scheduler


def rates(epochs: int, **flags: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = create_scheduler(optimizer, **flags)
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
    found = rates(len(expected) - 1, policy="linear", n_epochs=n_epochs, n_epochs_decay=n_epochs_decay,
                  decay_epochs=50, first_epoch=first)
    assert found == pytest.approx(expected, abs=1e-6)


def test_step_policy_divides_by_ten() -> None:
    found = rates(4, policy="step", n_epochs=9, n_epochs_decay=0, decay_epochs=2)
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_policy_ends_at_zero() -> None:
    assert rates(6, policy="cosine", n_epochs=6, n_epochs_decay=0, decay_epochs=1)[-1] == pytest.approx(0)


def test_unknown_policy_is_an_error_that_lists_the_names() -> None:
    with pytest.raises(ValueError, match="linear, step, plateau, cosine"):
        rates(1, policy="triangle", n_epochs=1, n_epochs_decay=0, decay_epochs=1)
