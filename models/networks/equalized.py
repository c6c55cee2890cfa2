"""Layers of StyleGAN2 (Karras et al., CVPR 2020): equalised learning rates, blurred resampling, noise.

No normalisation keeps activations in range. Weights are drawn from N(0, 1) and scaled by 1 / sqrt(fan in) when used,
which also makes Adam's steps alike for all layers; activations and sums are divided by what they add to the variance.
Initialisation by `--init_type` would undo this, so it does not change these layers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import blur


class EqualConv2d(nn.Module):
    """A convolution of scaled weights: [B, inputs, H, W] -> [B, outputs, h, w]."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(inputs * kernel_size**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """A linear layer of scaled weights, with `leaky_relu` if ``activated``: [B, inputs] -> [B, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, activated: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias)
        return leaky_relu(x) if self.activated else x


def leaky_relu(x: Tensor) -> Tensor:
    """Apply a leaky ReLU of slope 0.2, times sqrt(2), which about keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class BiasedLeakyReLU(nn.Module):
    """Add a bias a channel, then `leaky_relu`: [B, channels, H, W] -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x + self.bias)


class Blur(nn.Module):
    """Blur with [1, 3, 3, 1] in both directions; the border is padded with zeros.

    Args:
        padding: rows and columns added on each side, of which the filter takes 3 away in all.
        stride: keep one pixel in ``stride``, along each side.
        gain: factor; 4 makes up for the zeros between pixels of a doubled map.
    """

    kernel: Tensor  # [4, 4], a buffer of published state dicts

    def __init__(self, padding: int, *, stride: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", gain * torch.outer(taps, taps) / taps.sum() ** 2)
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.expand(x.shape[1], 1, 4, 4)
        return blur(F.conv2d, x, kernel, padding=self.padding, stride=self.stride)


def conv_layer(inputs: int, outputs: int, kernel_size: int, *, halve: bool = False) -> nn.Sequential:
    """Build a convolution that keeps the size, or halves it (odd sides are rounded down), and a biased leaky ReLU."""
    layers: list[nn.Module] = [EqualConv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)]
    if halve:
        layers = [Blur(2), EqualConv2d(inputs, outputs, kernel_size, stride=2)]
    return nn.Sequential(*layers, BiasedLeakyReLU(outputs))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [B, inputs, H, W] -> [B, outputs, H, W], or half that size."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool = False) -> None:
        super().__init__()
        self.conv1 = conv_layer(inputs, inputs, 3)
        self.conv2 = conv_layer(inputs, outputs, 3, halve=halve)
        self.skip: nn.Module = nn.Identity()
        if halve:
            self.skip = nn.Sequential(Blur(1, stride=2), EqualConv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)
        return output


class DemodulatedUpConv2d(nn.Module):
    """Double both sides by transposed convolution and blur: [B, inputs, H, W] -> [B, outputs, 2H, 2W].

    This is StyleGAN2's modulated convolution without a style: the weights of each output have length 1.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, 3, 3))  # one image's, as published
        self.scale = 1 / math.sqrt(inputs * 9)
        self.blur = Blur(1, gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight[0] * self.scale
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        output: Tensor = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        return output


class Noise(nn.Module):
    """Add white noise of a learned strength, the same for all channels: [B, C, H, W] -> the same shape.

    Only in training, as dropout. Without ``inject`` never; the strength then is a constant buffer.
    """

    weight: Tensor  # [1]

    def __init__(self, *, inject: bool) -> None:
        super().__init__()
        if inject:
            self.weight = nn.Parameter(torch.zeros(1))
        else:
            self.register_buffer("weight", torch.zeros(1))
        self.inject = inject

    def forward(self, x: Tensor) -> Tensor:
        if not (self.inject and self.training):
            return x
        return x + self.weight * torch.randn(len(x), 1, *x.shape[2:], dtype=x.dtype, device=x.device)


class DoublingLayer(nn.Module):
    """Upsampling convolution, noise, biased leaky ReLU: [B, inputs, H, W] -> [B, outputs, 2H, 2W]."""

    def __init__(self, inputs: int, outputs: int, *, noise: bool) -> None:
        super().__init__()
        self.conv = DemodulatedUpConv2d(inputs, outputs)
        self.noise = Noise(inject=noise)
        self.activate = BiasedLeakyReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.activate(self.noise(self.conv(x)))
        return output


class MinibatchDeviation(nn.Module):
    """Append how much images differ, as one more channel: [B, C, H, W] -> [B, C + 1, H, W].

    Of each group of 4 successive images (or 2 or 1, so that groups are equal), the standard deviation of every
    feature, averaged over all of them. A discriminator sees by it that a generator makes one image again and
    again. Source: Karras et al., 'Progressive growing of GANs', ICLR 2018, section 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        groups = x.reshape(-1, math.gcd(count, 4), channels, height, width)
        deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # [groups]
        deviation = deviation.repeat_interleave(groups.shape[1]).view(-1, 1, 1, 1)
        return torch.cat([x, deviation.to(x.dtype).expand(-1, 1, height, width)], dim=1)
