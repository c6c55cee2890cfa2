"""Build networks and optimizers from flags, and refuse combinations of flags for several models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from options import DataFlags, NetworkFlags, Options, RunFlags, TrainFlags, has_crop
from util.errors import UserError

from .networks import create_discriminator, create_generator, initialize


def build_generator(options: Options, *, input_nc: int | None = None, output_nc: int | None = None) -> nn.Module:
    """The generator that the flags describe, initialised.

    Args:
        input_nc, output_nc: channels, where they are not those of the flags.
    """
    data, flags = options[DataFlags], options[NetworkFlags]
    generator = create_generator(
        flags.netG, input_nc=input_nc or data.input_nc, output_nc=output_nc or data.output_nc, ngf=flags.ngf,
        norm=flags.norm, dropout=not flags.no_dropout, antialias=not flags.no_antialias,
        antialias_up=not flags.no_antialias_up, size=flags.stylegan2_size or data.crop_size,
        downsamplings=flags.stylegan2_G_num_downsampling,
    )
    initialize(generator, flags.init_type, flags.init_gain)
    return generator


def build_discriminator(options: Options, *, input_nc: int | None = None) -> nn.Module:
    """The discriminator that the flags describe, initialised.

    Args:
        input_nc: channels of what it judges; left out, those of translations.

    Raises:
        UserError: the crops are too small for it.
    """
    data, flags = options[DataFlags], options[NetworkFlags]
    discriminator = create_discriminator(
        flags.netD, input_nc=input_nc or data.output_nc, ndf=flags.ndf, n_layers=flags.n_layers_D, norm=flags.norm,
        antialias=not flags.no_antialias, size=flags.stylegan2_size or data.crop_size, tile_size=flags.D_patch_size,
    )
    least = int(discriminator.least_size)  # type: ignore[arg-type]
    if has_crop(data.preprocess) and data.crop_size < least:
        raise UserError(f"--crop_size {data.crop_size} is too small for --netD {flags.netD}, which needs {least} "
                        "pixels: enlarge it or choose another --netD or --n_layers_D")
    initialize(discriminator, flags.init_type, flags.init_gain)
    return discriminator


def refuse_pool_and_penalty(options: Options) -> None:
    """For methods without an image pool and without a gradient penalty.

    Raises:
        UserError: the options ask for one of them.
    """
    model, size = options[RunFlags].model, options[TrainFlags].pool_size
    if size:
        raise UserError(f"--pool_size {size}: --model {model} has no image pool; leave it out")
    refuse_penalty(options)


def refuse_penalty(options: Options) -> None:
    """For methods without a gradient penalty.

    Raises:
        UserError: the options ask for an objective that needs one.
    """
    if options[TrainFlags].gan_mode == "wgangp":
        raise UserError(f"--gan_mode wgangp needs a gradient penalty, which --model {options[RunFlags].model} does not "
                        "have: choose another")


def refuse_one_domain(options: Options) -> None:
    """For methods that need images of the target domain.

    Raises:
        UserError: the data set has none.
    """
    model, mode = options[RunFlags].model, options[DataFlags].dataset_mode
    if mode == "single":
        raise UserError(f"--dataset_mode {mode} has no images of the target domain, without which --model {model} "
                        "cannot be trained: use unaligned or aligned")


def is_reversed(options: Options) -> bool:
    """Whether --direction is the reverse of the training's."""
    direction = options[DataFlags].direction
    return bool(options.recorded.get("direction", direction) != direction)


def refuse_way_back(options: Options) -> None:
    """For methods whose generator translates one way only.

    Raises:
        UserError: --direction asks for the other way.
    """
    if is_reversed(options):
        raise UserError(f"--direction {options[DataFlags].direction}: {options[RunFlags].name} was trained with "
                        f"--direction {options.recorded['direction']}, and its generator translates no other way: "
                        "leave the flag out, or train one for that direction")


def adam(parameters: Iterable[nn.Parameter] | list[dict[str, Any]], train: TrainFlags) -> torch.optim.Adam:
    """Adam with the flags' rate and momenta; of groups of parameters, a group's own ``lr`` wins."""
    return torch.optim.Adam(parameters, lr=train.lr, betas=(train.beta1, train.beta2), fused=True)

