"""Discriminators: real-or-generated scores for patches (PatchGAN), for pixels, and at two scales."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import Downsample, FewOutputsConv2d, conv_before, norm_layer, require_sides
from .chain import Chain
from .equalized import MinibatchDeviation

Scores = Tensor | Sequence[Tensor]
"""Unbounded scores of images, or a sequence of them, one per scale."""


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al., 2017): images [B, input_nc, H, W] in [-1, 1] -> unbounded scores [B, 1, h, w].

    h = H // 2**n_layers - 2, w likewise; with ``n_layers`` = 3 and no ``antialias`` each score sees 70x70 pixels.
    Keys of the state dict are those of the published code.

    Args:
        ndf: channels of the first layer; they double up to ``8 * ndf``.
        n_layers: number of halvings.
        norm: ``instance``, ``batch`` or ``none``.
        antialias: halve by stride-1 convolution and blur-pool instead of strided convolution.

    Raises:
        UserError: in ``forward``, for a side below ``least_size`` = 3 * 2**n_layers pixels (24 for 3 layers).
    """

    def __init__(self, *, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance",
                 antialias: bool = True) -> None:
        super().__init__()
        self.least_size = _least_size(n_layers)
        self.model = patch_layers(input_nc, ndf, n_layers, norm, antialias)

    def forward(self, images: Tensor) -> Tensor:
        require_sides(images, least=self.least_size, network="the discriminator")
        scores: Tensor = self.model(images)
        return scores


class PixelDiscriminator(nn.Module):
    """Three 1x1 convolutions, each pixel judged by itself: images [B, input_nc, H, W] -> unbounded scores [B, 1, H, W].

    ``n_layers`` and ``antialias`` exist so that all discriminators are built alike, and change nothing.
    """

    least_size = 2  # one pixel cannot be normalised

    def __init__(self, *, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance",
                 antialias: bool = False) -> None:
        super().__init__()
        self.net = Chain(
            nn.Conv2d(input_nc, ndf, 1), nn.LeakyReLU(0.2, True),
            conv_before(norm, ndf, 2 * ndf, 1), norm_layer(norm, 2 * ndf), nn.LeakyReLU(0.2, True),
            nn.Conv2d(2 * ndf, 1, 1, bias=norm != "batch"),
        )

    def forward(self, images: Tensor) -> Tensor:
        require_sides(images, least=self.least_size, network="the pixel discriminator")
        scores: Tensor = self.net(images)
        return scores


class MultiScaleDiscriminator(nn.Module):
    """Two PatchGANs, the second at half the resolution with half the width.

    Images [B, input_nc, H, W] in [-1, 1] -> a list of two maps of unbounded scores, [B, 1, h, w] each. The
    published one has no blur-pooled variant, and its checkpoints no place for one: ``antialias`` changes nothing.

    Raises:
        UserError: in ``forward``, for a side below ``least_size`` = 6 * 2**n_layers - 1 pixels (47 for 3).
    """

    def __init__(self, *, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance",
                 antialias: bool = False) -> None:
        super().__init__()
        self.least_size = 2 * _least_size(n_layers) - 1
        self.model_0 = patch_layers(input_nc, ndf, n_layers, norm, antialias=False)
        self.model_1 = patch_layers(input_nc, max(1, round(ndf / 2)), n_layers, norm, antialias=False)
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        require_sides(images, least=self.least_size, network="the two-scale discriminator")
        return [self.model_0(images), self.model_1(self.halve(images))]


def patch_layers(input_nc: int, ndf: int, n_layers: int, norm: str, antialias: bool) -> Chain:
    """Build the PatchGAN's layers: ``n_layers`` halvings, one convolution more, and the score."""
    stride = 1 if antialias else 2
    layers: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, stride=stride, padding=1), nn.LeakyReLU(0.2, True)]
    channels = ndf
    for layer in range(1, n_layers + 1):
        if antialias:
            layers.append(Downsample(channels))
        before, channels = channels, ndf * min(2**layer, 8)
        last = layer == n_layers
        layers += [conv_before(norm, before, channels, 4, stride=1 if last else stride, padding=1),
                   norm_layer(norm, channels), nn.LeakyReLU(0.2, True)]
    return Chain(*layers, FewOutputsConv2d(channels, 1, 4, padding=1))


def _least_size(n_layers: int) -> int:
    """Return the least side that leaves 2 pixels to the last normalisation and 1 to the score."""
    least: int = 3 * 2**n_layers
    return least


def judge(discriminator: nn.Module, real: Tensor, fake: Tensor, *given: Tensor) -> list[Scores]:
    """Score real and generated images, in one pass if that is faster and changes nothing.

    That is so if both have one size, no layer looks beyond a single image, and the device is no CPU, whose caches
    prefer one image after the other.
    """
    beyond = any(isinstance(module, nn.BatchNorm2d | MinibatchDeviation) for module in discriminator.modules())
    if beyond or real.shape[1:] != fake.shape[1:] or real.device.type == "cpu":
        return [discriminator(real, *given), discriminator(fake, *given)]
    return judge_together(discriminator, real, fake, *given)


def judge_together(discriminator: nn.Module, real: Tensor, fake: Tensor, *given: Tensor) -> list[Scores]:
    """Score images of one size in one pass."""
    scores, sizes = discriminator(torch.cat([real, fake]), *given), [len(real), len(fake)]
    if isinstance(scores, Tensor):
        return list(scores.split(sizes))
    return [list(scales) for scales in zip(*(scale.split(sizes) for scale in scores), strict=True)]
