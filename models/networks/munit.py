"""Generator and style encoder of MUNIT (Huang, Liu, Belongie, Kautz: ECCV 2018, arXiv 1804.04732).

The generator keeps the content of an image, at a quarter of its resolution, and draws it in a style, a short vector
that sets mean and variance of the decoder's features (AdaIN, Huang & Belongie: ICCV 2017). The style encoder reads such
a vector off an image.
"""

from torch import Tensor, nn

from .blocks import (
    FewOutputsConv2d,
    GroupNorm,
    InstanceNorm,
    ReflectionPad,
    UnbiasedConv2d,
    Upsample,
    is_channels_last,
    on_gpu,
    require_sides,
)
from .chain import Chain
from .resnet import ResnetBlock, halve


class MunitGenerator(nn.Module):
    """Content encoder and decoder: images [B, input_nc, H, W] and styles -> [N, output_nc, H, W], all in [-1, 1].

    H and W are multiples of 4 and at least 8. The encoder halves twice and has residual blocks with instance
    normalisation. The decoder has as many with AdaIN, whose scales and shifts an MLP makes of the style, and doubles
    twice with layer normalisation, which keeps a style's means, while instance normalisation would remove them.
    Scales are 1 plus what the MLP gives.

    Args:
        ngf: channels after the first convolution; the content has ``4 * ngf``.
        style_dim: numbers in a style.
        blocks: residual blocks of the encoder, and of the decoder.
        mlp_width: hidden channels of the MLP.
        antialias: halve by stride-1 convolution and blur-pool instead of strided convolution.
        antialias_up: double by blurred upsampling instead of repeated pixels, before a convolution.

    Raises:
        UserError: in ``forward``, for images of other sizes.
    """

    multiple = 4
    least_size = 8

    def __init__(self, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, style_dim: int = 8, blocks: int = 4,
                 mlp_width: int = 256, antialias: bool = True, antialias_up: bool = True) -> None:
        super().__init__()
        channels = 4 * ngf
        self.encoder = Chain(
            ReflectionPad(3), UnbiasedConv2d(input_nc, ngf, 7), InstanceNorm(ngf), nn.ReLU(True),
            *halve(ngf, "instance", antialias), *halve(2 * ngf, "instance", antialias),
            *(ResnetBlock(channels, norm="instance", dropout=False) for _ in range(blocks)))
        self.mlp = nn.Sequential(
            nn.Linear(style_dim, mlp_width), nn.ReLU(True), nn.Linear(mlp_width, mlp_width), nn.ReLU(True),
            nn.Linear(mlp_width, 4 * blocks * channels))
        self.blocks = nn.ModuleList(AdaptiveBlock(channels) for _ in range(blocks))
        self.decoder = nn.Sequential(
            *_double(channels, antialias_up), *_double(2 * ngf, antialias_up),
            ReflectionPad(3), FewOutputsConv2d(ngf, output_nc, 7), nn.Tanh())

    def forward(self, images: Tensor, styles: Tensor | None = None, of_contents: bool = False) -> Tensor:
        """Draw each image in one style, or in several, for which it is encoded once; without styles, encode only.

        Args:
            images: [B, input_nc, H, W] in [-1, 1]; with ``of_contents`` their contents, [B, 4 * ngf, H / 4, W / 4].
            styles: [N, style_dim] with N a multiple of B; style n is for image n modulo B.
        """
        if of_contents:
            x = images
        else:
            require_sides(images, least=self.least_size, multiple=self.multiple, network="the generator of munit")
            x = self.encoder(images)
        if styles is None:
            return x
        x = repeated(x, styles.shape[0] // images.shape[0])  # `len` would bind an exported graph to it
        for block, parameters in zip(self.blocks, self.mlp(styles).chunk(len(self.blocks), dim=1), strict=True):
            x = block(x, parameters)
        output: Tensor = self.decoder(x)
        return output


def repeated(x: Tensor, times: int) -> Tensor:
    """Repeat a batch [B, C, H, W]; on a GPU, keep channels last."""
    if on_gpu(x) and is_channels_last(x):
        return x.permute(0, 2, 3, 1).repeat(times, 1, 1, 1).permute(0, 3, 1, 2)
    return x.repeat(times, 1, 1, 1)


class AdaptiveBlock(nn.Module):
    """``x`` plus two 3x3 convolutions of it with AdaIN: [B, C, H, W] and [B, 4 * C] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Sequential(ReflectionPad(1), UnbiasedConv2d(channels, channels, 3), InstanceNorm(channels))
            for _ in range(2))

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        first, second = self.convolutions
        scale, shift, second_scale, second_shift = parameters[:, :, None, None].chunk(4, dim=1)  # [B, C, 1, 1]
        hidden = (first(x) * (1 + scale) + shift).relu()
        output: Tensor = x + second(hidden) * (1 + second_scale) + second_shift
        return output


class StyleEncoder(nn.Module):
    """The style of images: [B, input_nc, H, W] in [-1, 1] -> [B, style_dim], for any H and W of at least 16.

    Convolutions that halve four times and a mean over all positions. There is no normalisation: it would remove the
    means and variances that make a style.

    Args:
        nsf: channels after the first convolution; the last ones have ``4 * nsf``.

    Raises:
        UserError: in ``forward``, for smaller images.
    """

    multiple = 1
    least_size = 16

    def __init__(self, *, input_nc: int = 3, nsf: int = 64, style_dim: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = [ReflectionPad(3), nn.Conv2d(input_nc, nsf, 7), nn.ReLU(True)]
        for before, after in ((nsf, 2 * nsf), (2 * nsf, 4 * nsf), (4 * nsf, 4 * nsf), (4 * nsf, 4 * nsf)):
            layers += [ReflectionPad(1), nn.Conv2d(before, after, 4, stride=2), nn.ReLU(True)]
        self.model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * nsf, style_dim, 1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        require_sides(images, least=self.least_size, network="the style encoder")
        output: Tensor = self.model(images)
        return output


def _double(channels: int, antialias: bool) -> list[nn.Module]:
    """Build layers that double height and width and halve ``channels``."""
    out = channels // 2
    return [Upsample(channels) if antialias else nn.Upsample(scale_factor=2), ReflectionPad(2),
            nn.Conv2d(channels, out, 5), GroupNorm(1, out), nn.ReLU(True)]
