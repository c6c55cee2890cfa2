"""Convolutions to few channels, which a CPU computes row by row of their kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.networks import blocks
from models.networks.blocks import FewOutputsConv2d


def gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output, and the first and second derivatives of its squares."""
    x = x.detach().requires_grad_()
    y = layer(x)
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(torch.stack([of.square().sum() for of in first]).sum(), inputs)
    return [y.detach(), *(of.detach() for of in first), *second]


@pytest.mark.parametrize(("outputs", "kernel", "padding"), [(3, 7, 0), (1, 4, 1), (2, (3, 5), (0, 2))])
def test_few_outputs_are_those_of_the_convolution(
    monkeypatch: pytest.MonkeyPatch, outputs: int, kernel: int | tuple[int, int], padding: int | tuple[int, int]
) -> None:
    layer = FewOutputsConv2d(8, outputs, kernel, padding=padding)
    plain = nn.Conv2d(8, outputs, kernel, padding=padding).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 11, 9)
    expected = gradients(plain, x.double())
    shapes, convolution = list[tuple[int, ...]](), blocks.F.conv2d

    def noted(x: Tensor, weight: Tensor, **geometry: object) -> Tensor:
        shapes.append(tuple(weight.shape))
        return convolution(x, weight, **geometry)

    monkeypatch.setattr(blocks.F, "conv2d", noted)
    found = gradients(layer, x.contiguous(memory_format=torch.channels_last))
    height, width = layer.kernel_size
    assert shapes == [(height * outputs, 8, 1, width)]
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for of, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(of.double(), exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())
