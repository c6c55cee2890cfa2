"""The networks of single-image translation (Park et al., ECCV 2020, SinCUT), built of StyleGAN2's layers.

Their widths follow from the size of the images that they are trained with: in all, a map half as wide has twice the
channels. Keys of state dicts are those of the published code.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from util.errors import UserError

from .blocks import require_sides
from .equalized import DoublingLayer, EqualLinear, MinibatchDeviation, ResidualBlock, conv_layer


class StyleGAN2Generator(nn.Module):
    """``downsamplings`` halvings, residual blocks, as many doublings: [B, input_nc, H, W] -> [B, output_nc, H, W].

    Images are in [-1, 1]; H and W are multiples of ``multiple`` = 2**downsamplings, whatever ``size`` is.

    Args:
        ngf: width; the first layer has ``512 * ngf / size`` channels, 32 for 8 and 128 pixels.
        size: side of the images in training, in pixels.
        blocks: number of residual blocks at the lowest resolution, half of them in the encoder.
        noise: learn to add noise after each doubling, only in training.

    Attributes:
        encoder_depth: number of the layers of the encoder, 2 + downsamplings + blocks // 2.

    Raises:
        UserError: in ``forward``, for images of other sizes.
    """

    def __init__(self, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, size: int = 256,
                 downsamplings: int = 1, blocks: int = 6, noise: bool = True) -> None:
        super().__init__()
        self.multiple = self.least_size = 2**downsamplings
        widths = channel_counts(size, downsamplings, ngf / 32, most=512)
        self.encoder = Layers(
            nn.Identity(), conv_layer(input_nc, widths[0], 1),
            *(ResidualBlock(widths[i], widths[i + 1], halve=True) for i in range(downsamplings)),
            *(ResidualBlock(widths[-1], widths[-1]) for _ in range(blocks // 2)))
        self.widths = [input_nc, *widths, *[widths[-1]] * (blocks // 2)]  # of the layers of the encoder
        self.encoder_depth = len(self.widths)
        self.decoder = Layers(
            *(ResidualBlock(widths[-1], widths[-1]) for _ in range(blocks // 2)),
            *(DoublingLayer(widths[i + 1], widths[i], noise=noise) for i in reversed(range(downsamplings))),
            conv_layer(widths[0], output_nc, 1), nn.Tanh())

    def forward(
        self, images: Tensor, layers: Sequence[int] = (), encode_only: bool = False
    ) -> Tensor | list[Tensor]:
        """Translate; given ``layers``, return a list: the translation and, in their order, the layers' outputs.

        Args:
            images: [B, input_nc, H, W] in [-1, 1].
            layers: numbers of layers of the encoder, ascending: 0 is the image, 1 the first convolution.
            encode_only: go no further than the last of them, and leave the translation out.
        """
        require_sides(images, least=self.least_size, multiple=self.multiple, network="the stylegan2 generator")
        if not layers:
            output: Tensor = self.decoder(self.encoder(images))
            return output
        x, features = images, list[Tensor]()
        for number, layer in enumerate(self.encoder.convs[: layers[-1] + 1] if encode_only else self.encoder.convs):
            x = layer(x)
            if number in layers:
                features.append(x)
        return features if encode_only else [self.decoder(x), *features]

    def channels_of(self, layers: Sequence[int]) -> list[int]:
        """Return the channels of the outputs of layers of the encoder."""
        return [self.widths[number] for number in layers]


class StyleGAN2Discriminator(nn.Module):
    """One score an image: [B, input_nc, size, size] in [-1, 1] -> unbounded scores [B, 1].

    Halves the image until 8x8 pixels are left (``size >> halvings``, if it is no power of 2), which a linear layer
    sees as a whole.

    Args:
        ndf: width; the first layer has ``256 * ndf / size`` channels, 16 for 8 and 128 pixels.
        size: side of the images.
        deviation: let the last layers see how much the images of a batch differ.

    Raises:
        UserError: in ``forward``, for images of other sizes.
    """

    def __init__(self, *, input_nc: int = 3, ndf: int = 64, size: int = 256, deviation: bool = False) -> None:
        super().__init__()
        self.size = self.least_size = size
        halvings = max(round(math.log2(size)) - 3, 0)
        widths = channel_counts(size, halvings, ndf / 64, most=384)
        last = channel_count(4, ndf / 64, most=384)
        self.convs = nn.Sequential(
            conv_layer(input_nc, widths[0], 1),
            *(ResidualBlock(widths[i], widths[i + 1], halve=True) for i in range(halvings)))
        self.deviation = MinibatchDeviation() if deviation else nn.Identity()
        self.final_conv = conv_layer(widths[-1] + deviation, last, 3)
        self.final_linear = nn.Sequential(
            EqualLinear(last * (size >> halvings) ** 2, last, activated=True), EqualLinear(last, 1))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if height != self.size or width != self.size:
            raise UserError(f"the stylegan2 discriminator was built for images of {self.size}x{self.size} pixels, but "
                            f"got {height}x{width}: crop to that size, or use --netD tilestylegan2")
        return self.judge(images)

    def judge(self, images: Tensor) -> Tensor:
        """Score images of the right size."""
        features = self.final_conv(self.deviation(self.convs(images)))
        scores: Tensor = self.final_linear(features.flatten(1))
        return scores


class TileStyleGAN2Discriminator(StyleGAN2Discriminator):
    """One score a tile: [B, input_nc, H, W] in [-1, 1] -> unbounded scores [B, 1, H / size, W / size].

    ``size`` is the side of a tile. The deviation is among tiles, which the published code intends and leaves out.

    Raises:
        UserError: in ``forward``, for sides that are no multiples of ``multiple`` = ``size``.
    """

    def __init__(self, *, input_nc: int = 3, ndf: int = 64, size: int = 64) -> None:
        super().__init__(input_nc=input_nc, ndf=ndf, size=size, deviation=True)
        self.multiple = size

    def forward(self, images: Tensor) -> Tensor:
        require_sides(images, least=self.size, multiple=self.size, network="the tilestylegan2 discriminator")
        rows, columns = (side // self.size for side in images.shape[2:])
        tiles = images.unflatten(3, (columns, self.size)).unflatten(2, (rows, self.size))
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # [B * rows * columns, C, size, size]
        return self.judge(tiles).view(-1, 1, rows, columns)


class Layers(nn.Module):
    """Layers in a row, under the published name."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.convs(x)
        return output


def channel_counts(size: int, halvings: int, multiplier: float, *, most: int) -> list[int]:
    """Return the channels of a network for images of ``size`` pixels, before and after each halving."""
    nearest = 2 ** round(math.log2(size))
    return [channel_count(nearest >> i, multiplier, most=most) for i in range(halvings + 1)]


def channel_count(side: int, multiplier: float, *, most: int) -> int:
    """Return the channels of a map of ``side`` pixels; at most ``most`` for maps of up to 32."""
    count = max(round(16384 / max(side, 4) * multiplier), 1)
    return min(count, most) if side <= 32 else count
