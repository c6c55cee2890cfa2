"""Mean 0 and variance 1 for maps whose channels are last, on a CPU.

torch's batch normalisation adds up all positions of this layout one after the other in float32. On maps that are mostly
flat, as those of drawings are, its output is wrong by up to 1e-2 and its gradient by 1e-2 of its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

AREA = (2, 3)
STRIP = 2**18  # elements a thread, so that what is computed from them stays in its cache


def standardize(x: Tensor, eps: float) -> Tensor:
    """Each channel of each image to mean 0 and variance 1: [B, C, H, W] -> the same shape, layout and precision.

    Second derivatives exist. Half precision is computed in float32.
    """
    standardized: Tensor = _Standardize.apply(x, eps)
    return standardized


class _Standardize(torch.autograd.Function):
    """The formula of `_differentiable`, with one map allocated in each direction: that takes longer than to fill it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        top = x[:, :, :(x.shape[2] + 3) // 4]
        near = top.mean(AREA, keepdim=True, dtype=exact)  # [B, C, 1, 1]: at most two deviations off, so sums are small
        total = square = torch.zeros_like(near)
        for (shifted,) in _strips(near, x):
            total = total + shifted.sum(AREA, keepdim=True)
            square = square + shifted.square_().sum(AREA, keepdim=True)
        count = x.shape[2] * x.shape[3]
        mean = total / count  # of what is left beside `near`
        scale = (square / count - mean.square() + eps).rsqrt()
        ctx.save_for_backward(x, near, mean, scale)
        ctx.eps = eps
        output, constant = torch.empty_like(x), -mean * scale
        for shifted, into in _strips(near, x, output):
            into.copy_(torch.addcmul(constant, shifted, scale, out=shifted))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, near, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is going to be differentiated itself, by a gradient penalty
            y = _differentiable(x.to(near.dtype), ctx.eps)
            return *torch.autograd.grad(y, x, gradient.to(near.dtype), create_graph=True), None
        total = product = torch.zeros_like(near)
        for shifted, of in _strips(near, x, gradient):
            total = total + of.sum(AREA, keepdim=True, dtype=near.dtype)
            product = product + shifted.mul_(of).sum(AREA, keepdim=True)
        # scale * (gradient - its mean - y * the mean of gradient * y), where y = (x - near - mean) * scale
        count = x.shape[2] * x.shape[3]
        slope = -scale**3 * (product - mean * total) / count
        constant = -scale * total / count - slope * mean
        output = torch.empty_like(x)
        for shifted, of, into in _strips(near, x, gradient, output):
            into.copy_(torch.addcmul(constant, shifted, slope, out=shifted).addcmul_(of.to(near.dtype), scale))
        return output, None


def _differentiable(x: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps), in operations of torch."""
    centred = x - x.mean(AREA, keepdim=True)
    return centred * (centred.square().mean(AREA, keepdim=True) + eps).rsqrt()


def _strips(near: Tensor, x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Some rows of ``x - near``, in memory that the next rows overwrite, and of other maps [B, C, H, W]."""
    rows = max(1, STRIP * torch.get_num_threads() * x.shape[2] // x.numel())
    shifted = torch.empty_like(x[:, :, :rows], dtype=near.dtype)
    for values, *parts in zip(*(of.split(rows, dim=2) for of in (x, *others)), strict=True):
        yield torch.sub(values, near, out=shifted[:, :, :values.shape[2]]), *parts
