"""Instance normalisation of maps whose channels are last: as exact as in float64 on maps that are mostly flat."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models.networks import create_generator
from models.networks.blocks import BatchNorm, GroupNorm, InstanceNorm
from models.networks.standardize import standardize
from models.precision import store_channels_last
from util.images import load_normalized

LEVEL = 2 / 255  # of 8 bits, in [-1, 1]
DRAWINGS = Path(__file__).parents[1] / "datasets" / "lineart2color" / "testA"
SIDE = 160
NormOf = Callable[[int], nn.Module]


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def draw(kind: str, count: int = 1) -> Tensor:
    """Return maps [count, 8, SIDE, SIDE] in float32."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 8, SIDE, SIDE, generator=generator)
    levels, heights = torch.randn(2, count, 8, 1, 1, generator=generator)
    rows = torch.arange(SIDE)[:, None]
    strokes = torch.rand(count, 1, SIDE, SIDE, generator=generator) < 0.02
    return {
        "noise": noise,
        "flat, with strokes": torch.where(strokes, noise, levels),
        "striped": levels + (rows % 16 < 2) * heights + 0 * noise,
        "two halves": torch.where(rows < SIDE // 4, 100 * levels, 0.01 * noise),
        "constant": levels + 0 * noise,
        "large offset": 1000 * levels + 0.05 * noise,
    }[kind]


KINDS = ("noise", "flat, with strokes", "striped", "two halves", "constant", "large offset")


def gradient_of(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output of the normalisation for ``x``, and the gradient with respect to ``x``."""
    x = x.detach().clone().requires_grad_()
    output = InstanceNorm(x.shape[1])(x)
    output.backward(gradient)
    assert x.grad is not None
    return output.detach(), x.grad


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradient_are_those_of_float64(kind: str, count: int) -> None:
    x, gradient = draw(kind, count), 1e-3 * draw("flat, with strokes", count).flip(1)
    expected, exact = gradient_of(x.double(), gradient.double())
    output, computed = gradient_of(last(x), last(gradient))
    _, channels_first = gradient_of(x, gradient)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert computed.is_contiguous(memory_format=torch.channels_last)
    assert (output - expected).abs().max() < 0.003 * LEVEL
    assert (computed - exact).norm() < max((channels_first - exact).norm(), 3e-6 * exact.norm())


@pytest.mark.parametrize("norm_of", [BatchNorm, functools.partial(GroupNorm, 1)])
@pytest.mark.parametrize("kind", ["flat, with strokes", "striped"])
def test_other_norms_of_channels_last_are_as_exact_as_of_channels_first(kind: str, norm_of: NormOf) -> None:
    x, gradient = draw(kind, 2), 1e-3 * draw("flat, with strokes", 2).flip(1)
    results = []
    for maps, slopes in ((x.double(), gradient.double()), (last(x), last(gradient)), (x, gradient)):
        maps.requires_grad_()
        norm = norm_of(maps.shape[1]).to(maps.dtype)
        output = norm(maps)
        output.backward(slopes)
        results.append((output.detach(), maps.grad, *norm.buffers()))
    assert results[1][0].is_contiguous(memory_format=torch.channels_last)
    for exact, of_last, of_first in zip(*results, strict=True):
        assert (of_last - exact).abs().max() <= 2 * (of_first - exact).abs().max()


@pytest.mark.parametrize("name", ["2668.png", "1F504.png", "00A9.png"])
def test_a_generator_translates_drawings_as_in_float64(name: str) -> None:
    torch.manual_seed(0)
    generator = create_generator("resnet_9blocks", ngf=8)
    drawing = F.interpolate(load_normalized(DRAWINGS / name, 3)[None], (256, 256), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = generator.double()(drawing.double())
        store_channels_last(generator.float())
        output = generator(last(drawing))
    assert (output - expected).abs().max() < 0.003 * LEVEL


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 1, 3), (1, 2, 7, 1)])
def test_first_and_second_derivatives(shape: tuple[int, ...]) -> None:
    x = last(torch.randn(shape, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: standardize(x, 1e-5), x)
    assert torch.autograd.gradgradcheck(lambda x: standardize(x, 1e-5), x)


def test_a_gradient_in_another_layout_is_as_good() -> None:
    x, gradient = last(draw("noise", 2)), draw("noise", 2).flip(0)
    for same, other in zip(gradient_of(x, last(gradient)), gradient_of(x, gradient), strict=True):
        torch.testing.assert_close(other, same)


def test_half_precision_is_rounded_once() -> None:
    x, slopes = last(draw("flat, with strokes").bfloat16()), last(draw("noise").flip(1).bfloat16())
    output, gradient = gradient_of(x, slopes)
    expected, exact = gradient_of(x.double(), slopes.double())
    assert output.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected.bfloat16(), rtol=2**-7, atol=1e-6)
    torch.testing.assert_close(gradient, exact.bfloat16(), rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("count", [1, 4])
def test_other_devices_normalise_a_whole_batch_at_once(count: int) -> None:
    calls: list[str] = []

    class Recorded(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    x = last(torch.empty(count, 8, 16, 16, device="meta"))
    with Recorded():
        output = InstanceNorm(8)(x)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert sum("batch_norm" in call for call in calls) == 1
    assert sum("clone" in call or "copy" in call or "cat" in call for call in calls) == (0 if count == 1 else 2)
