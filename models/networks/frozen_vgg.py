"""VGG16's features of images beside others that need no gradient, in one pass: half the kernels of two passes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spatial_correlative.vgg import VGG16Features


def features_beside(images: Tensor, beside: Tensor, network: VGG16Features, wanted: Sequence[int]
                    ) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the features of two batches.

    Args:
        images, beside: [B, 3, H, W] in [-1, 1]; gradients reach only ``images``, without second derivatives.
        network: with frozen weights.
        wanted: numbers of its ReLUs.

    Returns:
        The outputs of the wanted ReLUs of each batch.
    """
    outputs = _Features.apply(images, beside, network, wanted)
    return list(outputs[: len(wanted)]), list(outputs[len(wanted):])


class _Features(torch.autograd.Function):
    """See `features_beside`."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, beside: Tensor, network: VGG16Features, wanted: Sequence[int]
                ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        x = torch.addcmul(network.shift, torch.cat([images, beside]), network.scale)
        count, ctx.scale, ctx.wanted = len(images), network.scale, wanted
        steps: list[tuple[str, Tensor, Any]] = []  # kind of layer, and what its backward pass needs of the images
        ctx.steps, found = steps, list[Tensor]()
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                x = x.to(layer.weight.dtype)
                steps.append(("convolution", x[:count], layer.weight))  # in half precision a copy, for a while
                x = layer(x)
            elif isinstance(layer, nn.ReLU):
                x = x.relu_()
                steps.append(("relu", x[:count], len(found)))
                found.append(x)
            else:
                y, indices = F.max_pool2d(x, 2, return_indices=True)
                steps.append(("pool", x[:count], indices[:count]))
                x = y
        outputs = [found[number] for number in wanted]
        others = [of[count:] for of in outputs]
        ctx.mark_non_differentiable(*others)
        return *(of[:count] for of in outputs), *others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        of_layer = dict(zip(ctx.wanted, gradients, strict=False))
        gradient: Tensor | None = None
        aten = torch.ops.aten
        for kind, x, more in reversed(ctx.steps):
            if kind == "relu" and (given := of_layer.get(more)) is not None:
                gradient = given if gradient is None else gradient + given
            if gradient is None:
                continue
            if kind == "relu":
                gradient = aten.threshold_backward(gradient, x, 0)
            elif kind == "pool":
                gradient = aten.max_pool2d_with_indices_backward(
                    gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], False, more)
            else:
                gradient = aten.convolution_backward(
                    gradient, x, more, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False])[0]
        return (None if gradient is None else gradient * ctx.scale, *3 * (None,))
