"""Layers in a row, of which a GPU computes normalisation, activation and padding together."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from . import fused
from .blocks import Downsample, InstanceNorm, ReflectionPad, Upsample

# Tuples, because torch.compile of torch 2.6 takes no unions.
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)
PADDINGS = (ReflectionPad, Downsample, Upsample)


class Chain(nn.Sequential):
    """``nn.Sequential`` with the same keys and the same results up to rounding, by fewer kernels of a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        for layers in groups(list(self)):
            x = compute(layers, x)
        return x

    def plus_input(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the output of the layers."""
        first, *others = groups(list(self))
        if fuses_padding(first[0], x) and isinstance(first[0], ReflectionPad):
            output, x = fused.pad(x, first[0].border)  # so that the two gradients of x are added by the same kernel
        else:
            output = compute(first, x)
        *others, last = others
        for layers in others:
            output = compute(layers, output)
        if isinstance(last[0], InstanceNorm) and len(last) == 1 and fused.can_fuse(output) and x.dtype == output.dtype:
            return fused.normalize(output, fused.Work(last[0].eps), x)
        return x + compute(last, output)


def groups(layers: Sequence[nn.Module], stops: Collection[int] = ()) -> list[list[nn.Module]]:
    """Group layers: a normalisation with the activation and the padding behind it, and each other layer by itself.

    Args:
        layers: layers in a row.
        stops: numbers of layers whose outputs are wanted: each ends a group.
    """
    found: list[list[nn.Module]] = []
    for number, layer in enumerate(layers):
        before = found[-1] if found and number - 1 not in stops else []
        joins = before and isinstance(before[0], InstanceNorm) and (
            (isinstance(layer, ACTIVATIONS) and len(before) == 1)
            or (isinstance(layer, PADDINGS) and not isinstance(before[-1], PADDINGS)))
        if joins:
            before.append(layer)
        else:
            found.append([layer])
    return found


def compute(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Apply one of the `groups`."""
    norm, last = layers[0], layers[-1]
    if not isinstance(norm, InstanceNorm) or len(layers) == 1 or not fused.can_fuse(x):
        for layer in layers:
            x = layer(x)
        return x
    work = fused.Work(norm.eps, slope_of(layers[1]))
    if not isinstance(last, PADDINGS):
        return fused.normalize(x, work)
    if not fuses_padding(last, x):
        output: Tensor = last(fused.normalize(x, work))
        return output
    x = fused.normalize(x, work._replace(border=last.border, repeat=isinstance(last, Upsample)))
    return x if isinstance(last, ReflectionPad) else last.blur(x)


def slope_of(layer: nn.Module) -> float:
    """Return the factor of negative values in an activation; 1 for any other layer."""
    return 0.0 if isinstance(layer, nn.ReLU) else layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 1.0


def fuses_padding(layer: nn.Module, x: Tensor) -> bool:
    """Check whether ``layer`` pads [B, C, H, W], and the kernels can do so."""
    return isinstance(layer, PADDINGS) and fused.can_fuse(x) and fused.can_pad(
        x, layer.border, repeat=isinstance(layer, Upsample))
