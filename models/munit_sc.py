"""Multi-modal translation: MUNIT with the spatially-correlative loss (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

A generator G keeps the content of an image and draws it in a style, a vector s drawn from N(0, I). A style encoder E
estimates the style of a picture. MUNIT (Huang et al.: ECCV 2018) reconstructs images in both directions, to keep
content and style; here the self-similarity keeps the content, and one direction is enough:

    L_G,E = L_GAN(D, G(A, s)) + lambda_spatial * L_structure(A, G(A, s)) + lambda_style_rec * |E(G(A, s)) - s|
          + lambda_ms * |s - t| / |G(A, s) - G(A, t)| + lambda_identity * |G(B, E(B)) - B|

With only the third term, G could hide the style in changes that people cannot see. The fourth, mode seeking (Mao et
al.: CVPR 2019), makes the pictures of one image in two styles s and t differ. The last term shows real pictures to E,
which the other terms do not, and makes G reproduce them in their own style.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from options import Options, TrainFlags, flag

from .building import adam, build_discriminator, refuse_identity_of_other_channels
from .image_pool import ImagePool
from .losses.mode_seeking import mode_seeking_loss
from .objective import Minimize, total
from .structure import Pair, PairFeatures, Structure
from .structure_flags import StructureFlags, check_structure
from .styles import StyleDimFlags, StyledModel, initialize_munit


@dataclass(frozen=True)
class StyleFlags:
    """Reconstruction of styles, and differences between them."""

    lambda_style_rec: float = flag(1.0, "weight of the L1 distance between a style and the style encoder's estimate "
                                   "from the translation", above=0)
    lambda_ms: float = flag(0.02, "weight of mode seeking: a higher weight makes styles more different",
                            minimum=0)
    lambda_identity: float = flag(1.0, "weight of the L1 distance between a real B and its translation in its own "
                                  "style", minimum=0)


class MultiModalModel(StyledModel):
    """``--model munit_sc``. Networks: G, E (the style encoder), D and, for LSeSim, F (its heads)."""

    flags: ClassVar[tuple[type, ...]] = (StructureFlags, StyleDimFlags, StyleFlags)
    published = ("G", "E", "D")
    shown = ("real_A", "fake_B", "other_B", "real_B", "idt_B")
    learned_losses = ("F",)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"pool_size": 0} if training else {}

    @classmethod
    def check(cls, options: Options) -> None:
        check_structure(options)
        super().check(options)
        if TrainFlags in options and options[StyleFlags].lambda_identity:
            refuse_identity_of_other_channels(options)

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        if not training:
            return
        train = options[TrainFlags]
        initialize_munit(self.generator, self.encoder, options)
        self.weights, self.gan_mode = options[StyleFlags], train.gan_mode
        self.networks["D"] = build_discriminator(options)
        self.pool = self.memory["pool"] = ImagePool(train.pool_size)
        learners = [*self.generator.parameters(), *self.encoder.parameters()]
        self.optimizers = {"G": adam(learners, train), "D": adam(self.networks["D"].parameters(), train)}
        self.structure = Structure(options)
        self.add_structure(self.structure)
        self.keep_averages(train.ema, "G", "E")

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F, then D, then G and E, all on the same translations.

        Translations in the second styles serve mode seeking and style reconstruction only. Both styles are drawn from
        the same distribution, so the other losses of the first styles hold for all styles.
        """
        images, count = self.images, len(self.images["real_A"])
        real_A, real_B = images["real_A"], images["real_B"]
        styles = self.draw_styles(real_A, 2 if self.weights.lambda_ms else 1)
        drawn = self.translate_in(styles, real_A)
        fake_B = images["fake_B"] = drawn[:count]
        if self.weights.lambda_ms:
            images["other_B"] = drawn[count:]
        features = self.structure.features(Pair.of(images))
        if self.structure.learns:
            minimize("F", lambda: self.structure.contrast([features]))
        minimize("D", lambda: self.discriminator_loss("D", real_B, self.pool.query(fake_B), gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", self._terms(self.structure.renewed(features), drawn, styles)))

    def _terms(self, features: PairFeatures, drawn: Tensor, styles: Tensor) -> dict[str, Tensor]:
        """Compute the weighted terms of G's and E's objective."""
        flags, images = self.weights, self.images
        terms = {"G_GAN": self.adversarial("D", images["fake_B"], gan_mode=self.gan_mode),
                 "G_style_rec": flags.lambda_style_rec * F.l1_loss(self.encode_style(drawn), styles)}
        if self.structure.used:
            terms["G_spatial"] = self.structure.flags.lambda_spatial * self.structure.distance(features)
        if flags.lambda_ms:
            terms["G_ms"] = flags.lambda_ms * mode_seeking_loss(*drawn.chunk(2), *styles.chunk(2))
        if flags.lambda_identity:
            images["idt_B"] = self.translate_in(self.encode_style(images["real_B"]), images["real_B"])
            terms["G_identity"] = flags.lambda_identity * F.l1_loss(images["idt_B"], images["real_B"])
        return terms
