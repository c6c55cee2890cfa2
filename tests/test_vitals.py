from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from training.vitals import Vitals, gradient_norms, memory

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")])]


def trained(device: str, scale: float) -> nn.Module:
    """Return a layer after a step whose loss was scaled so, if at all."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler(device, init_scale=scale, enabled=scale > 1)
    scaler.scale(layer(torch.ones(2, 4, device=device)).square().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    return layer


@pytest.mark.parametrize("device", DEVICES)
def test_gradient_norms_are_without_the_scale_of_fp16(device: str) -> None:
    norms = [gradient_norms({"G": trained(device, scale)})["G"] for scale in (1, 4096)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert norms[0] > 1


def test_a_gradient_norm_is_that_of_all_parameters_together() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[2.0, 1.0]]), torch.tensor([2.0])
    assert gradient_norms({"D": layer, "idle": nn.Linear(2, 1)}) == {"D": 3.0}


def test_speed_counts_images_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 103.0, 107.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    layer = nn.Linear(2, 1)
    vitals = Vitals({"G": layer}, {"G": torch.optim.Adam(layer.parameters(), lr=0.5)}, torch.device("cpu"), images=1000)
    values = [vitals.read(images) for images in (1010, 1010, 1030)]
    assert [value["speed/images_per_second"] for value in values] == [5, 0, 5]
    assert values[-1]["lr/G"] == 0.5


def test_memory_is_that_of_the_process_and_grows_with_it() -> None:
    (name, before), = memory(torch.device("cpu")).items()
    held = torch.ones(50_000_000)  # 0.2 GB
    assert memory(torch.device("cpu"))[name] - before > 0.15
    del held


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_of_a_gpu_is_the_peak_of_its_tensors() -> None:
    held = torch.ones(50_000_000, device="cuda")
    del held
    assert memory(torch.device("cuda"))["memory/peak_GB"] >= 0.2
