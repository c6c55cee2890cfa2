"""MUNIT: several translations of an image (Huang, Liu, Belongie, Kautz: ECCV 2018, arXiv 1804.04732).

An image has a content c and a style s. Each domain has an auto-encoder: two encoders, of content and of style, and a
decoder. A translation decodes the content of A in a style of B, which is drawn from N(0, I). With c_A and s_A of an
image A, c_B and s_B of an image B, and drawn styles s and t,

    AB = decode_B(c_A, s)                        BA = decode_A(c_B, t)

    L_G = L_GAN(D, AB) + L_GAN(D_back, BA)
        + lambda_rec * (|decode_A(c_A, s_A) - A| + |decode_B(c_B, s_B) - B|)                    images
        + lambda_content_rec * (|c_AB - c_A| + |c_BA - c_B|)                                    contents
        + lambda_style_rec * (|s_AB - s| + |s_BA - t|)                                          styles
        + lambda_cycle * (|decode_A(c_AB, s_A) - A| + |decode_B(c_BA, s_B) - B|)                images, there and back

The encoders of B compute c_AB and s_AB from AB. G is the content encoder of A and the decoder of B, so that G
translates A to B; E is the style encoder of B, D the discriminator of B. G_back, E_back and D_back are the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, Options, TrainFlags, flag

from .building import adam, build_discriminator
from .image_pool import ImagePool
from .networks.munit import MunitGenerator
from .objective import Minimize, total
from .styles import StyleDimFlags, StyledModel, initialize_munit, munit_generator, read_style, style_encoder
from .translation import pad_to_fit


@dataclass(frozen=True)
class ReconstructionFlags:
    """Reconstruction of images, contents and styles, in both directions."""

    lambda_rec: float = flag(10.0, "weight of the L1 distance between images and their reconstructions", minimum=0)
    lambda_content_rec: float = flag(1.0, "weight of the L1 distance between a content and that of its translation",
                                     minimum=0)
    lambda_style_rec: float = flag(1.0, "weight of the L1 distance between a style and the style encoder's estimate "
                                   "from the translation", minimum=0)
    lambda_cycle: float = flag(0.0, "weight of the L1 distance between images and their translations there and back, "
                               "in their own style; 10 in the published configuration of summer2winter", minimum=0)


class MunitModel(StyledModel):
    """``--model munit``. Networks: G, E, D, and G_back, E_back, D_back for the other direction."""

    flags: ClassVar[tuple[type, ...]] = (StyleDimFlags, ReconstructionFlags)
    published = ("G", "E", "D", "G_back", "E_back", "D_back")
    shown = ("real_A", "fake_B", "rec_A", "real_B", "fake_A", "rec_B")

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"pool_size": 0} if training else {}

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        if not training:
            return
        data, train = options[DataFlags], options[TrainFlags]
        self.weights, self.gan_mode = options[ReconstructionFlags], train.gan_mode
        self.back = munit_generator(options, data.output_nc, data.input_nc)
        self.encoder_back = style_encoder(options, data.input_nc)
        initialize_munit(self.generator, self.encoder, options)
        initialize_munit(self.back, self.encoder_back, options)
        self.networks |= {"D": build_discriminator(options), "G_back": self.back, "E_back": self.encoder_back,
                          "D_back": build_discriminator(options, input_nc=data.input_nc)}
        self.pools = {name: ImagePool(train.pool_size) for name in ("pool", "pool_back")}
        self.memory |= self.pools
        learners = [parameter for name in ("G", "E", "G_back", "E_back")
                    for parameter in self.networks[name].parameters()]
        self.optimizers = {"G": adam(learners, train), "D": adam(self.networks["D"].parameters(), train),
                           "D_back": adam(self.networks["D_back"].parameters(), train)}
        self.keep_averages(train.ema, "G", "E")

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train D and D_back, then all others, on the same translations."""
        images = self.images
        real_A, real_B = images["real_A"], images["real_B"]
        styles = {"A": self.draw_styles(real_B), "B": self.draw_styles(real_A)}
        contents = {"A": content_of(self.generator, real_A), "B": content_of(self.back, real_B)}
        images["fake_B"] = decode(self.generator, contents["A"], styles["B"], like=real_A)
        images["fake_A"] = decode(self.back, contents["B"], styles["A"], like=real_B)
        minimize("D", lambda: self.discriminator_loss(
            "D", real_B, self.pools["pool"].query(images["fake_B"]), gan_mode=self.gan_mode))
        minimize("D_back", lambda: self.discriminator_loss(
            "D_back", real_A, self.pools["pool_back"].query(images["fake_A"]), gan_mode=self.gan_mode))
        minimize("G", lambda: total("G", {
            "G_GAN": self.adversarial("D", images["fake_B"], gan_mode=self.gan_mode),
            "G_GAN_back": self.adversarial("D_back", images["fake_A"], gan_mode=self.gan_mode),
        } | self._reconstructions(contents, styles)))

    def _reconstructions(self, contents: dict[str, Tensor], styles: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the weighted L1 distances; contents are of the real images, styles of the translations."""
        flags, images = self.weights, self.images
        decoders = {"A": self.back, "B": self.generator}
        encoders = {"A": self.encoder_back, "B": self.encoder}
        terms: dict[str, Tensor] = {}
        for name, other in (("A", "B"), ("B", "A")):
            real, fake = images[f"real_{name}"], images[f"fake_{other}"]  # a translation of the real one
            own = read_style(encoders[name], real)
            rebuilt = images[f"rec_{name}"] = decode(decoders[name], contents[name], own, like=real)
            again = content_of(decoders[name], fake)  # of the other domain: its encoder is beside this decoder
            terms[f"G_rec_{name}"] = flags.lambda_rec * F.l1_loss(rebuilt, real)
            terms[f"G_content_rec_{name}"] = flags.lambda_content_rec * F.l1_loss(again, contents[name])
            read = read_style(encoders[other], fake)
            terms[f"G_style_rec_{other}"] = flags.lambda_style_rec * F.l1_loss(read, styles[other])
            if flags.lambda_cycle:
                cycled = decode(decoders[name], again, own, like=real)
                terms[f"G_cycle_{name}"] = flags.lambda_cycle * F.l1_loss(cycled, real)
        return terms


def content_of(generator: MunitGenerator, images: Tensor) -> Tensor:
    """Encode the contents of images [B, C, H, W] of any size: [B, C', h, w]."""
    contents: Tensor = generator(pad_to_fit(images, generator.multiple, generator.least_size))
    return contents


def decode(generator: MunitGenerator, contents: Tensor, styles: Tensor, *, like: Tensor) -> Tensor:
    """Decode contents in styles [B, style_dim] to pictures [B, C, H, W], of the height and width of ``like``."""
    height, width = like.shape[2:]
    pictures: Tensor = generator(contents, styles, of_contents=True)
    return pictures[..., :height, :width]
