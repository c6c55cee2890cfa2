"""Instance normalisation, activation and padding of a GPU's maps in one kernel each way, see `norm_kernels`.

torch needs one to four kernels for each of them, and copies for batches whose channels are last.
"""

import importlib.util
import warnings
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PARTS = 64
"""Parts of a large map, each computed by programs of its own."""
LARGE = 4096
"""Positions of a map beyond which it is computed in parts, by one kernel more."""
BLOCK = 4096
"""Values that a program has in hand."""
MOST = 2**30
"""Values of an image's maps, beyond which the kernels, which count in 32 bits, leave them to torch."""


class Work(NamedTuple):
    """The operations on a map, in this order."""

    eps: float | None = None
    """Normalise each channel of each image, with this added to the variance; None: do not."""
    slope: float = 1.0
    """Factor of negative values: 0 for a ReLU, 1 for no activation. After a normalisation only."""
    border: int = 0
    """Pixels to add at each side."""
    repeat: bool = False
    """Repeat the outermost pixel, instead of mirroring."""


def can_fuse(x: Tensor) -> bool:
    """Check whether the kernels take a map [B, C, H, W]: in training on a GPU, channels last, where Triton works."""
    return (x.device.type == "cuda" and torch.is_grad_enabled() and not torch.compiler.is_compiling()
            and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and x.dim() == 4
            and 0 < x.numel() < MOST * len(x)
            and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
            and x.device.index == torch.cuda.current_device() and triton_works(x.device, x.dtype))


@cache
def triton_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Try the kernels on a small map: Triton compiles them at their first use, which fails in many places.

    It comes with torch for Linux, and needs a C compiler, the headers of Python, a folder that it may write to
    (``~/.triton``) and a GPU for which it can compile this type. If it fails, a warning says why.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    x, work = _last(torch.zeros(1, 8, 4, 4, dtype=dtype, device=device)), Work(1e-5)
    try:
        for _ in range(2):  # the second time, the kernels are compiled
            y, statistics = forward(x, None, work)
            backward(x, y, None, statistics, work)
    except Exception as error:  # its compilers and drivers raise errors of many kinds
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"Triton does not work on {device} for {dtype} ({type(error).__name__}: {reason}); "
                      "normalisation, activation and padding take several kernels each, which is slower", stacklevel=2)
        return False
    return True


def can_pad(x: Tensor, border: int, *, repeat: bool) -> bool:
    """Check whether the kernels pad [B, C, H, W] so: no pixel may be mirrored at two sides, nor repeated further."""
    return border == 1 if repeat else min(x.shape[2:]) >= 2 * border + 2


def normalize(x: Tensor, work: Work, residual: Tensor | None = None) -> Tensor:
    """Normalise maps for which `can_fuse` and `can_pad` hold, activate, and pad them or add a residual.

    Args:
        x: [B, C, H, W].
        work: with ``eps``.
        residual: of the same shape and type; only without ``border``.

    Returns:
        [B, C, H + 2 * border, W + 2 * border], channels last. Second derivatives exist.
    """
    output: Tensor = _Normalize.apply(x, residual, work)
    return output


def pad(x: Tensor, border: int, *, repeat: bool = False) -> tuple[Tensor, Tensor]:
    """Pad maps for which `can_fuse` and `can_pad` hold.

    Returns:
        The padded maps, and ``x``: where that is used beside them, the two gradients are added in the same kernel.
    """
    padded, same = _Pad.apply(x, Work(border=border, repeat=repeat))
    return padded, same


def plain(x: Tensor, work: Work, residual: Tensor | None = None) -> Tensor:
    """Compute the same by functions of torch, on any device."""
    if work.eps is not None:
        centred = x - x.mean((2, 3), keepdim=True)
        x = centred * (centred.square().mean((2, 3), keepdim=True) + work.eps).rsqrt()
    x = x if work.slope == 1 else F.leaky_relu(x, work.slope)
    x = x if residual is None else x + residual
    mode = "replicate" if work.repeat else "reflect"
    return F.pad(x, 4 * (work.border,), mode=mode) if work.border else x


class _Normalize(torch.autograd.Function):
    """See `normalize`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, work: Work) -> Tensor:
        y, statistics = forward(x, residual, work)
        ctx.save_for_backward(x, statistics)
        ctx.work, ctx.has_residual = work, residual is not None
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, statistics = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is going to be differentiated itself, by a gradient penalty
            (of_x,) = torch.autograd.grad(plain(x.float(), ctx.work), x, gradient.float(), create_graph=True)
        else:
            of_x = backward(x, gradient, None, statistics, ctx.work)
        return of_x, gradient if ctx.has_residual else None, None


class _Pad(torch.autograd.Function):
    """See `pad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, work: Work) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.like, ctx.work = x.shape, work
        return forward(x, None, work)[0], x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, more: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return more, None
        like = torch.empty(ctx.like, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
        if torch.is_grad_enabled():
            x = torch.zeros_like(like, requires_grad=True)
            (of_x,) = torch.autograd.grad(plain(x, ctx.work), x, gradient, create_graph=True)
            return of_x if more is None else of_x + more, None
        return backward(like, gradient, more, None, ctx.work), None


def forward(x: Tensor, residual: Tensor | None, work: Work) -> tuple[Tensor, Tensor]:
    """Compute `normalize`, or without ``eps`` only `pad`.

    Returns:
        The output, and the means and inverse deviations of its input, [B, 2, C].
    """
    batch, channels, height, width = x.shape
    eps, slope, border, repeat = work
    norm, active = eps is not None, slope != 1
    y = _empty(x, height + 2 * border, width + 2 * border)
    parts, lanes, block, grid = _division(x, norm=norm)
    statistics = moments = x
    if norm:
        statistics = torch.empty(batch, 2, channels, dtype=torch.float32, device=x.device)
        if parts > 1:
            moments = torch.empty(batch, 2, parts, channels, dtype=torch.float32, device=x.device)
            launch("moments_kernel", grid, (x, moments), (height * width, channels), (parts, lanes, block))
    launch("forward_kernel", grid, (x, x if residual is None else _last(residual), y, statistics, moments),
            (height, width, channels, eps or 0.0, slope),
            (norm, residual is not None, active, border, repeat, parts, lanes, block))
    return y, statistics


def backward(
    x: Tensor, gradient: Tensor, more: Tensor | None, statistics: Tensor | None, work: Work
) -> Tensor:
    """Compute the gradient of ``x``; without ``statistics``, that of its padding, and ``more`` added."""
    batch, channels, height, width = x.shape
    _, slope, border, repeat = work
    norm, active, sums = statistics is not None, slope != 1, x
    dx, gradient, statistics = _empty(x, height, width), _last(gradient), x if statistics is None else statistics
    parts, lanes, block, grid = _division(x, norm=norm)
    sizes = (height, width, channels, slope)
    if norm and parts > 1:
        sums = torch.empty(batch, 2, parts, channels, dtype=torch.float32, device=x.device)
        launch("sums_kernel", grid, (x, gradient, statistics, sums), sizes,
                (active, border, repeat, parts, lanes, block))
    launch("backward_kernel", grid, (x, gradient, x if more is None else _last(more), dx, statistics, sums), sizes,
            (norm, more is not None, active, border, repeat, parts, lanes, block))
    return dx


_compiled: dict[tuple[object, ...], Any] = {}
"""Kernels by the arguments of their compilation: a look-up here takes the host a third of Triton's time."""


def launch(name: str, grid: tuple[int, int, int], tensors: tuple[Tensor, ...], numbers: tuple[float, ...],
            constants: tuple[int, ...]) -> None:
    """Run one of the `norm_kernels`."""
    from . import norm_kernels  # noqa: PLC0415 - Triton is not everywhere

    first = tensors[0]
    key = (name, first.device.index, first.dtype, numbers, constants)
    aligned = not any(of.data_ptr() % 16 for of in tensors)
    if aligned and (kernel := _compiled.get(key)) is not None:
        kernel[grid](*tensors, *numbers, *constants)
        return
    kernel = getattr(norm_kernels, name)[grid](*tensors, *numbers, *constants)
    if aligned and norm_kernels.REUSABLE:
        _compiled[key] = kernel


def _division(x: Tensor, *, norm: bool) -> tuple[int, int, int, tuple[int, int, int]]:
    """Divide the work: parts of a map, positions and channels of a block, and the grid of programs.

    A map that one program normalises has few channels in a block, so that there are many programs: 32 bytes, which is
    what a GPU reads at once.
    """
    batch, channels, height, width = x.shape
    parts = PARTS if not norm or height * width > LARGE else 1
    block = min(64, 1 << (channels - 1).bit_length()) if parts > 1 else 32 // x.element_size()
    return parts, BLOCK // block, block, (batch, -(-channels // block), parts)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _empty(x: Tensor, height: int, width: int) -> Tensor:
    return torch.empty((x.shape[0], x.shape[1], height, width), dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)
