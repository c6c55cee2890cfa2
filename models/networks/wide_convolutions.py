"""Gradients of the weights of wide convolutions on a CPU, computed in strips of the image.

For one image in float32, oneDNN's code for channels last takes 1.5 times as long for the gradient of such weights as
for the convolution. For a batch of low images it takes a sixth less than that, and strips of an image are such a batch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 8
"""Height of a strip of the output."""
CHANNELS = 256
"""Least number of channels of input and output."""


def gains(x: Tensor, weight: Tensor) -> bool:
    """Check whether `convolve` is faster than a plain convolution of [1, C, H, W] without padding and stride."""
    if torch.compiler.is_compiling():  # first: what is asked of an image would hold for all images of an export
        return False
    return (x.device.type == "cpu" and len(x) == 1 and x.dtype == weight.dtype == torch.float32
            and min(weight.shape[:2]) >= CHANNELS and (x.shape[2] - weight.shape[2] + 1) % ROWS == 0
            and x.is_contiguous(memory_format=torch.channels_last)
            and torch.is_grad_enabled() and weight.requires_grad
            and not torch.is_autocast_enabled("cpu"))


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Compute ``F.conv2d(x, weight)`` where it `gains`. Second derivatives exist."""
    output: Tensor = _Convolution.apply(x, weight)
    return output


class _Convolution(torch.autograd.Function):
    """One image [1, C, H, W] and weights [O, C, K, K] to [1, O, H - K + 1, W - K + 1]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is going to be differentiated itself
            of_weight = _gradients(gradient, x, weight, of_x=False)
            return _gradients(gradient, x, weight, of_x=True) if ctx.needs_input_grad[0] else None, of_weight
        of_x = _gradients(gradient, x, weight, of_x=True) if ctx.needs_input_grad[0] else None
        high, count = ROWS + weight.shape[2] - 1, gradient.shape[2] // ROWS
        strips = torch.cat([x[:, :, ROWS * number : ROWS * number + high] for number in range(count)])
        positions = gradient.permute(0, 2, 3, 1)  # where channels are last, its strips are a batch without a copy
        gradients = positions.reshape(count, ROWS, *positions.shape[2:]).permute(0, 3, 1, 2)
        return of_x, _gradients(gradients, strips, weight, of_x=False)


def _gradients(gradient: Tensor, x: Tensor, weight: Tensor, *, of_x: bool) -> Tensor:
    """Compute the gradient of a convolution's input or weights."""
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [of_x, not of_x, False])
    return found[0] if of_x else found[1]
