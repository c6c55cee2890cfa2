"""GcGAN: geometry consistency (Fu, Gong, Wang, Batmanghelich, Zhang, Tao: CVPR 2019, arXiv 1809.05852).

A generator G translates A to B, and must translate a turned image to the turned translation. f rotates images by 90
degrees clockwise, or flips them upside down. A discriminator D compares G(A) with real images of B, and D_gc compares
G(f(A)) with f(B):

    L_G = L_GAN(D, G(A)) + L_GAN(D_gc, G(f(A)))
        + lambda_AB * lambda_gc * |G(A) - f^-1(G(f(A)))|                                         geometry consistency
        + lambda_AB * lambda_identity * (|G(B) - B| + |G(f(B)) - f(B)|)                          identities
        + lambda_spatial * L_structure(A, G(A))                                   with --structure fsesim or lsesim

The paper adds |G(f(A)) - f(G(A))| to the second line. It is the same number. The published code stops the gradient at
the second operand of both, so that their sum has the gradient of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from options import Options, TrainFlags, flag

from .base import Model
from .building import (
    adam,
    build_discriminator,
    build_generator,
    refuse_identity_of_other_channels,
    refuse_one_domain,
    refuse_penalty,
    refuse_way_back,
)
from .image_pool import ImagePool
from .objective import Minimize, total
from .structure import PairFeatures
from .structure_flags import StructureFlags, check_choice, implied_by
from .translation import composite


@dataclass(frozen=True)
class GeometryFlags:
    """Geometry consistency."""

    geometry: str = flag("rot", "how images are turned: rot, by 90 degrees clockwise, or vf, upside down",
                         choices=("rot", "vf"))
    lambda_AB: float = flag(10.0, "weight of geometry consistency and identities", minimum=0)
    lambda_gc: float = flag(2.0, "weight of geometry consistency, relative to lambda_AB", minimum=0)
    lambda_identity: float = flag(0.5, "identity loss weight, relative to lambda_AB", minimum=0)
    structure: str = flag("none", "further loss that keeps the structure: fsesim, lsesim (which learns best with "
                          "--augment), or none", choices=("none", "fsesim", "lsesim"))


class GeometryModel(Model):
    """``--model gc_gan``. Networks: G, D, D_gc and, with ``--structure lsesim``, F."""

    flags: ClassVar[tuple[type, ...]] = (GeometryFlags, StructureFlags)
    published = ("G", "D", "D_gc")
    shown = ("real_A", "fake_B", "fake_gc_B", "real_B", "idt_B")
    learned_losses = ("F",)
    takes_masks = True
    autoencoders = ("G",)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"lr": 0.0002, "n_epochs": 100, "n_epochs_decay": 100} if training else {}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        return implied_by(typed)

    @classmethod
    def check(cls, options: Options) -> None:
        flags = options[GeometryFlags]
        check_choice(flags.structure, options)
        if TrainFlags not in options:
            refuse_way_back(options)
            return
        refuse_one_domain(options)
        refuse_penalty(options)
        if flags.lambda_identity and flags.lambda_AB:
            refuse_identity_of_other_channels(options)

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.networks["G"] = build_generator(options)
        if not training:
            return
        train, self.weights = options[TrainFlags], options[GeometryFlags]
        self.gan_mode = train.gan_mode
        self.networks |= {name: build_discriminator(options) for name in ("D", "D_gc")}
        self.pools = {name: ImagePool(train.pool_size) for name in ("pool", "pool_gc")}
        self.memory |= self.pools
        self.optimizers = {name: adam(network.parameters(), train) for name, network in self.networks.items()}
        self.add_chosen_structure(self.weights.structure, options)
        self.keep_averages(train.ema, "G")

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F, if there is one, then D and D_gc, then G, all on the same translations."""
        images, geometry = self.images, self.weights.geometry
        real_A, real_B = images["real_A"], images["real_B"]
        mask, turned = images.get("mask_A"), turn(real_A, geometry)
        turned_mask = None if mask is None else turn(mask, geometry)
        fake_B = images["fake_B"] = composite(self.translate(real_A), real_A, mask)
        fake_gc_B = images["fake_gc_B"] = composite(self.translate(turned), turned, turned_mask)
        features = self.learn_structure(minimize)
        minimize("D", lambda: self.discriminator_loss(
            "D", real_B, self.pools["pool"].query(fake_B), gan_mode=self.gan_mode))
        minimize("D_gc", lambda: self.discriminator_loss(
            "D_gc", turn(real_B, geometry), self.pools["pool_gc"].query(fake_gc_B), gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", self._terms(features)))

    def _terms(self, features: PairFeatures | None) -> dict[str, Tensor]:
        """Compute the weighted terms of G's objective."""
        flags, fake_B, fake_gc_B = self.weights, self.images["fake_B"], self.images["fake_gc_B"]
        terms = {"G_GAN": self.adversarial("D", fake_B, gan_mode=self.gan_mode),
                 "G_GAN_gc": self.adversarial("D_gc", fake_gc_B, gan_mode=self.gan_mode)}
        if weight := flags.lambda_AB * flags.lambda_gc:
            terms["G_gc"] = weight * F.l1_loss(fake_B, turn_back(fake_gc_B, flags.geometry))
        terms |= self.structure_term(features)
        if weight := flags.lambda_AB * flags.lambda_identity:
            real_B = self.images["real_B"]
            turned = turn(real_B, flags.geometry)
            self.images["idt_B"] = self.translate(real_B)
            terms["G_idt"] = weight * F.l1_loss(self.images["idt_B"], real_B)
            terms["G_idt_gc"] = weight * F.l1_loss(self.translate(turned), turned)
        return terms


def turn(images: Tensor, geometry: str) -> Tensor:
    """Apply f: rotate [B, C, H, W] by 90 degrees clockwise (``rot``), to [B, C, W, H], or flip it upside down."""
    return torch.rot90(images, -1, (2, 3)) if geometry == "rot" else images.flip(2)


def turn_back(images: Tensor, geometry: str) -> Tensor:
    """Undo `turn`."""
    return torch.rot90(images, 1, (2, 3)) if geometry == "rot" else images.flip(2)
