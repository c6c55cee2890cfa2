"""Mean 0 and variance 1 for maps whose channels are last, on a CPU.

torch's batch normalisation adds up all positions of this layout one after the other in float32. On maps that are mostly
flat, as those of drawings are, its output is wrong by up to 1e-2 and its gradient by 1e-2 of its length. Here each
column of a map is added up first, then the sums of the columns are: that is exact, and torch has fast functions for it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AREA = (2, 3)


def standardize(x: Tensor, eps: float) -> Tensor:
    """Shift and scale each channel of each image to mean 0 and variance 1: [B, C, H, W] of the same layout and type.

    Second derivatives exist. Half precision is computed in float32.
    """
    if len(x) == 1:  # the backward pass of a split copies the gradient
        return _Standardize.apply(_shift(x), eps)  # type: ignore[no-any-return]
    return torch.cat([_Standardize.apply(_shift(image), eps) for image in x.split(1)])


def _shift(x: Tensor) -> Tensor:
    """Subtract the mean of each channel's first rows. It is at most two deviations off the channel's mean, so that sums
    of the rest are small. Half precision stays: its values are rounded more coarsely than the sums.
    """
    if x.dtype in (torch.bfloat16, torch.float16):
        return x
    return x - x[:, :, :(x.shape[2] + 3) // 4].detach().mean(AREA, keepdim=True)


class _Standardize(torch.autograd.Function):
    """`_differentiable` for one image [1, C, H, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        mean, variance = _moments(x)
        ctx.save_for_backward(x, mean, variance)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is going to be differentiated itself, by a gradient penalty
            y = _differentiable(x.to(mean.dtype), ctx.eps)
            return *torch.autograd.grad(y, x, gradient.to(mean.dtype), create_graph=True), None
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        scale = (variance + ctx.eps).rsqrt()
        if x.dtype != mean.dtype:  # torch's sums are exact enough for half precision
            return torch.ops.aten.native_batch_norm_backward(
                gradient, x, None, None, None, mean, scale, True, ctx.eps, [True, False, False])[0], None
        # scale * (gradient - its mean - y * the mean of gradient * y), where y = (x - mean) * scale
        count = x.shape[2] * x.shape[3]
        product, total = _products(x, mean, gradient)
        slope = -scale**3 * product / count
        constant = -scale * total / count - slope * mean
        output = torch.addcmul(_channels(constant), x, _channels(slope))
        return output.addcmul_(gradient, _channels(scale)), None


def _differentiable(x: Tensor, eps: float) -> Tensor:
    """Compute (x - mean) / sqrt(variance + eps), in operations of torch."""
    centred = x - x.mean(AREA, keepdim=True)
    return centred * (centred.square().mean(AREA, keepdim=True) + eps).rsqrt()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and variance [C] of each channel of one image."""
    columns = _columns(x)
    unused = torch.zeros(columns.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
    mean, variance = (of.view(x.shape[3], x.shape[1])
                      for of in torch.batch_norm_update_stats(columns, unused, unused.clone(), 0.0))
    total = mean.mean(0)
    return total, (variance + (mean - total).square()).mean(0)


def _products(x: Tensor, mean: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Sum (x - mean) * gradient and the gradient over one image's positions: [C] each."""
    width, channels = x.shape[3], x.shape[1]
    one = torch.ones(width * channels, dtype=mean.dtype)
    _, product, total = torch.ops.aten.native_batch_norm_backward(
        _columns(gradient), _columns(x), one, None, None, mean.repeat(width), one, True, 0.0, [False, True, True])
    return product.view(width, channels).sum(0), total.view(width, channels).sum(0)


def _columns(x: Tensor) -> Tensor:
    """View one image [1, C, H, W] as [H, W * C] where channels are last."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[2], -1)


def _channels(x: Tensor) -> Tensor:
    return x[None, :, None, None]
