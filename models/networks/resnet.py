"""The residual generator of Johnson et al. (2016) and CycleGAN, with blur-pooled resampling."""

from collections.abc import Sequence

from torch import Tensor, nn

from .blocks import (
    Downsample,
    FewOutputsConv2d,
    ReflectionPad,
    UnbiasedConv2d,
    Upsample,
    conv_before,
    norm_layer,
    require_sides,
    transposed_conv_before,
)
from .chain import Chain, compute, groups


class ResnetGenerator(nn.Module):
    """Two halvings, ``blocks`` residual blocks, two doublings: [B, input_nc, H, W] -> [B, output_nc, H, W].

    Images are in [-1, 1]; H and W are multiples of 4 and at least 8. Keys of the state dict are those of the
    published code for the same options, and so are the numbers of layers, from 0: padding, convolution, normalisation,
    ReLU and so on, a residual block being one.

    Args:
        blocks: number of residual blocks, at a quarter of the resolution with ``4 * ngf`` channels.
        norm: ``instance``, ``batch`` or ``none``.
        dropout: drop half of the activations inside each residual block.
        antialias: halve by stride-1 convolution and blur-pool instead of strided convolution.
        antialias_up: double by blurred upsampling and convolution instead of transposed convolution.

    Attributes:
        encoder_depth: number of the layers up to the last residual block.

    Raises:
        UserError: in ``forward``, for images of other sizes.
    """

    multiple = 4
    least_size = 8

    def __init__(self, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, blocks: int = 9,
                 norm: str = "instance", dropout: bool = False, antialias: bool = True,
                 antialias_up: bool = True) -> None:
        super().__init__()
        self.input_nc = input_nc
        layers = [ReflectionPad(3), conv_before(norm, input_nc, ngf, 7), norm_layer(norm, ngf),
                  nn.ReLU(True)]
        for channels in (ngf, 2 * ngf):
            layers += halve(channels, norm, antialias)
        layers += [ResnetBlock(4 * ngf, norm=norm, dropout=dropout) for _ in range(blocks)]
        self.encoder_depth = len(layers)
        for channels in (4 * ngf, 2 * ngf):
            layers += double(channels, norm, antialias_up)
        layers += [ReflectionPad(3), FewOutputsConv2d(ngf, output_nc, 7), nn.Tanh()]
        self.model = Chain(*layers)

    def forward(
        self, images: Tensor, layers: Sequence[int] = (), encode_only: bool = False
    ) -> Tensor | list[Tensor]:
        """Translate; given ``layers``, return a list: the translation and, in their order, the layers' outputs.

        Args:
            images: [B, input_nc, H, W] in [-1, 1].
            layers: numbers of layers, ascending.
            encode_only: go no further than the last of them, and leave the translation out.
        """
        require_sides(images, least=self.least_size, multiple=self.multiple, network="the resnet generator")
        if not layers:
            output: Tensor = self.model(images)
            return output
        x, number = images, -1
        features: list[Tensor] = []
        for group in groups(list(self.model[: layers[-1] + 1] if encode_only else self.model), layers):
            number += len(group)
            if isinstance(group[0], nn.ReLU) and features and x is features[-1]:  # it would change them in place
                x = x.clone()
            x = group[0].biased(x) if number in layers and isinstance(group[0], UnbiasedConv2d) else compute(group, x)
            if number in layers:
                features.append(x)
        return features if encode_only else [x, *features]

    def channels_of(self, layers: Sequence[int]) -> list[int]:
        """Return the channels of the layers' outputs."""
        channels, last = [], self.input_nc
        for layer in self.model:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                last = layer.out_channels
            channels.append(last)
        return [channels[number] for number in layers]


class ResnetBlock(nn.Module):
    """``x`` plus two normalised 3x3 convolutions of it: [B, channels, H, W] -> the same shape."""

    def __init__(self, channels: int, *, norm: str, dropout: bool) -> None:
        super().__init__()
        self.conv_block = Chain(
            ReflectionPad(1), conv_before(norm, channels, channels, 3), norm_layer(norm, channels),
            nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []),
            ReflectionPad(1), conv_before(norm, channels, channels, 3), norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_block.plus_input(x)


def halve(channels: int, norm: str, antialias: bool) -> list[nn.Module]:
    """Build layers that halve height and width and double ``channels``."""
    stride = 1 if antialias else 2
    convolution = conv_before(norm, channels, 2 * channels, 3, stride=stride, padding=1)
    layers: list[nn.Module] = [convolution, norm_layer(norm, 2 * channels), nn.ReLU(True)]
    return [*layers, Downsample(2 * channels)] if antialias else layers


def double(channels: int, norm: str, antialias: bool) -> list[nn.Module]:
    """Build layers that double height and width and halve ``channels``."""
    out = channels // 2
    layers: list[nn.Module]
    if antialias:
        layers = [Upsample(channels), conv_before(norm, channels, out, 3, padding=1)]
    else:
        layers = [transposed_conv_before(norm, channels, out, 3, output_padding=1)]
    return [*layers, norm_layer(norm, out), nn.ReLU(True)]
