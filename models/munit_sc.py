"""Multi-modal translation: MUNIT with the spatially-correlative loss (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

A generator G keeps the content of an image and draws it in a style, a vector s drawn from N(0, I). A style encoder E
reads the style off a picture. MUNIT (Huang et al.: ECCV 2018) reconstructs images in both directions, to hold content
and style; here the self-similarity holds the content, and one direction is enough:

    L_G,E = L_GAN(D, G(A, s)) + lambda_spatial * L_structure(A, G(A, s)) + lambda_style_rec * |E(G(A, s)) - s|
          + lambda_ms * |s - t| / |G(A, s) - G(A, t)| + lambda_identity * |G(B, E(B)) - B|

The third term alone would be content with a style that E can read and people cannot see. The fourth, mode seeking (Mao
et al.: CVPR 2019), keeps pictures of one image in two styles s and t apart. The last ties the styles of real pictures,
which the others never show to E, to what G does with them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, NetworkFlags, Options, RunFlags, TrainFlags, flag
from util.errors import UserError
from util.images import load_normalized

from .base import Model, pad_to_fit, translate_any_size
from .building import adam, build_discriminator, refuse_one_domain, refuse_penalty, refuse_way_back
from .image_pool import ImagePool
from .losses.mode_seeking import mode_seeking_loss
from .networks import initialize
from .networks.munit import MunitGenerator, StyleEncoder
from .objective import Minimize, total
from .structure import Pair, PairFeatures, Structure, StructureFlags, check_structure


@dataclass(frozen=True)
class StyleFlags:
    """Multi-modal translation; --netG and --norm do not describe its generator."""

    style_dim: int = flag(8, "numbers in a style", minimum=1, maximum=4096)
    lambda_style_rec: float = flag(1.0, "weight of the L1 distance between a style and what the style encoder reads "
                                   "off the translation", above=0)
    lambda_ms: float = flag(0.02, "weight of mode seeking: more of it makes two styles of an image differ more",
                            minimum=0)
    lambda_identity: float = flag(1.0, "weight of the L1 distance between a real B and its translation in its own "
                                  "style", minimum=0)


@dataclass(frozen=True)
class ChosenStyleFlags:
    """Styles to translate to."""

    n_styles: int = flag(1, "translate each image in so many styles, drawn by --seed: the same ones for every image; "
                         "the results are fake_B_1 and so on", minimum=1)
    style_image: str = flag("", "take the style from this picture, of about the size of the training images")


class MultiModalModel(Model):
    """``--model munit_sc``. Networks: G, E (the style encoder), D and, for LSeSim, F (its heads)."""

    flags: ClassVar[tuple[type, ...]] = (StructureFlags, StyleFlags)
    test_flags: ClassVar[tuple[type, ...]] = (ChosenStyleFlags,)
    inherited: ClassVar[tuple[str, ...]] = ("style_dim",)
    published = ("G", "E", "D")
    shared = ("E",)
    shown = ("real_A", "fake_B", "other_B", "real_B", "idt_B")
    learned_losses = ("F",)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"pool_size": 0} if training else {}

    @classmethod
    def check(cls, options: Options) -> None:
        check_structure(options)
        if TrainFlags not in options:
            refuse_way_back(options)
            chosen = options[ChosenStyleFlags]
            if chosen.style_image and chosen.n_styles > 1:
                raise UserError(f"--style_image gives one style and --n_styles {chosen.n_styles} draws others: leave "
                                "one of them out")
            return
        refuse_penalty(options)
        refuse_one_domain(options)
        data = options[DataFlags]
        if options[StyleFlags].lambda_identity and data.input_nc != data.output_nc:
            raise UserError("--lambda_identity translates real B images: it needs --input_nc equal to --output_nc, or "
                            "--lambda_identity 0")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        data, network, self.style_dim = options[DataFlags], options[NetworkFlags], options[StyleFlags].style_dim
        self.seed = options[RunFlags].seed or 0
        self.generator = MunitGenerator(
            input_nc=data.input_nc, output_nc=data.output_nc, ngf=network.ngf, style_dim=self.style_dim,
            antialias=not network.no_antialias, antialias_up=not network.no_antialias_up)
        self.networks["G"] = self.generator
        self.chosen = ChosenStyleFlags() if training else options[ChosenStyleFlags]
        if training or self.chosen.style_image:
            self.encoder = StyleEncoder(input_nc=data.output_nc, nsf=network.ngf, style_dim=self.style_dim)
            self.networks["E"] = self.encoder
        if self.chosen.style_image:
            if not Path(self.chosen.style_image).is_file():
                raise UserError(f"--style_image: there is no file {self.chosen.style_image}")
            self.style_image = load_normalized(Path(self.chosen.style_image), data.output_nc)[None]
        if training:
            self._build_training(options)

    def _build_training(self, options: Options) -> None:
        network, train = options[NetworkFlags], options[TrainFlags]
        initialize(self.generator, network.init_type, network.init_gain)
        for unnormalised in (self.generator.mlp, self.encoder):  # nothing would make up for small weights here
            initialize(unnormalised, "kaiming")
        self.weights, self.gan_mode = options[StyleFlags], train.gan_mode
        self.discriminator = build_discriminator(options)
        self.networks["D"] = self.discriminator
        self.pool = ImagePool(train.pool_size)
        self.memory["pool"] = self.pool
        learners = [*self.generator.parameters(), *self.encoder.parameters()]
        self.optimizers = {"G": adam(learners, train), "D": adam(self.discriminator.parameters(), train)}
        self.structure = Structure(options)
        self.add_structure(self.structure)
        self.keep_averages(train.ema, "G", "E")

    def translate(self, images: Tensor) -> Tensor:
        """In the first of the styles."""
        return self.translate_in(next(iter(self.styles.values())), images)

    def translate_in(self, styles: Tensor, images: Tensor) -> Tensor:
        """Translate images [B, C, H, W] in styles [S, style_dim], or in one for all: [N, C, H, W].

        Style n is for image n modulo B; N is S, but B where S is 1.
        """
        styles = styles.expand(max(len(styles), len(images)), -1)
        return translate_any_size(self.generator, images, styles.to(images))

    def encode_style(self, images: Tensor) -> Tensor:
        """The styles [B, style_dim] of pictures [B, C, H, W] of the target domain."""
        least = self.encoder.least_size
        styles: Tensor = self.encoder(pad_to_fit(images, 1, least))
        return styles

    def translators(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {name: partial(self.translate_in, style) for name, style in self.styles.items()}

    @cached_property
    def styles(self) -> dict[str, Tensor]:
        """The styles [1, style_dim] of test.py, by the name of the result."""
        if self.chosen.style_image:
            device = next(self.encoder.parameters()).device
            return {"fake_B": self.encode_style(self.style_image.to(device))}
        generator = torch.Generator().manual_seed(self.seed)
        # one by one, so that the first of them are the same for every number of them
        styles = [torch.randn(1, self.style_dim, generator=generator) for _ in range(self.chosen.n_styles)]
        names = [f"fake_B_{number}" for number in range(1, len(styles) + 1)] if len(styles) > 1 else ["fake_B"]
        return dict(zip(names, styles, strict=True))

    def draw_styles(self, images: Tensor) -> Tensor:
        """A style from N(0, I) for each of the images, and with mode seeking a second one: [B or 2 * B, style_dim]."""
        count = 2 * len(images) if self.weights.lambda_ms else len(images)
        return torch.randn(count, self.style_dim, device=images.device, dtype=images.dtype)

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train F, then D, then G and E, all on the same translations.

        Translations in the second styles serve mode seeking and style reconstruction only. Both styles are drawn from
        the same distribution, so what the other losses ask of the first holds for all.
        """
        images, count = self.images, len(self.images["real_A"])
        real_A, real_B = images["real_A"], images["real_B"]
        styles = self.draw_styles(real_A)
        drawn = self.translate_in(styles, real_A)
        fake_B = images["fake_B"] = drawn[:count]
        if self.weights.lambda_ms:
            images["other_B"] = drawn[count:]
        features = self.structure.features(Pair(real_A, fake_B, real_B, images.get("aug_A"), images.get("aug_B")))
        if self.structure.learns:
            minimize("F", lambda: self.structure.contrast([features]))
        minimize("D", lambda: self.discriminator_loss("D", real_B, self.pool.query(fake_B), gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", self._terms(self.structure.renewed(features), drawn, styles)))

    def _terms(self, features: PairFeatures, drawn: Tensor, styles: Tensor) -> dict[str, Tensor]:
        """The weighted terms of G's and E's objective."""
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
