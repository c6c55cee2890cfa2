"""3x3 convolutions by Winograd's algorithm."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

from models.networks.resnet import ResnetBlock
from spatial_correlative import VGG16Features, winograd
from spatial_correlative.winograd import WinogradConv2d

needs_avx = pytest.mark.skipif(not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
                               reason="other CPUs compute plain convolutions")


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the algorithm for small maps instead of large ones."""
    for name, value in (("CHANNELS", 4), ("POSITIONS", 8), ("ELEMENTS", 512)):
        monkeypatch.setattr(winograd, name, value)


@pytest.fixture
def convolved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the input channels of each convolution that uses the algorithm."""
    channels, convolve = list[int](), winograd.convolve

    def noted(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        channels.append(x.shape[1])
        return convolve(x, weight, bias, padding)

    monkeypatch.setattr(winograd, "convolve", noted)
    return channels


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1)])
def test_equals_the_definition_with_all_derivatives(monkeypatch: pytest.MonkeyPatch, padding: tuple[int, int]) -> None:
    for name, matrix in (("OF_INPUT", torch.linalg.inv(winograd._powers(winograd.TILE)).T),
                         ("OF_WEIGHT", winograd._powers(winograd.TAPS)),
                         ("TO_OUTPUT", winograd._powers(winograd.OUTPUTS).T)):
        monkeypatch.setattr(winograd, name, matrix)
    x = last(torch.randn(2, 3, 5, 14 - 2 * padding[1], dtype=torch.float64)).requires_grad_()
    weight, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 3, 3, 3), (4,)))
    results = []
    for y in (winograd.convolve(x, weight, bias, padding), F.conv2d(x, weight, bias, padding=padding)):
        first = torch.autograd.grad(y.square().sum(), [x, weight, bias], create_graph=True)
        squares = torch.stack([of.square().sum() for of in first]).sum()
        results.append([y, *first, *torch.autograd.grad(squares, [x, weight, bias])])
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-9)
    frozen = [torch.autograd.grad(y.square().sum(), x) for y in (
        winograd.convolve(x, weight.detach(), None, padding), F.conv2d(x, weight.detach(), padding=padding))]
    torch.testing.assert_close(*frozen, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("flat", [False, True], ids=["random", "flat"])
def test_is_nearly_as_exact_as_the_definition(flat: bool) -> None:
    x = last(torch.randn(1, 128, 34, 34).relu())
    x = last(x[:, :, :1, :1].expand_as(x)) if flat else x
    weight = torch.randn(128, 128, 3, 3)
    exact = F.conv2d(x.double(), weight.double())
    error, plain = ((y - exact).square().mean().sqrt()
                    for y in (winograd.convolve(x, weight, None, (0, 0)), F.conv2d(x, weight)))
    assert error < 3 * plain
    if flat:  # normalisation divides by the deviation, so a flat map must stay one
        y = winograd.convolve(x, weight, None, (0, 0))
        assert y.std((2, 3)).max() < 1e-6 * exact.abs().max()


@needs_avx
@pytest.mark.usefixtures("small")
def test_a_relu_that_works_in_place_may_follow(convolved: list[int]) -> None:
    layer, x = WinogradConv2d(4, 5, 3, padding=1), last(torch.randn(1, 4, 6, 8))
    y = layer(x)
    assert convolved == [4]
    assert not y._is_view()
    torch.testing.assert_close(y, F.conv2d(x, layer.weight, layer.bias, padding=1))
    F.relu(y, inplace=True).sum().backward()
    expected = torch.autograd.grad(F.conv2d(x, layer.weight, layer.bias, padding=1).relu().sum(), layer.weight)
    torch.testing.assert_close(layer.weight.grad, *expected, rtol=1e-4, atol=1e-4)


@needs_avx
def test_generators_and_vgg_use_it(convolved: list[int]) -> None:
    ResnetBlock(128, norm="instance", dropout=False)(last(torch.randn(1, 128, 32, 32)))
    assert convolved == [128, 128]
    ResnetBlock(128, norm="none", dropout=False)(last(torch.randn(1, 128, 32, 32)))
    assert convolved == 4 * [128]
    VGG16Features(["relu2_2"], "random")(torch.randn(1, 3, 64, 64))
    assert convolved == 5 * [128]


@needs_avx
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("change", [
    Tensor.contiguous, lambda x: x[..., 1:], Tensor.double, lambda x: x.bfloat16(), lambda x: x[:, :, :3, :6],
    lambda x: x.repeat(1, 1, 5, 3), lambda x: x[:, :3], lambda x: x[0]],
    ids=["layout", "width", "float64", "bf16", "small", "large", "channels", "single"])
def test_other_images_are_convolved_by_definition(convolved: list[int], change: Callable[[Tensor], Tensor]) -> None:
    x = last(torch.randn(1, 4, 6, 10))
    WinogradConv2d(4, 5, 3)(x)
    assert convolved == [4]
    x = change(x)
    x = x if change is Tensor.contiguous or x.dim() == 3 else last(x)
    WinogradConv2d(x.shape[-3], 5, 3).to(x.dtype)(x)
    assert convolved == [4]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("layer", [
    WinogradConv2d(4, 4, 4, padding=1), WinogradConv2d(4, 4, 3, stride=2, padding=1),
    WinogradConv2d(4, 4, 3, groups=2, padding=1), WinogradConv2d(4, 4, 3, dilation=2, padding=2),
    WinogradConv2d(4, 4, 3, padding=1, padding_mode="reflect"), WinogradConv2d(4, 4, 3, padding="same")],
    ids=["kernel", "stride", "groups", "dilation", "reflect", "same"])
def test_other_convolutions_are_by_definition(convolved: list[int], layer: nn.Module) -> None:
    layer(last(torch.randn(1, 4, 9, 9)))
    layer(last(torch.randn(1, 4, 8, 8)))
    assert not convolved


@needs_avx
@pytest.mark.usefixtures("small")
def test_autocast_decides_the_precision(convolved: list[int]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert WinogradConv2d(4, 5, 3)(last(torch.randn(1, 4, 6, 10))).dtype == torch.bfloat16
    assert not convolved


def forward_mode(layer: nn.Module, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x))).tangent
        assert tangent is not None
        return tangent


def traced(layer: nn.Module, x: Tensor) -> Tensor:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, x, check_trace=False), file)
    file.seek(0)
    output: Tensor = torch.jit.load(file)(x[..., 1:])  # the graph takes images of other sizes
    return output


def faked(layer: nn.Module, x: Tensor) -> Tensor:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = torch.func.functional_call(layer, {name: mode.from_tensor(of) for name, of in layer.named_parameters()},
                                       mode.from_tensor(x))
    return torch.zeros(y.shape)


@needs_avx
@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("transform", [
    lambda layer, x: torch.func.grad(lambda of: layer(of).square().sum())(x),
    lambda layer, x: torch.func.vmap(layer)(x[None]),
    lambda layer, x: torch.func.jvp(layer, (x,), (x,))[1],
    forward_mode, traced, lambda layer, x: torch.fx.symbolic_trace(nn.Sequential(layer))(x), faked],
    ids=["grad", "vmap", "jvp", "forward_ad", "trace", "fx", "fake"])
def test_transforms_are_of_the_definition(
    convolved: list[int], transform: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    layer, plain, x = WinogradConv2d(4, 5, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1), last(torch.randn(1, 4, 6, 8))
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(transform(layer, x), transform(plain, x))
    assert not convolved


def imported() -> ModuleType:
    spec = spec_from_file_location("winograd_again", winograd.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_can_be_imported_in_any_context() -> None:
    with torch.device("meta"), torch.inference_mode():
        module = imported()
    for matrix in (module.OF_INPUT, module.OF_WEIGHT, module.TO_OUTPUT):
        assert (matrix.device.type, matrix.is_inference()) == ("cpu", False)
