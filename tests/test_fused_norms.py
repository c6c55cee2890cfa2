"""Instance normalisation, activation and padding in one kernel: its numbers, and the layers that it stands for."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from cli import ROOT
from torch import Tensor, nn

from models import networks
from models.networks import fused
from models.networks.blocks import Downsample, InstanceNorm, ReflectionPad, Upsample
from models.networks.chain import Chain
from models.networks.resnet import ResnetBlock, ResnetGenerator

IN_TRITONS_INTERPRETER = """
import json, sys, torch
from models.networks import fused
fused.PARTS, fused.LARGE = 4, 80

def error(found, wanted):
    return ((found - wanted).abs().max() / wanted.abs().max()).item()

def last(*shape):
    return torch.randn(shape).to(kind).contiguous(memory_format=torch.channels_last)

torch.manual_seed(0)
for kind, shape, eps, slope, border, repeat, residual in json.loads(sys.argv[1]):
    kind = getattr(torch, kind)
    x, other = 3 + 2 * last(*shape), last(*shape) if residual else None
    exact = x.double().requires_grad_()
    work = fused.Work(eps, slope, border, repeat)
    wanted = fused.plain(exact, work, None if other is None else other.double())
    output, statistics = fused.forward(x, other, work)
    gradient, more = last(*wanted.shape), last(*shape) if eps is None else None
    found = fused.backward(x, gradient, more, None if eps is None else statistics, work)
    (expected,) = torch.autograd.grad(wanted, exact, gradient.double())
    print(error(output, wanted), error(found, expected if more is None else expected + more))
"""


CASES = [
    ("float32", (2, 10, 8, 9), 1e-5, 0.0, 1, False, False),  # one program a map
    ("float32", (1, 5, 8, 9), 1e-5, 0.2, 3, False, False),
    ("float32", (1, 10, 8, 7), 1e-3, 1.0, 0, False, True),
    ("float32", (1, 5, 6, 7), 1e-5, 0.0, 1, True, False),
    ("float32", (2, 3, 11, 9), 1e-5, 0.2, 1, False, False),  # a map in parts
    ("float32", (1, 3, 11, 9), 1e-5, 0.0, 1, True, False),
    ("float32", (2, 3, 5, 4), None, 1.0, 1, False, False),  # padding alone
    ("float32", (1, 3, 5, 4), None, 1.0, 1, True, False),
    ("bfloat16", (2, 3, 8, 9), 1e-5, 0.0, 1, False, False),
    ("bfloat16", (1, 3, 5, 4), None, 1.0, 1, False, False),
]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_compute_what_torch_does() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", IN_TRITONS_INTERPRETER, json.dumps(CASES)], env=environment, cwd=ROOT,
                         text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    errors = [[float(error) for error in line.split()] for line in run.stdout.splitlines()]
    assert len(errors) == len(CASES)
    for (kind, *_), pair in zip(CASES, errors, strict=True):
        assert max(pair) < (2e-6 if kind == "float32" else 1e-2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let functions of torch compute what the kernels would; return the list of their calls."""
    made: list[str] = []

    def forward(x: Tensor, residual: Tensor | None, work: fused.Work) -> tuple[Tensor, Tensor]:
        made.append("pad" if work.eps is None else "norm")
        return fused.plain(x, work, residual), x

    def backward(x: Tensor, gradient: Tensor, more: Tensor | None, statistics: Tensor | None, work: fused.Work
                 ) -> Tensor:
        assert (statistics is None) == (work.eps is None)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (of_x,) = torch.autograd.grad(fused.plain(x, work), x, gradient)
        return of_x if more is None else of_x + more

    monkeypatch.setattr(fused, "forward", forward)
    monkeypatch.setattr(fused, "backward", backward)
    monkeypatch.setattr(fused, "can_fuse", lambda x: torch.is_grad_enabled())
    return made


def layers_of(activation: nn.Module) -> list[nn.Module]:
    return [ReflectionPad(1), nn.Conv2d(3, 4, 3), InstanceNorm(4), activation, Downsample(4), InstanceNorm(4),
            activation, ReflectionPad(3), nn.Conv2d(4, 3, 7), InstanceNorm(3), ReflectionPad(1), nn.Conv2d(3, 3, 3),
            InstanceNorm(3), activation, Upsample(3), activation]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2)])
def test_a_chain_computes_what_its_layers_do(calls: list[str], activation: nn.Module) -> None:
    chain = Chain(*layers_of(activation)).double()
    x = torch.rand(2, 3, 16, 18, dtype=torch.float64, requires_grad=True)
    output = chain(x)
    assert calls == ["pad", "norm", "norm", "norm", "norm"]
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    with torch.no_grad():
        torch.testing.assert_close(output, chain(x), rtol=1e-10, atol=1e-10)
    fused_calls, fused.can_fuse = len(calls), lambda x: False  # type: ignore[assignment] # the fixture restores it
    (wanted,) = torch.autograd.grad(chain(x).square().sum(), x)
    assert len(calls) == fused_calls
    torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-10)


def test_a_residual_block_is_three_kernels_beside_its_convolutions(calls: list[str]) -> None:
    block = ResnetBlock(4, norm="instance", dropout=False).double()
    x = torch.rand(2, 4, 8, 9, dtype=torch.float64, requires_grad=True)
    output = block(x)
    assert calls == ["pad", "norm", "norm"]
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    fused.can_fuse = lambda x: False  # type: ignore[assignment]
    wanted = block(x)
    torch.testing.assert_close(output, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted.square().sum(), x)[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("layers", [(0, 2, 3, 6, 8, 12), (4, 5, 6), (0, 4, 7, 10)])
def test_layers_whose_outputs_are_wanted_are_computed(calls: list[str], layers: tuple[int, ...]) -> None:
    generator = ResnetGenerator(ngf=4, blocks=2).double()
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    found = generator(images, layers)
    assert calls
    with torch.no_grad():
        for output, wanted in zip(found, generator(images, layers), strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-9, atol=1e-9)


def test_gradients_of_chains_have_gradients(calls: list[str]) -> None:
    chain = Chain(*layers_of(nn.LeakyReLU(0.2))).double()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)

    def penalty() -> Tensor:
        (slopes,) = torch.autograd.grad(chain(x).sum(), x, create_graph=True)
        return slopes.square().sum()

    found = torch.autograd.grad(penalty(), [x, *chain.parameters()], allow_unused=True)
    assert calls
    fused.can_fuse = lambda x: False  # type: ignore[assignment]
    wanted = torch.autograd.grad(penalty(), [x, *chain.parameters()], allow_unused=True)
    largest = max(of.abs().max() for of in wanted if of is not None)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=float(1e-5 * largest))


def test_small_maps_are_padded_by_torch() -> None:
    assert fused.can_pad(torch.rand(1, 1, 4, 4), 1, repeat=False)
    assert not fused.can_pad(torch.rand(1, 1, 3, 9), 1, repeat=False)  # its middle row is mirrored at both sides
    assert not fused.can_pad(torch.rand(1, 1, 9, 9), 2, repeat=True)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Kernels that count how often they are compiled and run, in the place of those of Triton."""
    counts = SimpleNamespace(REUSABLE=True, compiled=0, run=0)

    def run_again(*arguments: object) -> None:
        counts.run += 1

    class Kernel:
        def __getitem__(self, size: tuple[int, int, int]) -> Callable[..., object]:
            def compile_and_run(*arguments: object) -> object:
                counts.compiled += 1
                counts.run += 1
                return {size: run_again}
            return compile_and_run

    counts.moments_kernel = counts.sums_kernel = counts.forward_kernel = counts.backward_kernel = Kernel()
    monkeypatch.setattr(networks, "norm_kernels", counts, raising=False)
    monkeypatch.setitem(sys.modules, "models.networks.norm_kernels", counts)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(fused, "_compiled", {})
    fused.triton_works.cache_clear()
    return counts


@pytest.mark.parametrize("reusable", [True, False])  # Triton 3.2 passes other arguments to compiled kernels
def test_triton_is_tried_once_and_compiled_kernels_are_kept_where_they_can_be(
    kernels: SimpleNamespace, reusable: bool
) -> None:
    kernels.REUSABLE = reusable
    assert fused.triton_works(torch.device("cpu"), torch.float32)
    assert fused.triton_works(torch.device("cpu"), torch.float32)
    assert (kernels.compiled, kernels.run) == (2 if reusable else 4, 4)


def test_where_triton_fails_torch_computes_and_a_warning_says_why(kernels: SimpleNamespace) -> None:
    kernels.forward_kernel = {}  # no size of a grid: a KeyError
    with pytest.warns(UserWarning, match=r"Triton does not work on cpu for torch.bfloat16 \(KeyError: "):
        assert not fused.triton_works(torch.device("cpu"), torch.bfloat16)
