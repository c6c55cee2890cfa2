"""Networks of the unpaired Schroedinger bridge (Kim et al., ICLR 2024, arXiv 2305.15086), with the time as an input.

Generator and discriminators are those of CUT, with the number of a step and, for the generator, a random vector as
further inputs. A linear function of the time's embedding shifts channels after they are normalised: before, instance
normalisation would remove the shift. The published code shifts before, and in the generator applies each layer of the
first half of a residual block to the input of the block, so that neither the time nor the convolution has an effect.
`BridgeGenerator.from_published` converts its generators to ones that compute the same.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Downsample, FewOutputsConv2d, ReflectionPad, UnbiasedConv2d, conv_before, norm_layer, require_sides
from .resnet import double, halve

MAPPINGS = 4
"""Linear layers that the random vector passes."""
PUBLISHED = (
    (r"^model\.", "encoder."), (r"^model_res\.(\d+)\.conv_fin\.", r"blocks.\1.second."),
    (r"^model_res\.(\d+)\.adaptive\.style_net\.", r"blocks.\1.adaptive.linear."), (r"^model_upsample\.", "decoder."),
    (r"^z_transform\.", "mapping."), (r"^time_embed\.", "time_embed."),
)
"""Patterns of the keys of UNSB's own code, and their replacements here."""


class BridgeGenerator(nn.Module):
    """`ResnetGenerator` whose residual blocks take the time and a random vector, [B, 3, H, W] -> [B, 3, H, W].

    The numbers of layers are those of `ResnetGenerator`, up to the last residual block.

    Args:
        ngf, blocks, norm, dropout, antialias, antialias_up: see `ResnetGenerator`.

    Attributes:
        latent_dim: length of the random vector.
        encoder_depth: number of the layers up to the last residual block.

    Raises:
        UserError: in ``forward``, for sides that are no multiples of 4 or below 8.
    """

    multiple = 4
    least_size = 8

    def __init__(self, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, blocks: int = 9,
                 norm: str = "instance", dropout: bool = False, antialias: bool = True,
                 antialias_up: bool = True) -> None:
        super().__init__()
        self.input_nc, self.ngf, self.latent_dim = input_nc, ngf, 4 * ngf
        self.encoder = nn.Sequential(
            ReflectionPad(3), conv_before(norm, input_nc, ngf, 7), norm_layer(norm, ngf), nn.ReLU(True),
            *halve(ngf, norm, antialias), *halve(2 * ngf, norm, antialias))
        self.blocks = nn.ModuleList(TimeBlock(4 * ngf, norm=norm, dropout=dropout) for _ in range(blocks))
        self.decoder = nn.Sequential(
            *double(4 * ngf, norm, antialias_up), *double(2 * ngf, norm, antialias_up),
            ReflectionPad(3), FewOutputsConv2d(ngf, output_nc, 7), nn.Tanh())
        width = self.latent_dim
        layers = [layer for _ in range(MAPPINGS) for layer in (nn.Linear(width, width), nn.LeakyReLU(0.2))]
        self.mapping = nn.Sequential(UnitVariance(), *layers)
        self.time_embed = embedding(ngf, width)
        self.encoder_depth = len(self.encoder) + blocks

    def forward(
        self, images: Tensor, time: Tensor, latent: Tensor, layers: Sequence[int] = ()
    ) -> Tensor | list[Tensor]:
        """Guess the end of the bridge; given ``layers``, return their outputs only, in their order.

        Args:
            images: [B, input_nc, H, W], where the bridge is at ``time``.
            time: number of the step, LongTensor [1] or [B].
            latent: random vector, [B, latent_dim].
            layers: numbers of layers, ascending.
        """
        require_sides(images, least=self.least_size, multiple=self.multiple, network="the bridge's generator")
        moment = self.time_embed(sinusoids(time, self.ngf).to(latent.dtype))
        mapped = self.mapping(latent)
        x, features = images, list[Tensor]()
        for number, layer in enumerate((*self.encoder, *self.blocks)):
            if isinstance(layer, nn.ReLU) and features and x is features[-1]:  # it would change them in place
                x = x.clone()
            if isinstance(layer, TimeBlock):
                x = layer(x, moment, mapped)
            elif number in layers and isinstance(layer, UnbiasedConv2d):
                x = layer.biased(x)
            else:
                x = layer(x)
            if number in layers:
                features.append(x)
                if number == layers[-1]:
                    return features
        output: Tensor = self.decoder(x)
        return output

    def from_published(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert a state dict of UNSB's own code; return another one as it is.

        The first convolutions of the blocks become identities, and the shifts by the time 0, which is what they do in
        that code.
        """
        if "model_res.0.adaptive.style_net.weight" not in state:
            return state
        converted = {}
        for key, value in state.items():
            for published, own in PUBLISHED:
                if re.match(published, key):
                    converted[re.sub(published, own, key)] = value
        for key, value in self.state_dict().items():
            if re.match(r"blocks\.\d+\.time\.", key) or re.match(r"blocks\.\d+\.first\.1\.bias", key):
                converted[key] = torch.zeros_like(value)
            elif re.match(r"blocks\.\d+\.first\.1\.weight", key):
                converted[key] = nn.init.dirac_(torch.empty_like(value))
        return converted

    def channels_of(self, layers: Sequence[int]) -> list[int]:
        """Return the channels of the layers' outputs."""
        channels, last = [], self.input_nc
        for layer in (*self.encoder, *self.blocks):
            last = layer.out_channels if isinstance(layer, nn.Conv2d) else last
            channels.append(last)
        return [channels[number] for number in layers]


class TimeBlock(nn.Module):
    """``x`` plus two convolutions of it, with AdaIN by a random vector and a shift by the time: [B, C, H, W]."""

    def __init__(self, channels: int, *, norm: str, dropout: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(
            ReflectionPad(1), conv_before(norm, channels, channels, 3), norm_layer(norm, channels))
        self.adaptive = ScaleAndShift(channels)
        self.time = nn.Linear(channels, channels)
        self.second = nn.Sequential(
            nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []),
            ReflectionPad(1), conv_before(norm, channels, channels, 3), norm_layer(norm, channels))

    def forward(self, x: Tensor, moment: Tensor, mapped: Tensor) -> Tensor:
        output: Tensor = x + self.second(self.adaptive(self.first(x), mapped) + self.time(moment)[:, :, None, None])
        return output


class ScaleAndShift(nn.Module):
    """Scale and shift channels by linear functions of a vector: [B, C, H, W] and [B, C] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 2 * channels)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        scale, shift = self.linear(vector)[:, :, None, None].chunk(2, dim=1)
        output: Tensor = scale * x + shift
        return output


class UnitVariance(nn.Module):
    """Divide vectors [B, C] by the root of their mean square."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors * (vectors.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class TimeDiscriminator(nn.Module):
    """`PatchDiscriminator` that knows the time: images [B, input_nc, H, W] and time [1] or [B] -> scores [B, 1, h, w].

    Raises:
        UserError: in ``forward``, for a side below ``least_size`` = 3 * 2**n_layers pixels.
    """

    def __init__(self, *, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance") -> None:
        super().__init__()
        self.least_size = 3 * 2**n_layers
        self.width = 4 * ndf
        widths = [input_nc, *(ndf * min(2**layer, 8) for layer in range(n_layers + 1))]
        self.layers = nn.ModuleList(
            TimeConvolution(before, after, self.width, norm=norm if number else "none", halves=number < n_layers)
            for number, (before, after) in enumerate(pairwise(widths)))
        self.last = FewOutputsConv2d(widths[-1], 1, 4, padding=1)
        self.time_embed = embedding(self.width, self.width)

    def forward(self, images: Tensor, time: Tensor) -> Tensor:
        require_sides(images, least=self.least_size, network="the discriminator")
        moment, x = self.time_embed(sinusoids(time, self.width).to(images.dtype)), images
        for layer in self.layers:
            x = layer(x, moment)
        scores: Tensor = self.last(x)
        return scores


class TimeConvolution(nn.Module):
    """A convolution, normalisation, a shift by the time and activation; halves height and width with ``halves``."""

    def __init__(self, before: int, after: int, width: int, *, norm: str, halves: bool) -> None:
        super().__init__()
        self.convolution = nn.Sequential(conv_before(norm, before, after, 4, padding=1), norm_layer(norm, after))
        self.time = nn.Linear(width, after)
        self.activation = nn.Sequential(nn.LeakyReLU(0.2), *([Downsample(after)] if halves else []))

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        output: Tensor = self.activation(self.convolution(x) + self.time(moment)[:, :, None, None])
        return output


def embedding(width: int, output: int) -> nn.Sequential:
    """Build two linear layers of the sinusoids of the time: [B, width] -> [B, output]."""
    return nn.Sequential(nn.Linear(width, output), nn.LeakyReLU(0.2), nn.Linear(output, output), nn.LeakyReLU(0.2))


def sinusoids(time: Tensor, width: int) -> Tensor:
    """Compute sines and cosines of step numbers, [B] to [B, width], of wavelengths from 2 pi to 20,000 pi."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=time.device) * (-math.log(10000) / max(half - 1, 1)))
    angles = time.float()[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))
