"""CycleGAN (Zhu, Park, Isola, Efros: ICCV 2017, arXiv 1703.10593), with its cycles, or with structure instead of them.

A generator G_A translates A to B and G_B translates B to A; a discriminator D_A compares the outputs of G_A with real
images of B, and D_B those of G_B with real images of A:

    L_G = L_GAN(D_A, G_A(A)) + L_GAN(D_B, G_B(B))
        + lambda_A * |G_B(G_A(A)) - A| + lambda_B * |G_A(G_B(B)) - B|                            cycles
        + lambda_identity * (lambda_B * |G_A(B) - B| + lambda_A * |G_B(A) - A|)                  identities

With ``--structure fsesim`` or ``lsesim`` the line of the cycles becomes, as in the single-modal experiments of Zheng,
Cham and Cai (CVPR 2021, arXiv 2104.00854) but in both directions,

        + lambda_spatial * (L_structure(A, G_A(A)) + L_structure(B, G_B(B)))                     structure
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, Options, TrainFlags, flag
from util.errors import UserError

from .base import Model
from .building import adam, build_discriminator, build_generator, is_reversed, refuse_one_domain, refuse_penalty
from .image_pool import ImagePool
from .objective import Minimize, total
from .structure import Pair, PairFeatures
from .structure_flags import StructureFlags, check_choice, implied_by
from .translation import composite, translate_any_size


@dataclass(frozen=True)
class CycleFlags:
    """Two generators, one for each direction."""

    lambda_A: float = flag(10.0, "weight of the cycle A to B to A", minimum=0)
    lambda_B: float = flag(10.0, "weight of the cycle B to A to B", minimum=0)
    lambda_identity: float = flag(0.5, "identity loss weight, relative to lambda_A and lambda_B", minimum=0)
    structure: str = flag("none", "loss that keeps the structure: fsesim, lsesim (which learns best with --augment), "
                          "or none: the cycles", choices=("none", "fsesim", "lsesim"))


class CycleModel(Model):
    """``--model cycle_gan``. Networks: G_A, G_B, D_A, D_B and, with ``--structure lsesim``, F.

    Outside training one generator is enough: G_A, or G_B where ``--direction`` is not that of the training.
    """

    flags: ClassVar[tuple[type, ...]] = (CycleFlags, StructureFlags)
    published = ("G_A", "G_B", "D_A", "D_B")
    shown = ("real_A", "fake_B", "rec_A", "idt_B", "real_B", "fake_A", "rec_B", "idt_A")
    learned_losses = ("F",)
    takes_masks = True
    autoencoders = ("G_A", "G_B")
    translator = "G_A"
    shared = ("G_A", "G_B")

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"lr": 0.0002, "n_epochs": 100, "n_epochs_decay": 100} if training else {}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        return implied_by(typed)

    @classmethod
    def check(cls, options: Options) -> None:
        flags, data = options[CycleFlags], options[DataFlags]
        check_choice(flags.structure, options)
        if TrainFlags not in options:
            back = tuple(options.recorded.get(name) for name in ("output_nc", "input_nc"))
            if is_reversed(options) and (data.input_nc, data.output_nc) != back:
                raise UserError(f"--direction {data.direction} is the way back of this training: add --input_nc "
                                f"{back[0]} --output_nc {back[1]}")
            return
        refuse_one_domain(options)
        refuse_penalty(options)
        if flags.lambda_identity and (flags.lambda_A or flags.lambda_B) and data.input_nc != data.output_nc:
            raise UserError("--lambda_identity gives each generator images of its own target domain: it needs "
                            "--input_nc equal to --output_nc, or 0")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        data = options[DataFlags]
        self.forth = "G_B" if is_reversed(options) else "G_A"
        self.networks[self.forth] = build_generator(options)
        if not training:
            return
        self.cycle, train = options[CycleFlags], options[TrainFlags]
        self.gan_mode, self.lambda_spatial = train.gan_mode, options[StructureFlags].lambda_spatial
        self.networks |= {
            "G_B": build_generator(options, input_nc=data.output_nc, output_nc=data.input_nc),
            "D_A": build_discriminator(options), "D_B": build_discriminator(options, input_nc=data.input_nc)}
        self.pools = {"A": ImagePool(train.pool_size), "B": ImagePool(train.pool_size)}
        self.memory |= {f"pool_{name}": pool for name, pool in self.pools.items()}
        trained = {"G": ("G_A", "G_B"), "D_A": ("D_A",), "D_B": ("D_B",)}
        self.optimizers = {optimizer: adam([{"params": self.networks[name].parameters()} for name in names], train)
                           for optimizer, names in trained.items()}
        self.add_chosen_structure(self.cycle.structure, options)
        self.keep_averages(train.ema, "G_A", "G_B")

    def translate(self, images: Tensor) -> Tensor:
        return self._generate(self.forth, images)

    def _generate(self, name: str, images: Tensor) -> Tensor:
        return translate_any_size(self.networks[name], images)

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F, if there is one, then both discriminators, then both generators, all on the same translations."""
        images = self.images
        real_A, real_B = images["real_A"], images["real_B"]
        fake_B = images["fake_B"] = composite(self._generate("G_A", real_A), real_A, images.get("mask_A"))
        fake_A = images["fake_A"] = self._generate("G_B", real_B)
        features: list[PairFeatures] = []
        if self.by_structure:
            aug_A, aug_B = images.get("aug_A"), images.get("aug_B")
            pairs = Pair.of(images), Pair(real_B, fake_A, real_A, aug_B, aug_A)
            features = [self.structure.features(pair) for pair in pairs]
            if self.structure.learns:
                minimize("F", lambda: self.structure.contrast(features))
        minimize("D_A", lambda: self.discriminator_loss(
            "D_A", real_B, self.pools["A"].query(fake_B), gan_mode=self.gan_mode))
        minimize("D_B", lambda: self.discriminator_loss(
            "D_B", real_A, self.pools["B"].query(fake_A), gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", self._structures(features) | self._cycles() | {
            "G_GAN_A": self.adversarial("D_A", fake_B, gan_mode=self.gan_mode),
            "G_GAN_B": self.adversarial("D_B", fake_A, gan_mode=self.gan_mode),
        } | self._identities()))

    def _structures(self, pairs: Sequence[PairFeatures]) -> dict[str, Tensor]:
        """Compute structure distances of the translations from their inputs."""
        return {f"G_spatial_{name}": self.lambda_spatial * self.structure.distance(self.structure.renewed(features))
                for name, features in zip("AB", pairs, strict=False)}

    def _cycles(self) -> dict[str, Tensor]:
        """Compute L1 distances between the images and their translations there and back, unless their weight is 0."""
        terms: dict[str, Tensor] = {}
        if self.by_structure:
            return terms
        for name, fake, back, weight in (("A", "fake_B", "G_B", self.cycle.lambda_A),
                                         ("B", "fake_A", "G_A", self.cycle.lambda_B)):
            if weight:
                real, mask = self.images[f"real_{name}"], self.images.get(f"mask_{name}")
                restored = self.images[f"rec_{name}"] = composite(self._generate(back, self.images[fake]), real, mask)
                terms[f"G_cycle_{name}"] = weight * F.l1_loss(restored, real)
        return terms

    def _identities(self) -> dict[str, Tensor]:
        """Compute L1 distances between the images and their translations into their own domain."""
        terms = {}
        for name, real, weight in (("A", "real_B", self.cycle.lambda_B), ("B", "real_A", self.cycle.lambda_A)):
            if weight := weight * self.cycle.lambda_identity:
                same = self._generate(f"G_{name}", self.images[real])
                self.images[f"idt_{real[-1]}"] = same
                terms[f"G_idt_{name}"] = weight * F.l1_loss(same, self.images[real])
        return terms
