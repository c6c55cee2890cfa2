"""Paired translation: pix2pix (Isola, Zhu, Zhou, Efros: CVPR 2017, arXiv 1611.07004).

A generator G learns from pairs (A, B) of one scene. A discriminator D sees the input beside the real or the generated
output, and so judges whether they belong together:

    L_G = L_GAN(D, (A, G(A))) + lambda_L1 * |B - G(A)|
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from options import DataFlags, Options, TrainFlags, flag
from util.errors import UserError

from .base import Model
from .building import adam, build_discriminator, build_generator, refuse_pool_and_penalty, refuse_way_back
from .objective import Minimize, total


@dataclass(frozen=True)
class PairFlags:
    """Paired translation."""

    lambda_L1: float = flag(100.0, "weight of the L1 distance between translation and truth", minimum=0)


class PairedModel(Model):
    """``--model pix2pix``. Networks: G and D."""

    flags: ClassVar[tuple[type, ...]] = (PairFlags,)
    published = ("G", "D")

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        shared = {"dataset_mode": "aligned"}
        if not training:
            return shared
        return shared | {"gan_mode": "vanilla", "pool_size": 0, "lr": 0.0002, "n_epochs": 100, "n_epochs_decay": 100}

    @classmethod
    def check(cls, options: Options) -> None:
        if TrainFlags not in options:
            refuse_way_back(options)
            return
        refuse_pool_and_penalty(options)
        mode = options[DataFlags].dataset_mode
        if mode != "aligned":
            raise UserError(f"--dataset_mode {mode} has no pairs, from which --model pix2pix learns: use aligned")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.networks["G"] = build_generator(options)
        if not training:
            return
        data, train = options[DataFlags], options[TrainFlags]
        self.lambda_L1, self.gan_mode = options[PairFlags].lambda_L1, train.gan_mode
        self.judged_channels = data.input_nc, data.output_nc
        self.networks["D"] = build_discriminator(options, input_nc=sum(self.judged_channels))
        self.optimizers = {name: adam(network.parameters(), train) for name, network in self.networks.items()}
        self.keep_averages(train.ema, "G")

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train D, then G, on the same translations."""
        real_A, real_B = self.images["real_A"], self.images["real_B"]
        fake_B = self.images["fake_B"] = self.translate(real_A)
        real, fake = torch.cat([real_A, real_B], dim=1), torch.cat([real_A, fake_B], dim=1)  # [B, input_nc + output_nc]
        minimize("D", lambda: self.discriminator_loss("D", real, fake, gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", {
            "G_GAN": self.adversarial("D", fake, gan_mode=self.gan_mode),
            "G_L1": self.lambda_L1 * F.l1_loss(fake_B, real_B),
        }))
