"""Build networks and optimizers from flags, and refuse combinations of flags for several models."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from options import DataFlags, NetworkFlags, Options, RunFlags, SpeedFlags, TrainFlags, has_crop
from util.errors import UserError

from .networks import ProjectedDiscriminator, create_discriminator, create_generator, initialize
from .networks.features import VGG16


def build_generator(options: Options, *, input_nc: int | None = None, output_nc: int | None = None) -> nn.Module:
    """Build and initialise the generator that the flags describe.

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
    """Build and initialise the discriminator that the flags describe.

    Args:
        input_nc: channels of its input; None: those of translations.

    Raises:
        UserError: the crops are too small for it.
    """
    data, flags = options[DataFlags], options[NetworkFlags]
    norm = flags.normD or flags.norm
    discriminator = create_discriminator(
        flags.netD, input_nc=input_nc or data.output_nc, ndf=flags.ndf, n_layers=flags.n_layers_D,
        norm="none" if norm == "spectral" else norm,
        antialias=not flags.no_antialias, size=flags.stylegan2_size or data.crop_size, tile_size=flags.D_patch_size,
        feature_net=flags.D_feature_net, layers=flags.D_layers, weights=flags.D_weights,
    )
    least = int(discriminator.least_size)  # type: ignore[arg-type]
    if has_crop(data.preprocess) and data.crop_size < least:
        raise UserError(f"--crop_size {data.crop_size} is too small for --netD {flags.netD}, which needs {least} "
                        "pixels: enlarge it or choose another --netD or --n_layers_D")
    if isinstance(discriminator, ProjectedDiscriminator):  # its frozen layers stay, its heads are spectral anyway
        return discriminator
    initialize(discriminator, flags.init_type, flags.init_gain)
    if norm == "spectral":
        for layer in [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]:
            spectral_norm(layer)
    return discriminator


def discriminator_notes(options: Options) -> list[str]:
    """Warn of scores that a discriminator on frozen features makes worthless; no notes for other discriminators."""
    flags = options[NetworkFlags]
    if flags.netD != "projected":
        return []
    return [f"warning: --netD projected judges features of {flags.D_feature_net}. Do not trust scores in features of "
            "the same network, or of one that was trained on the same images: " + (
                "--eval_freq and evaluate.py metrics use VGG16" if flags.D_feature_net == VGG16 else
                "FID and KID use Inception, trained on ImageNet")]


def refuse_identity_of_other_channels(options: Options) -> None:
    """Refuse identities, translations of real B images by G, if inputs and outputs differ in their channels.

    Raises:
        UserError: they differ.
    """
    data = options[DataFlags]
    if data.input_nc != data.output_nc:
        raise UserError("--lambda_identity translates real B images: it needs --input_nc equal to --output_nc, or "
                        "--lambda_identity 0")


def refuse_pool_and_penalty(options: Options) -> None:
    """Refuse an image pool and a gradient penalty, for methods that have neither.

    Raises:
        UserError: the options ask for one of them.
    """
    model, size = options[RunFlags].model, options[TrainFlags].pool_size
    if size:
        raise UserError(f"--pool_size {size}: --model {model} has no image pool; leave it out")
    refuse_penalty(options)


def refuse_penalty(options: Options) -> None:
    """Refuse objectives that need a gradient penalty, for methods that have none.

    Raises:
        UserError: the options ask for an objective that needs one.
    """
    if options[TrainFlags].gan_mode == "wgangp":
        raise UserError(f"--gan_mode wgangp needs a gradient penalty, which --model {options[RunFlags].model} does not "
                        "have: choose another")


def refuse_second_derivatives(options: Options, weights: Mapping[str, float]) -> None:
    """Refuse gradient penalties, given by flag and weight, together with compiled networks or fp16.

    Raises:
        UserError: a weight is above 0, and the options ask for one of them.
    """
    speed = options[SpeedFlags]
    for name, weight in weights.items():
        if weight and (speed.compile or speed.amp == "fp16"):
            raise UserError(f"--{name} needs second derivatives, which torch.compile has not and which leave the "
                            "range of fp16: leave out --compile and use --amp bf16 or no")


def refuse_one_domain(options: Options) -> None:
    """Refuse data sets without images of the target domain, for methods that need them.

    Raises:
        UserError: the data set has none.
    """
    model, mode = options[RunFlags].model, options[DataFlags].dataset_mode
    if mode == "single":
        raise UserError(f"--dataset_mode {mode} has no images of the target domain, without which --model {model} "
                        "cannot be trained: use unaligned or aligned")


def is_reversed(options: Options) -> bool:
    """Check whether --direction is the reverse of the training's."""
    direction = options[DataFlags].direction
    return bool(options.recorded.get("direction", direction) != direction)


def refuse_way_back(options: Options) -> None:
    """Refuse the other --direction, for methods whose generator translates in one direction only.

    Raises:
        UserError: --direction is the reverse of the training's.
    """
    if is_reversed(options):
        raise UserError(f"--direction {options[DataFlags].direction}: {options[RunFlags].name} was trained with "
                        f"--direction {options.recorded['direction']}, and its generator translates no other way: "
                        "leave the flag out, or train one for that direction")


def adam(parameters: Iterable[nn.Parameter] | list[dict[str, Any]], train: TrainFlags) -> torch.optim.Adam:
    """Build Adam with the learning rate and momenta of the flags; a parameter group may have another ``lr``."""
    return torch.optim.Adam(parameters, lr=train.lr, betas=(train.beta1, train.beta2), fused=True)

