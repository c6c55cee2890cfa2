"""Gradients of the weights of wide convolutions, which a CPU computes in strips."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks import wide_convolutions
from models.networks.blocks import UnbiasedConv2d


def derivatives(x: Tensor, weight: Tensor, layer: UnbiasedConv2d | None = None) -> list[Tensor]:
    """Return the output, and the first and second derivatives of its squares."""
    y = F.conv2d(x, weight) if layer is None else layer(x)
    first = torch.autograd.grad(y.square().sum(), [x, weight], create_graph=True)
    second = torch.autograd.grad(torch.stack([of.square().sum() for of in first]).sum(), [x, weight])
    plain = torch.autograd.grad((F.conv2d(x, weight) if layer is None else layer(x)).square().sum(), [x, weight])
    return [y, *first, *second, *plain]


def test_derivatives_are_those_of_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide_convolutions, "CHANNELS", 4)
    layer = UnbiasedConv2d(4, 5, 3)
    x = torch.randn(1, 4, 26, 11).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = derivatives(x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_())
    batches, gradients = list[int](), wide_convolutions._gradients

    def noted(gradient: Tensor, x: Tensor, weight: Tensor, *, of_x: bool) -> Tensor:
        batches.append(len(x))
        return gradients(gradient, x, weight, of_x=of_x)

    monkeypatch.setattr(wide_convolutions, "_gradients", noted)
    found = derivatives(x, layer.weight, layer)
    assert 3 in batches  # 24 rows of output
    for of, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(of.double(), exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("change", [
    lambda x, layer: x.contiguous(), lambda x, layer: x[:, :, 1:], lambda x, layer: x.requires_grad_(False).double(),
    lambda x, layer: layer.requires_grad_(False) and x], ids=["layout", "height", "precision", "frozen"])
def test_other_convolutions_are_plain(monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    monkeypatch.setattr(wide_convolutions, "CHANNELS", 4)
    layer = UnbiasedConv2d(4, 5, 3)
    x = torch.randn(1, 4, 26, 11).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert wide_convolutions.gains(x, layer.weight)
    assert not wide_convolutions.gains(change(x, layer), layer.weight)  # type: ignore[operator]
