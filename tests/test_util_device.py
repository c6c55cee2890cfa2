"""The device that --gpu_ids chooses."""

from __future__ import annotations

import pytest
import torch

from util.device import choose_device


@pytest.mark.parametrize(("gpu_ids", "index"), [("auto", 0), ("0", 0), ("2", 2)])
def test_the_chosen_gpu_is_the_current_one(monkeypatch: pytest.MonkeyPatch, gpu_ids: str, index: int) -> None:
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_device(gpu_ids) == torch.device("cuda", index)
    assert chosen == [index]


def test_the_cpu_needs_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("CUDA was started")

    for name in ("is_available", "device_count", "set_device"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    assert choose_device("-1") == torch.device("cpu")
