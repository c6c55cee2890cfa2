"""Generators, discriminators and the VGG16 feature extractor: plain modules with plain keyword arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from .discriminators import MultiScaleDiscriminator, PatchDiscriminator, PixelDiscriminator
from .init import initialize
from .resnet import ResnetGenerator
from .unet import UnetGenerator
from .vgg import VGG16Features, layer_channels, layer_strides

__all__ = [
    "DISCRIMINATORS", "GENERATORS", "MultiScaleDiscriminator", "PatchDiscriminator", "PixelDiscriminator",
    "ResnetGenerator", "UnetGenerator", "VGG16Features", "create_discriminator", "create_generator",
    "initialize", "layer_channels", "layer_strides",
]

Factory = Callable[..., nn.Module]

GENERATORS: dict[str, Factory] = {
    "resnet_9blocks": partial(ResnetGenerator, blocks=9),
    "resnet_6blocks": partial(ResnetGenerator, blocks=6),
    "unet_256": partial(UnetGenerator, depth=8),
    "unet_128": partial(UnetGenerator, depth=7),
}
DISCRIMINATORS: dict[str, Factory] = {
    "basic": PatchDiscriminator,
    "n_layers": PatchDiscriminator,
    "pixel": PixelDiscriminator,
    "multi": MultiScaleDiscriminator,
}


def create_generator(
    name: str, *, input_nc: int = 3, output_nc: int = 3, ngf: int = 64, norm: str = "instance",
    dropout: bool = False, antialias: bool = True, antialias_up: bool = True,
) -> nn.Module:
    """The generator ``name`` of `GENERATORS`: [B, input_nc, H, W] -> [B, output_nc, H, W], both in [-1, 1].

    Its attributes ``multiple`` and ``least_size`` say what H and W must be multiples of, and at least. The classes
    explain the other arguments.

    Raises:
        ValueError: unknown ``name`` or ``norm``.
    """
    factory = _lookup(GENERATORS, name)
    return factory(input_nc=input_nc, output_nc=output_nc, ngf=ngf, norm=norm, dropout=dropout,
                   antialias=antialias, antialias_up=antialias_up)


def create_discriminator(
    name: str, *, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance",
    antialias: bool = True,
) -> nn.Module:
    """The discriminator ``name`` of `DISCRIMINATORS`: images [B, input_nc, H, W] in [-1, 1] -> score maps.

    ``basic`` always has 3 layers; ``multi`` returns a list of two maps, the others one map [B, 1, h, w].

    Raises:
        ValueError: unknown ``name`` or ``norm``.
    """
    factory = _lookup(DISCRIMINATORS, name)
    return factory(input_nc=input_nc, ndf=ndf, n_layers=3 if name == "basic" else n_layers, norm=norm,
                   antialias=antialias)


def _lookup(registry: Mapping[str, Factory], name: str) -> Factory:
    if name not in registry:
        raise ValueError(f"name '{name}' is not one of {', '.join(registry)}")
    return registry[name]
