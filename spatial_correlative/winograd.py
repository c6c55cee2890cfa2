"""3x3 convolutions with half the multiplications, in float32 on a CPU.

In each row, Winograd's algorithm F(4, 3) computes four outputs from six products instead of twelve. Source: Lavin and
Gray, 'Fast algorithms for convolutional neural networks', CVPR 2016. Here it works along the width only: that keeps
the error at 1.5 times that of the definition, and the products are one convolution of oneDNN.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

OUTPUTS, TAPS = 4, 3
TILE = OUTPUTS + TAPS - 1
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)  # and infinity; these have smaller errors than the integers
CHANNELS = 128
"""Fewer channels, of the input or the output, are no gain: the transforms take longer than the products save."""
POSITIONS = 32 * 32
"""Fewer positions of an image are no gain: the weights' transform takes as long as the products save."""
ELEMENTS = 2**21
"""More elements of an image's map gain little and cost much memory: the tiles are one and a half times the map."""


def _powers(count: int) -> Tensor:
    """Return the powers 0 to ``count`` - 1 of the points, float64 [TILE, count]."""
    finite = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(count)
    return torch.cat([finite, torch.eye(count, dtype=torch.float64)[-1:]])


# Polynomials are multiplied by their values at the points; a filter is the transpose of a multiplication.
with torch.device("cpu"), torch.inference_mode(False):  # a program may import this file in another context
    OF_INPUT = torch.linalg.inv(_powers(TILE)).T.float()
    OF_WEIGHT = _powers(TAPS).float()
    TO_OUTPUT = _powers(OUTPUTS).T.float()


class WinogradConv2d(nn.Conv2d):
    """A convolution of [B, C, H, W] that uses Winograd's algorithm where it is faster, with the same keys.

    It is faster for wide 3x3 convolutions in float32, channels last, on a CPU with AVX, in eager code, if the width of
    the output is a multiple of four. Results differ from those of `nn.Conv2d` by rounding.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        if isinstance(self.padding, tuple) and self._gains(input, weight, self.padding):
            return convolve(input, weight, bias, self.padding)
        output: Tensor = super()._conv_forward(input, weight, bias)
        return output

    def _gains(self, x: Tensor, weight: Tensor, padding: tuple[int, ...]) -> bool:
        if not _are_plain(x, weight):  # first, because an export would record the checks below for all images
            return False
        if x.dim() != 4 or self.padding_mode != "zeros":
            return False
        if (self.kernel_size, self.stride, self.dilation, self.groups) != ((TAPS, TAPS), (1, 1), (1, 1), 1):
            return False
        height, width = (side + 2 * border - TAPS + 1 for side, border in zip(x.shape[2:], padding, strict=True))
        return (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
                and min(weight.shape[:2]) >= CHANNELS and width % OUTPUTS == 0
                and height * width >= POSITIONS and max(weight.shape[:2]) * height * width <= ELEMENTS
                and x.is_contiguous(memory_format=torch.channels_last) and torch.backends.mkldnn.is_available()
                and torch.backends.cpu.get_cpu_capability().startswith("AVX")
                and not torch.is_autocast_enabled("cpu"))


def _are_plain(*tensors: Tensor) -> bool:
    """Check that eager code computes with the values of tensors; graphs and transforms need operations of torch.

    These are torch.compile, torch.jit.trace, torch.fx, torch.func, forward-mode derivatives, and subclasses of tensors.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() or torch._C._are_functorch_transforms_active():
        return False
    return all(type(of) in (Tensor, nn.Parameter) and forward_ad.unpack_dual(of).tangent is None for of in tensors)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
    """Return ``F.conv2d(x, weight, bias, padding=padding)`` for 3x3 weights.

    The width of the output must be a multiple of four. The result is channels last. All derivatives exist.
    """
    with torch.no_grad():
        kernels = _kernels(weight)
    # Images one by one: larger maps are new memory from the system each time. The backward pass of a split is a copy.
    images = x.split(1) if len(x) > 1 else (x,)
    # A copy of one image, too: the result must be no view, because ReLUs that change views in place are slow.
    output = torch.cat([_convolve(image, weight, kernels, padding) for image in images])
    return output if bias is None else output.add_(bias[:, None, None])


def _kernels(weight: Tensor) -> Tensor:
    """Transform weights, [O, C, 3, 3] to [6 * O, C, 3, 1]."""
    taps = weight.permute(3, 0, 2, 1)  # [3, O, 3, C]
    return (OF_WEIGHT @ taps.flatten(1)).view(-1, *taps.shape[2:]).unsqueeze(2).permute(0, 3, 1, 2)


def _convolve(x: Tensor, weight: Tensor, kernels: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Convolve one image, [1, C, H, W] to [1, O, h, w], with weights and their transform."""
    if padding[1]:
        x = F.pad(x, (padding[1], padding[1], 0, 0))
    tiles: Tensor = _Tiles.apply(x)
    columns = tiles.flatten(3).permute(0, 3, 1, 2)  # [1, 6 * C, H, w / 4]
    products: Tensor = _Products.apply(columns, weight, kernels, padding[0])
    output: Tensor = TO_OUTPUT @ products.permute(0, 2, 3, 1).unflatten(3, (TILE, -1))
    return output.flatten(2, 3).permute(0, 3, 1, 2)


class _Products(torch.autograd.Function):
    """Columns [1, 6 * C, H, T] and weights [O, C, 3, 3] to products [1, 6 * O, h, T].

    The backward pass transforms the weights again: their transform, which has no gradient, is twice as large.
    """

    @staticmethod
    def forward(ctx: Any, columns: Tensor, weight: Tensor, kernels: Tensor, border: int) -> Tensor:
        ctx.save_for_backward(columns if ctx.needs_input_grad[1] else None, weight)
        ctx.shape, ctx.border = columns.shape, border
        return F.conv2d(columns, kernels, padding=(border, 0), groups=TILE)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        columns, weight = ctx.saved_tensors
        if columns is None:  # only its shape matters
            columns = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        of_columns, of_kernels, _ = torch.ops.aten.convolution_backward(
            gradient, columns, _kernels(weight), None, [1, 1], [ctx.border, 0], [1, 1], False, [0, 0], TILE,
            [*ctx.needs_input_grad[:2], False])
        if of_kernels is None:
            return of_columns, None, None, None
        outputs, inputs = weight.shape[:2]
        of_taps = OF_WEIGHT.T @ of_kernels.permute(0, 2, 3, 1).reshape(TILE, -1)
        return of_columns, of_taps.view(TAPS, outputs, TAPS, inputs).permute(1, 3, 2, 0), None, None


class _Tiles(torch.autograd.Function):
    """Transformed tiles of six columns, one every four: [B, C, H, W] -> [B, H, T, 6, C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        del ctx
        tiles: Tensor = OF_INPUT @ x.permute(0, 2, 3, 1).unfold(2, TILE, OUTPUTS).mT
        return tiles

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _Overlap.apply(gradient)  # type: ignore[no-any-return]


class _Overlap(torch.autograd.Function):
    """The adjoint of `_Tiles`: [B, H, T, 6, C] -> [B, C, H, W]. Autograd's own takes three times as long."""

    @staticmethod
    def forward(ctx: Any, tiles: Tensor) -> Tensor:
        del ctx
        tiles = OF_INPUT.T @ tiles
        batch, height, count, _, channels = tiles.shape
        x = tiles.new_empty(batch, height, OUTPUTS * count + TILE - OUTPUTS, channels)
        x[:, :, : OUTPUTS * count].unfold(2, OUTPUTS, OUTPUTS).mT.copy_(tiles[..., :OUTPUTS, :])
        x[:, :, OUTPUTS * count :] = 0
        x[:, :, OUTPUTS:].unfold(2, TILE - OUTPUTS, OUTPUTS).mT.add_(tiles[..., OUTPUTS:, :])
        return x.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _Tiles.apply(gradient)  # type: ignore[no-any-return]
