"""Spatially-correlative translation: FSeSim and LSeSim (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

A generator G translates A to B, a discriminator D compares its translations with real images of B, and the
spatially-correlative loss holds the translation to the input's self-similarity (see `Structure`):

    L_G = L_GAN(D, G(A)) + lambda_spatial * L_structure(A, G(A)) + optional terms
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, Options, SpeedFlags, TrainFlags, flag
from util.errors import UserError

from .base import Model, translate_any_size
from .building import adam, build_discriminator, build_generator, refuse_one_domain, refuse_way_back
from .image_pool import ImagePool
from .losses.perceptual import PERCEPTUAL_LAYERS, STYLE_LAYERS, perceptual_loss, style_loss
from .networks.features import VGG16
from .structure import Features, Pair, Structure, StructureFlags, check_structure


@dataclass(frozen=True)
class SpatialFlags:
    """Terms beside the spatially-correlative loss."""

    lambda_spatial_idt: float = flag(0.0, "weight of the same loss between a real B and its translation", minimum=0)
    lambda_perceptual: float = flag(0.0, "weight of the perceptual loss between input and translation", minimum=0)
    lambda_style: float = flag(0.0, "weight of the style loss between translation and real B", minimum=0)
    lambda_identity: float = flag(0.0, "weight of the L1 distance between a real B and its translation", minimum=0)
    lambda_gradient: float = flag(0.0, "weight of the discriminator's gradient penalty of WGAN-GP, between real and "
                                  "generated images: --gan_mode wgangp needs about 10", minimum=0)
    lambda_R1: float = flag(0.0, "weight of the discriminator's R1 penalty, at real images", minimum=0)


class SpatialCorrelativeModel(Model):
    """``--model sc``. Networks: G, D and, for LSeSim, F (the heads; with ``--vgg_lr_scale`` also VGG)."""

    flags: ClassVar[tuple[type, ...]] = (StructureFlags, SpatialFlags)
    published = ("G", "D")
    learned_losses = ("F",)

    @classmethod
    def check(cls, options: Options) -> None:
        """Refuse flags that contradict each other, before anything is built or loaded."""
        check_structure(options)
        if TrainFlags not in options:
            refuse_way_back(options)
            return
        refuse_one_domain(options)
        flags, data, speed = options[SpatialFlags], options[DataFlags], options[SpeedFlags]
        for name in ("lambda_perceptual", "lambda_style"):
            if getattr(flags, name) and (network := options[StructureFlags].feature_net) != VGG16:
                raise UserError(f"--{name} compares features of VGG16: it does not go with --feature_net {network}")
        for name in ("lambda_identity", "lambda_spatial_idt"):
            if getattr(flags, name) and data.input_nc != data.output_nc:
                raise UserError(f"--{name} translates real B images: it needs --input_nc equal to --output_nc")
        for name in ("lambda_gradient", "lambda_R1"):
            if getattr(flags, name) and (speed.compile or speed.amp == "fp16"):
                raise UserError(f"--{name} needs second derivatives, which torch.compile has not and which leave the "
                                "range of fp16: leave out --compile and use --amp bf16 or no")
        if options[TrainFlags].gan_mode == "wgangp" and not flags.lambda_gradient:
            raise UserError("--gan_mode wgangp needs its gradient penalty: add --lambda_gradient 10")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.generator = build_generator(options)
        self.networks["G"] = self.generator
        if training:
            self._build_training(options[SpatialFlags], options)

    def _build_training(self, flags: SpatialFlags, options: Options) -> None:
        train = options[TrainFlags]
        self.weights, self.lambda_spatial, self.gan_mode = flags, options[StructureFlags].lambda_spatial, train.gan_mode
        self.discriminator = build_discriminator(options)
        self.networks["D"] = self.discriminator
        self.pool = ImagePool(train.pool_size)
        self.memory["pool"] = self.pool
        self.optimizers = {name: adam(self.networks[name].parameters(), train) for name in ("G", "D")}
        self.structure = Structure(
            self, options, weight=self.lambda_spatial + flags.lambda_spatial_idt,
            more_layers=(PERCEPTUAL_LAYERS if flags.lambda_perceptual else ())
            + (STYLE_LAYERS if flags.lambda_style else ()))
        self.keep_averages(train.ema, "G")

    def translate(self, images: Tensor) -> Tensor:
        return translate_any_size(self.generator, images)

    def optimize_parameters(self) -> dict[str, Tensor]:
        """Heads, then D, then G, all on the same translations."""
        flags, images = self.weights, self.images
        fake_B = images["fake_B"] = self.translate(images["real_A"])
        if flags.lambda_identity or flags.lambda_spatial_idt:
            images["idt_B"] = self.translate(images["real_B"])
        pair = Pair(images["real_A"], fake_B, images["real_B"], images.get("aug_A"), images.get("aug_B"))
        losses, (seen,) = self.structure.prepare([pair])
        losses |= self.optimize_discriminator("D", images["real_B"], self.pool.query(fake_B), gan_mode=self.gan_mode,
                                              penalty=flags.lambda_gradient, r1=flags.lambda_R1)
        return losses | self.optimize_generator(self._terms(seen))

    def _terms(self, seen: dict[str, Features]) -> dict[str, Tensor]:
        """What G's objective is the sum of."""
        flags, images = self.weights, self.images
        if flags.lambda_style or flags.lambda_spatial_idt:
            seen |= self.structure.extract({"real_B": images["real_B"]})
        if flags.lambda_spatial_idt:
            seen |= self.structure.extract({"idt_B": images["idt_B"]})
        terms = {"G_GAN": (1.0, self.adversarial("D", images["fake_B"], gan_mode=self.gan_mode))}
        if self.lambda_spatial:
            terms["G_spatial"] = (self.lambda_spatial, self.structure.distance(seen))
        if flags.lambda_spatial_idt:
            terms["G_spatial_idt"] = (flags.lambda_spatial_idt, self.structure.between(seen["real_B"], seen["idt_B"]))
        if flags.lambda_identity:
            terms["G_identity"] = (flags.lambda_identity, F.l1_loss(images["idt_B"], images["real_B"]))
        if flags.lambda_perceptual:
            pair = ([seen[image][layer] for layer in PERCEPTUAL_LAYERS] for image in ("target", "source"))
            terms["G_perceptual"] = (flags.lambda_perceptual, perceptual_loss(*pair))
        if flags.lambda_style:
            pair = ([seen[image][layer] for layer in STYLE_LAYERS] for image in ("target", "real_B"))
            terms["G_style"] = (flags.lambda_style, style_loss(*pair))
        return {name: weight * loss for name, (weight, loss) in terms.items()}
