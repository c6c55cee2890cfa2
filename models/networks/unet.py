"""The U-Net generator of pix2pix (Isola et al., 2017)."""

import torch
from torch import Tensor, nn

from .blocks import conv_before, norm_layer, require_sides, transposed_conv_before


class UnetGenerator(nn.Module):
    """``depth`` halvings and doublings with skip connections: [B, input_nc, H, W] -> [B, output_nc, H, W].

    Images are in [-1, 1]; H and W are multiples of ``multiple`` = 2 ** depth: 128 for unet_128, 256 for
    unet_256. Keys of the state dict are those of the published CycleGAN family. There is no blur-pooled variant:
    ``antialias`` and ``antialias_up`` exist so that all generators are built alike, and change nothing.

    Args:
        depth: number of halvings, at least 5.
        norm: ``instance``, ``batch`` or ``none``.
        dropout: drop half of the activations of the inner ``ngf * 8`` blocks on their way up.

    Raises:
        UserError: in ``forward``, for images of other sizes.
    """

    def __init__(self, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, depth: int = 8,
                 norm: str = "instance", dropout: bool = False, antialias: bool = False,
                 antialias_up: bool = False) -> None:
        super().__init__()
        self.multiple = self.least_size = 2 ** depth
        block = UnetBlock(8 * ngf, 8 * ngf, norm=norm)
        for _ in range(depth - 5):
            block = UnetBlock(8 * ngf, 8 * ngf, norm=norm, inside=block, dropout=dropout)
        for channels in (4 * ngf, 2 * ngf, ngf):
            block = UnetBlock(channels, 2 * channels, norm=norm, inside=block)
        self.model = _Outermost(input_nc, output_nc, ngf, norm=norm, inside=block)

    def forward(self, images: Tensor) -> Tensor:
        require_sides(images, least=self.least_size, multiple=self.multiple, network="the U-Net generator")
        output: Tensor = self.model(images)
        return output


class UnetBlock(nn.Module):
    """Halve, run ``inside``, double, and append to the input: [B, outer, H, W] -> [B, 2 * outer, H, W].

    The innermost block has no ``inside`` and does not normalise its single small map.
    """

    def __init__(self, outer: int, inner: int, *, norm: str, inside: nn.Module | None = None,
                 dropout: bool = False) -> None:
        super().__init__()
        halve = (nn.Conv2d(outer, inner, 4, 2, 1, bias=norm != "batch") if inside is None
                 else conv_before(norm, outer, inner, 4, stride=2, padding=1))
        layers: list[nn.Module] = [nn.LeakyReLU(0.2), halve]
        if inside is not None:
            layers += [norm_layer(norm, inner), inside]
        from_below = inner if inside is None else 2 * inner
        layers += [nn.ReLU(True), transposed_conv_before(norm, from_below, outer, 4), norm_layer(norm, outer)]
        if dropout:
            layers.append(nn.Dropout(0.5))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class _Outermost(nn.Module):
    """From images to features and back: no skip connection, no normalisation, and tanh at the end."""

    def __init__(self, input_nc: int, output_nc: int, ngf: int, *, norm: str, inside: nn.Module) -> None:
        super().__init__()
        halve = nn.Conv2d(input_nc, ngf, 4, stride=2, padding=1, bias=norm != "batch")
        double = nn.ConvTranspose2d(2 * ngf, output_nc, 4, stride=2, padding=1)
        self.model = nn.Sequential(halve, inside, nn.ReLU(True), double, nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.model(images)
        return output
