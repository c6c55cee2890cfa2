from __future__ import annotations

import math

import pytest
import torch

from training.meter import LossMeter


def test_means_are_over_the_steps_since_the_last_reading():
    meter = LossMeter()
    for value in (1.0, 2.0, 6.0):
        meter.add({"G": torch.tensor(value)})
    assert meter.means() == {"G": 3.0}
    assert meter.means() == {}
    meter.add({"G": torch.tensor(5.0)})
    assert meter.means() == {"G": 5.0}


def test_a_loss_that_is_absent_in_some_steps_is_averaged_over_its_own():
    meter = LossMeter()
    meter.add({"G": torch.tensor(1.0)})
    meter.add({"G": torch.tensor(3.0), "D": torch.tensor([4.0])})
    assert meter.means() == {"G": 2.0, "D": 4.0}


def test_later_changes_of_a_loss_in_place_do_not_reach_the_meter():
    meter = LossMeter()
    loss = torch.tensor(1.0)
    meter.add({"G": loss})
    loss.fill_(100.0)
    assert meter.means() == {"G": 1.0}


def test_the_graph_of_a_loss_is_released():
    meter = LossMeter()
    weight = torch.ones(1, requires_grad=True)
    meter.add({"G": (weight * 2).sum()})
    assert not any(total.requires_grad for total in meter._sums.values())


def test_half_precision_losses_are_summed_in_full_precision():
    meter = LossMeter()
    for _ in range(1000):
        meter.add({"G": torch.tensor(1.0, dtype=torch.bfloat16)})
    assert meter.means()["G"] == pytest.approx(1.0)


def test_a_loss_that_is_not_finite_shows():
    meter = LossMeter()
    meter.add({"G": torch.tensor(math.nan)})
    meter.add({"G": torch.tensor(1.0)})
    assert math.isnan(meter.means()["G"])


@pytest.mark.parametrize("value", [math.nan, math.inf, 2.0])
def test_a_step_that_was_left_out_does_not_count(value):
    meter = LossMeter()
    for loss, left_out in ((1.0, 0.0), (value, 1.0), (3.0, 0.0)):
        meter.add({"G": torch.tensor(loss)}, torch.tensor(left_out))
    assert meter.means() == {"G": 2.0}
    meter.add({"G": torch.tensor(value)}, torch.tensor(1.0))
    assert math.isnan(meter.means()["G"]), "no step counts"


def test_adding_never_reads_a_value():
    meter = LossMeter()
    meter.add({"G": torch.ones((), device="meta")})  # a tensor without values
    meter.add({"G": torch.ones((), device="meta")})
    with pytest.raises((RuntimeError, NotImplementedError)):
        meter.means()


def test_a_meter_that_is_loaded_goes_on_with_the_same_sums():
    losses = [{name: torch.rand(()) for name in ("G", "D")} for _ in range(20)]
    whole, first, second = LossMeter(), LossMeter(), LossMeter()
    for step in losses:
        whole.add(step)
    for step in losses[:9]:
        first.add(step)
    second.load_state_dict(first.state_dict())
    for step in losses[9:]:
        second.add(step)
    assert second.means() == whole.means()
