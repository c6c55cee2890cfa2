"""Parts that models of several styles share: MUNIT's networks, styles of test.py, and styles of a training step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from options import DataFlags, NetworkFlags, Options, RunFlags, TrainFlags, flag
from util.errors import UserError
from util.images import load_normalized

from .base import Model
from .building import refuse_one_domain, refuse_penalty, refuse_way_back
from .networks import initialize
from .networks.munit import MunitGenerator, StyleEncoder
from .translation import pad_to_fit, translate_any_size


@dataclass(frozen=True)
class StyleDimFlags:
    """Multi-modal translation; --netG and --norm do not describe its generator."""

    style_dim: int = flag(8, "numbers in a style", minimum=1, maximum=4096)


@dataclass(frozen=True)
class ChosenStyleFlags:
    """Styles to translate to."""

    n_styles: int = flag(1, "number of styles to translate each image in, drawn by --seed: the same for every image; "
                         "the results are fake_B_1 and so on", minimum=1)
    style_image: str = flag("", "take the style from this picture, of about the size of the training images")


class StyledModel(Model):
    """A model that translates an image in several styles. Networks: at least G and, in training, E (the style encoder).

    A subclass builds the rest of the training after ``super().__init__``.
    """

    test_flags: ClassVar[tuple[type, ...]] = (ChosenStyleFlags,)
    inherited: ClassVar[tuple[str, ...]] = ("style_dim",)
    shared = ("E",)

    @classmethod
    def check(cls, options: Options) -> None:
        if TrainFlags in options:
            refuse_penalty(options)
            refuse_one_domain(options)
            return
        refuse_way_back(options)
        chosen = options[ChosenStyleFlags]
        if chosen.style_image and chosen.n_styles > 1:
            raise UserError(f"--style_image gives one style and --n_styles {chosen.n_styles} draws others: leave "
                            "one of them out")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        data, self.style_dim = options[DataFlags], options[StyleDimFlags].style_dim
        self.seed = options[RunFlags].seed or 0
        self.generator = munit_generator(options, data.input_nc, data.output_nc)
        self.networks["G"] = self.generator
        self.chosen = ChosenStyleFlags() if training else options[ChosenStyleFlags]
        if training or self.chosen.style_image:
            self.encoder = style_encoder(options, data.output_nc)
            self.networks["E"] = self.encoder
        if self.chosen.style_image:
            if not Path(self.chosen.style_image).is_file():
                raise UserError(f"--style_image: there is no file {self.chosen.style_image}")
            self.style_image = load_normalized(
                Path(self.chosen.style_image), data.output_nc, data.ranges[1], flag="--range_B")[None]

    def translate(self, images: Tensor) -> Tensor:
        """Translate to the first of the styles."""
        return self.translate_in(next(iter(self.styles.values())), images)

    def translate_in(self, styles: Tensor, images: Tensor) -> Tensor:
        """Translate images [B, C, H, W] in styles [S, style_dim], or in one for all: [N, C, H, W].

        Style n is for image n modulo B; N is S, but B where S is 1.
        """
        styles = styles.expand(max(len(styles), len(images)), -1)
        return translate_any_size(self.generator, images, styles.to(images))

    def encode_style(self, images: Tensor) -> Tensor:
        """Encode the styles [B, style_dim] of pictures [B, C, H, W] of the target domain."""
        return read_style(self.encoder, images)

    def translators(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {name: partial(self.translate_in, style) for name, style in self.styles.items()}

    @cached_property
    def styles(self) -> dict[str, Tensor]:
        """The styles [1, style_dim] of test.py, by the name of the result."""
        if self.chosen.style_image:
            device = next(self.encoder.parameters()).device
            return {"fake_B": self.encode_style(self.style_image.to(device))}
        generator = torch.Generator().manual_seed(self.seed)
        # one by one, so that the first ones are the same for every number of styles
        styles = [torch.randn(1, self.style_dim, generator=generator) for _ in range(self.chosen.n_styles)]
        names = [f"fake_B_{number}" for number in range(1, len(styles) + 1)] if len(styles) > 1 else ["fake_B"]
        return dict(zip(names, styles, strict=True))

    def draw_styles(self, images: Tensor, each: int = 1) -> Tensor:
        """Draw ``each`` styles from N(0, I) for each of B images: [each * B, style_dim]."""
        return torch.randn(each * len(images), self.style_dim, device=images.device, dtype=images.dtype)


def munit_generator(options: Options, input_nc: int, output_nc: int) -> MunitGenerator:
    """Build the generator that the flags describe."""
    network = options[NetworkFlags]
    return MunitGenerator(
        input_nc=input_nc, output_nc=output_nc, ngf=network.ngf, style_dim=options[StyleDimFlags].style_dim,
        antialias=not network.no_antialias, antialias_up=not network.no_antialias_up)


def style_encoder(options: Options, input_nc: int) -> StyleEncoder:
    """Build the style encoder that the flags describe."""
    return StyleEncoder(input_nc=input_nc, nsf=options[NetworkFlags].ngf, style_dim=options[StyleDimFlags].style_dim)


def initialize_munit(generator: MunitGenerator, encoder: StyleEncoder, options: Options) -> None:
    """Draw the initial weights of a generator and of its style encoder."""
    network = options[NetworkFlags]
    initialize(generator, network.init_type, network.init_gain)
    for unnormalised in (generator.mlp, encoder):  # no normalisation compensates small weights here
        initialize(unnormalised, "kaiming")


def read_style(encoder: StyleEncoder, images: Tensor) -> Tensor:
    """Encode the styles [B, style_dim] of pictures [B, C, H, W] of any size."""
    styles: Tensor = encoder(pad_to_fit(images, 1, encoder.least_size))
    return styles
