"""Spatially-correlative translation: FSeSim and LSeSim (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

A generator G translates A to B. A discriminator D compares the translations with real images of B. The
spatially-correlative loss compares the self-similarity of input and translation (see `Structure`):

    L_G = L_GAN(D, G(A)) + lambda_spatial * L_structure(A, G(A)) + optional terms
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, Options, TrainFlags, flag
from util.errors import UserError

from .base import Model
from .building import (
    adam,
    build_discriminator,
    build_generator,
    refuse_one_domain,
    refuse_second_derivatives,
    refuse_way_back,
)
from .image_pool import ImagePool
from .losses.perceptual import PERCEPTUAL_LAYERS, STYLE_LAYERS, perceptual_loss, style_loss
from .networks.features import VGG16
from .objective import Minimize, total
from .structure import Pair, PairFeatures, Structure
from .structure_flags import StructureFlags, check_structure
from .translation import composite


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
    takes_masks = True
    autoencoders = ("G",)

    @classmethod
    def check(cls, options: Options) -> None:
        """Refuse flags that contradict each other, before anything is built or loaded."""
        check_structure(options)
        if TrainFlags not in options:
            refuse_way_back(options)
            return
        refuse_one_domain(options)
        flags, data = options[SpatialFlags], options[DataFlags]
        for name in ("lambda_perceptual", "lambda_style"):
            if getattr(flags, name) and (network := options[StructureFlags].feature_net) != VGG16:
                raise UserError(f"--{name} compares features of VGG16: it does not go with --feature_net {network}")
        for name in ("lambda_identity", "lambda_spatial_idt"):
            if getattr(flags, name) and data.input_nc != data.output_nc:
                raise UserError(f"--{name} translates real B images: it needs --input_nc equal to --output_nc")
        refuse_second_derivatives(options, {"lambda_gradient": flags.lambda_gradient, "lambda_R1": flags.lambda_R1})
        if options[TrainFlags].gan_mode == "wgangp" and not flags.lambda_gradient:
            raise UserError("--gan_mode wgangp needs its gradient penalty: add --lambda_gradient 10")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.networks["G"] = build_generator(options)
        if training:
            self._build_training(options[SpatialFlags], options)

    def _build_training(self, flags: SpatialFlags, options: Options) -> None:
        train = options[TrainFlags]
        self.weights, self.lambda_spatial, self.gan_mode = flags, options[StructureFlags].lambda_spatial, train.gan_mode
        self.networks["D"] = build_discriminator(options)
        self.pool = self.memory["pool"] = ImagePool(train.pool_size)
        self.optimizers = {name: adam(self.networks[name].parameters(), train) for name in ("G", "D")}
        self.structure = Structure(
            options, weight=self.lambda_spatial + flags.lambda_spatial_idt,
            more_layers=(PERCEPTUAL_LAYERS if flags.lambda_perceptual else ())
            + (STYLE_LAYERS if flags.lambda_style else ()))
        self.add_structure(self.structure)
        self.keep_averages(train.ema, "G")

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F, then D, then G, all on the same translations."""
        images = self.images
        real_A, real_B = images["real_A"], images["real_B"]
        fake_B = images["fake_B"] = composite(self.translate(real_A), real_A, images.get("mask_A"))
        if self.weights.lambda_identity or self.weights.lambda_spatial_idt:
            images["idt_B"] = self.translate(real_B)
        features = self.structure.features(Pair.of(images))
        if self.structure.learns:
            minimize("F", lambda: self.structure.contrast([features]))
        minimize("D", lambda: self.discriminator_loss(
            "D", real_B, self.pool.query(fake_B), gan_mode=self.gan_mode, penalty=self.weights.lambda_gradient,
            r1=self.weights.lambda_R1))
        minimize("G", lambda: total("G", self.generator_terms(self.structure.renewed(features))))

    def generator_terms(self, features: PairFeatures) -> dict[str, Tensor]:
        """Compute the weighted terms of the generator's objective."""
        flags, images = self.weights, self.images
        real_B, fake_B = images["real_B"], images["fake_B"]
        terms = {"G_GAN": self.adversarial("D", fake_B, gan_mode=self.gan_mode)}
        if self.lambda_spatial:
            terms["G_spatial"] = self.lambda_spatial * self.structure.distance(features)
        if flags.lambda_style or flags.lambda_spatial_idt:
            of_real_B = self.structure.extract({"real_B": real_B})["real_B"]
        if flags.lambda_spatial_idt:
            of_idt_B = self.structure.extract({"idt_B": images["idt_B"]})["idt_B"]
            terms["G_spatial_idt"] = flags.lambda_spatial_idt * self.structure.between(of_real_B, of_idt_B)
        if flags.lambda_identity:
            terms["G_identity"] = flags.lambda_identity * F.l1_loss(images["idt_B"], real_B)
        if flags.lambda_perceptual:
            pair = ([features[image][layer] for layer in PERCEPTUAL_LAYERS] for image in ("target", "source"))
            terms["G_perceptual"] = flags.lambda_perceptual * perceptual_loss(*pair)
        if flags.lambda_style:
            pair = ([of[layer] for layer in STYLE_LAYERS] for of in (features["target"], of_real_B))
            terms["G_style"] = flags.lambda_style * style_loss(*pair)
        return terms
