"""DistanceGAN: translations keep distances (Benaim, Wolf: NIPS 2017, arXiv 1706.00826).

A generator G translates A to B, and two images that are far apart in A must be far apart in B. A discriminator D
compares G(A) with real images of B:

    L_G = L_GAN(D, G(A)) + lambda_distance * mean |(d(A) - mu_A) / sigma_A - (d(G(A)) - mu_B) / sigma_B|
        + lambda_spatial * L_structure(A, G(A))                                   with --structure fsesim or lsesim

d are the mean absolute differences of all pairs of images of a batch, or of the two halves of each image. mu and sigma
are mean and standard deviation of d in real images of A and of B.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from options import DataFlags, Options, TrainFlags, flag, has_crop
from util.errors import UserError

from .base import Model
from .building import adam, build_discriminator, build_generator, refuse_one_domain, refuse_penalty, refuse_way_back
from .image_pool import ImagePool
from .losses.distances import half_distances, pair_distances
from .objective import Minimize, total
from .structure import PairFeatures
from .structure_flags import StructureFlags, check_choice, implied_by
from .translation import composite


@dataclass(frozen=True)
class DistanceFlags:
    """Distances."""

    distance: str = flag("self", "what is measured: self, the distance between the left and the right half of an "
                         "image, or pairs, that between the images of a batch, with the default --batch_size 2",
                         choices=("self", "pairs"))
    lambda_distance: float = flag(1.0, "weight of the distances", minimum=0)
    structure: str = flag("none", "further loss that keeps the structure: fsesim, lsesim (which learns best with "
                          "--augment), or none", choices=("none", "fsesim", "lsesim"))


class DistanceModel(Model):
    """``--model distance_gan``. Networks: G, D and, with ``--structure lsesim``, F.

    Attributes:
        scales: mean and standard deviation of the distances in A and in B; (0, 1) until `study`.
    """

    flags: ClassVar[tuple[type, ...]] = (DistanceFlags, StructureFlags)
    published = ("G", "D")
    learned_losses = ("F",)
    takes_masks = True
    autoencoders = ("G",)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"lr": 0.0002, "n_epochs": 100, "n_epochs_decay": 100} if training else {}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**implied_by(typed), **({"batch_size": 2} if typed.get("distance") == "pairs" else {})}

    @classmethod
    def check(cls, options: Options) -> None:
        flags, data = options[DistanceFlags], options[DataFlags]
        check_choice(flags.structure, options)
        if TrainFlags not in options:
            refuse_way_back(options)
            return
        refuse_one_domain(options)
        refuse_penalty(options)
        if flags.distance == "pairs" and (data.batch_size < 2 or not has_crop(data.preprocess)):
            raise UserError("--distance pairs compares the images of a batch: it needs --batch_size 2 or more and a "
                            "--preprocess that crops; or use --distance self")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.networks["G"] = build_generator(options)
        if not training:
            return
        train, self.weights = options[TrainFlags], options[DistanceFlags]
        self.gan_mode = train.gan_mode
        self.networks["D"] = build_discriminator(options)
        self.optimizers = {name: adam(network.parameters(), train) for name, network in self.networks.items()}
        self.pool = self.memory["pool"] = ImagePool(train.pool_size)
        self.distances: Callable[[Tensor], Tensor] = (
            pair_distances if self.weights.distance == "pairs" else half_distances)
        self.scales = {"A": (0.0, 1.0), "B": (0.0, 1.0)}
        self.add_chosen_structure(self.weights.structure, options)
        self.keep_averages(train.ema, "G")

    def study(self, samples: Iterable[Mapping[str, Any]]) -> None:
        seen: dict[str, list[Tensor]] = {"A": [], "B": []}
        for sample in samples:
            for name, images in seen.items():
                images.append(sample[name])
        for name, images in seen.items():
            found = (pair_distances(torch.cat(images)) if self.weights.distance == "pairs" else
                     torch.cat([half_distances(image) for image in images])).double()
            deviation = found.std(correction=0).item() if len(found) > 1 else 0
            if deviation:  # a single distance has none
                self.scales[name] = found.mean().item(), deviation

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F, if there is one, then D, then G, all on the same translations."""
        images = self.images
        real_A = images["real_A"]
        fake_B = images["fake_B"] = composite(self.translate(real_A), real_A, images.get("mask_A"))
        features = self.learn_structure(minimize)
        minimize("D", lambda: self.discriminator_loss(
            "D", images["real_B"], self.pool.query(fake_B), gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", self._terms(features)))

    def _terms(self, features: PairFeatures | None) -> dict[str, Tensor]:
        """Compute the weighted terms of G's objective."""
        fake_B = self.images["fake_B"]
        terms = {"G_GAN": self.adversarial("D", fake_B, gan_mode=self.gan_mode)}
        if self.weights.lambda_distance:
            (mean_A, deviation_A), (mean_B, deviation_B) = self.scales["A"], self.scales["B"]
            wanted = (self.distances(self.images["real_A"]) - mean_A) / deviation_A
            errors = (wanted - (self.distances(fake_B) - mean_B) / deviation_B).abs()
            terms["G_distance"] = self.weights.lambda_distance * errors.sum() / max(len(errors), 1)
        return terms | self.structure_term(features)
