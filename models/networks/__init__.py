"""Generators, discriminators and the VGG16 feature extractor: plain modules with plain keyword arguments."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from .discriminators import MultiScaleDiscriminator, PatchDiscriminator, PixelDiscriminator
from .init import initialize
from .projected import LAYERS, ProjectedDiscriminator
from .resnet import ResnetGenerator
from .stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator, TileStyleGAN2Discriminator
from .unet import UnetGenerator
from .vgg import VGG16Features

__all__ = [
    "DISCRIMINATORS", "GENERATORS", "MultiScaleDiscriminator", "PatchDiscriminator",
    "PixelDiscriminator", "ProjectedDiscriminator", "ResnetGenerator", "StyleGAN2Discriminator", "StyleGAN2Generator",
    "TileStyleGAN2Discriminator", "UnetGenerator", "VGG16Features", "create_discriminator", "create_generator",
    "initialize",
]

Factory = Callable[..., nn.Module]

GENERATORS: dict[str, Factory] = {
    "resnet_9blocks": partial(ResnetGenerator, blocks=9),
    "resnet_6blocks": partial(ResnetGenerator, blocks=6),
    "unet_256": partial(UnetGenerator, depth=8),
    "unet_128": partial(UnetGenerator, depth=7),
    "stylegan2": StyleGAN2Generator,
    "smallstylegan2": partial(StyleGAN2Generator, blocks=2, noise=False),
}
DISCRIMINATORS: dict[str, Factory] = {
    "basic": PatchDiscriminator,
    "n_layers": PatchDiscriminator,
    "pixel": PixelDiscriminator,
    "multi": MultiScaleDiscriminator,
    "stylegan2": StyleGAN2Discriminator,
    "tilestylegan2": TileStyleGAN2Discriminator,
    "projected": ProjectedDiscriminator,
}


def create_generator(
    name: str, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, norm: str = "instance",
    dropout: bool = False, antialias: bool = True, antialias_up: bool = True, size: int = 256, downsamplings: int = 1,
) -> nn.Module:
    """Build the generator ``name`` of `GENERATORS`: [B, input_nc, H, W] -> [B, output_nc, H, W], both in [-1, 1].

    Its attributes ``multiple`` and ``least_size`` say what H and W must be multiples of, and at least. The classes
    explain the other arguments; ``size`` and ``downsamplings`` are about the StyleGAN2 generators, which have nothing
    of ``norm`` and what follows it.

    Raises:
        ValueError: unknown ``name`` or ``norm``.
    """
    factory = _lookup(GENERATORS, name)
    if "stylegan2" in name:
        return factory(input_nc=input_nc, output_nc=output_nc, ngf=ngf, size=size, downsamplings=downsamplings)
    return factory(input_nc=input_nc, output_nc=output_nc, ngf=ngf, norm=norm, dropout=dropout,
                   antialias=antialias, antialias_up=antialias_up)


def create_discriminator(
    name: str, *, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance",
    antialias: bool = True, size: int = 256, tile_size: int = 64, feature_net: str = "vgg16",
    layers: Sequence[str] = LAYERS, weights: str = "bundled",
) -> nn.Module:
    """Build the discriminator ``name`` of `DISCRIMINATORS`: [B, input_nc, H, W] in [-1, 1] -> score maps.

    ``basic`` always has 3 layers; ``multi`` and ``projected`` return a list of maps, ``stylegan2`` scores [B, 1] and
    the others one map [B, 1, h, w]. The attribute ``least_size`` is the least H and W. ``stylegan2`` takes only images
    of ``size``, ``tilestylegan2`` cuts them into tiles of ``tile_size``; both ignore the other options. The last three
    apply to ``projected``, as ``size`` does.

    Raises:
        ValueError: unknown ``name`` or ``norm``.
    """
    factory = _lookup(DISCRIMINATORS, name)
    if "stylegan2" in name:
        return factory(input_nc=input_nc, ndf=ndf, size=tile_size if name == "tilestylegan2" else size)
    if name == "projected":
        return factory(input_nc=input_nc, ndf=ndf, norm=norm, feature_net=feature_net, layers=layers, weights=weights,
                       size=size)
    return factory(input_nc=input_nc, ndf=ndf, n_layers=3 if name == "basic" else n_layers, norm=norm,
                   antialias=antialias)


def _lookup(registry: Mapping[str, Factory], name: str) -> Factory:
    if name not in registry:
        raise ValueError(f"name '{name}' is not one of {', '.join(registry)}")
    return registry[name]
