"""Projected discriminator (Sauer, Chitta, Mueller, Geiger: "Projected GANs Converge Faster", NeurIPS 2021, 2111.01007).

Images are judged by their features in a frozen network, after fixed random mixing: 1x1 convolutions mix the channels of
each layer, divided by their scale. Further ones, from the deepest layer upwards, mix a layer with the enlarged deeper
one. So a discriminator on top of it cannot rely on the few features that easily distinguish real from generated images.
Each layer has a small discriminator, a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from util.errors import UserError

from .blocks import norm_layer, require_sides
from .features import VGG16, create_features, distinct_layers, feature_shapes

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_2")
"""Of VGG16: one of each resolution, and none of those that the spatially-correlative loss compares by default."""
FLAGS = {"--feature_net": "--D_feature_net", "--attn_layers": "--D_layers", "--vgg_weights": "--D_weights"}


class ProjectedDiscriminator(nn.Module):
    """Heads on mixed features: images [B, 1 or 3, H, W] in [-1, 1] -> a list of score maps [B, 1, h, w], one a layer.

    Only the heads have parameters. The state dict has them and the random mixing, but not the frozen network.

    Args:
        input_nc: channels of the images.
        ndf: channels of the first layer after mixing; they double from layer to layer, up to ``8 * ndf``.
        norm: ``instance``, ``batch`` (as published) or ``none``.
        feature_net, layers, weights: see `create_features`. Layers are ordered from the largest map to the smallest.
        size: side of training images; heads of larger maps halve more often, so that all see about the same area.

    Raises:
        UserError: images are neither grey nor colour, or the network or its weights cannot be had.
    """

    def __init__(
        self, *, input_nc: int = 3, ndf: int = 64, norm: str = "instance", feature_net: str = VGG16,
        layers: Sequence[str] = LAYERS, weights: str = "bundled", size: int = 256,
    ) -> None:
        super().__init__()
        if input_nc not in (1, 3):
            raise UserError(f"--netD projected judges single pictures of 1 or 3 channels, not of {input_nc}: choose "
                            "another --netD")
        try:
            names = distinct_layers(feature_net, layers, "--D_layers")
            shapes = feature_shapes(feature_net, names, size, size)
            self.features = frozen(create_features(feature_net, names, weights))
        except UserError as error:
            raise UserError(renamed(str(error))) from error
        if min(side for _, side, _ in shapes) == 0:
            raise UserError(f"--netD projected: images of {size} pixels have no feature at --D_layers "
                            f"{','.join(layers)}: enlarge --crop_size or choose earlier layers")
        sides = [side for _, side, _ in shapes]
        if sides != sorted(sides, reverse=True):
            raise UserError(f"--D_layers {','.join(layers)}: name them from the first to the last")
        self.least_size = 8 * -(-size // sides[-1])
        widths = [ndf * 2 ** min(number, 3) for number in range(len(names))]
        of_channels = [nn.Conv2d(channels, width, 1) for (channels, _, _), width in zip(shapes, widths, strict=True)]
        of_scales = [nn.Conv2d(below, width, 1) for width, below in pairwise(widths)]
        for mix in (*of_channels, *of_scales):
            nn.init.kaiming_normal_(mix.weight)
        for mix, scale in zip(of_channels, self._scales(size), strict=True):
            mix.weight.data /= scale
        self.mix_channels, self.mix_scales = nn.ModuleList(of_channels), nn.ModuleList(of_scales)
        for mixing in (self.mix_channels, self.mix_scales):
            frozen(mixing, saved=True)
        self.heads = nn.ModuleList(
            head(width, round(side / sides[-1]).bit_length(), 8 * ndf, norm)  # one more than down to the last map
            for width, side in zip(widths, sides, strict=True))

    @torch.no_grad()
    def _scales(self, size: int) -> list[float]:
        """Return the root mean square of each layer's features of blurred noise.

        Those of VGG16 are 3 to 6. Undivided, they make the scores large, and D soon wins over the generator.
        """
        noise = 2 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
        blurred = F.interpolate(noise, (size, size), mode="bilinear")
        return [features.square().mean().sqrt().item() for features in self.features(blurred)]

    def forward(self, images: Tensor) -> list[Tensor]:
        require_sides(images, least=self.least_size, network="the projected discriminator")
        maps = [mix(features) for mix, features in zip(self.mix_channels, self.features(images), strict=True)]
        for number in range(len(maps) - 2, -1, -1):
            below = F.interpolate(maps[number + 1], maps[number].shape[2:], mode="bilinear")
            maps[number] = maps[number] + self.mix_scales[number](below)
        return [of(features) for of, features in zip(self.heads, maps, strict=True)]


def head(channels: int, halvings: int, widest: int, norm: str) -> nn.Sequential:
    """Halve a map ``halvings`` times, and score each 4x4 window: [B, channels, h, w] -> [B, 1, h', w']."""
    layers: list[nn.Module] = []
    for _ in range(halvings):
        before, channels = channels, min(2 * channels, widest)
        layers += [spectral_norm(nn.Conv2d(before, channels, 4, stride=2, padding=1)), norm_layer(norm, channels),
                   nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 4, bias=False)))


def frozen(network: nn.Module, *, saved: bool = False) -> nn.Module:
    """Turn the parameters of a network into buffers, which no optimizer finds; without ``saved``, no state dict either.
    """
    for module in network.modules():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            del module._parameters[name]
            module.register_buffer(name, parameter.detach(), persistent=saved)
        if not saved:
            module._non_persistent_buffers_set.update(module._buffers)
    return network


def renamed(text: str) -> str:
    """Name the discriminator's flags in a sentence about those of the spatially-correlative loss."""
    for name, other in FLAGS.items():
        text = text.replace(name, other)
    return text
