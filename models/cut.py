"""Contrastive unpaired translation: CUT and FastCUT (Park, Efros, Zhang, Zhu: ECCV 2020, arXiv 2007.15651).

A generator G translates A to B, a discriminator D compares its translations with real images of B, and each patch of
a translation must be recognisable among those of its input. Patches are described by G's own encoder and a learned
head for each layer (network F):

    L_G = lambda_GAN * L_GAN(D, G(A)) + lambda_NCE * L_PatchNCE(A, G(A))

CUT also translates real images of B, as an identity, and averages L_PatchNCE(A, G(A)) and L_PatchNCE(B, G(B)).
FastCUT does not. It weights the loss by 10, and flips half of the inputs; the features of their translations, flipped
back, must match those of the original inputs.

``--nce_loss`` replaces PatchNCE by another loss (see `losses.patch_contrasts`), and ``--query_by entropy``
chooses patches by the generator's attention instead of at random.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from options import DataFlags, NetworkFlags, Options, RunFlags, TrainFlags, flag
from options.flag import comma_list
from util.errors import UserError

from .base import Model
from .building import adam, build_discriminator, build_generator, refuse_one_domain, refuse_penalty, refuse_way_back
from .image_pool import ImagePool
from .losses.patch_contrasts import hard_negative_contrast, monce, semantic_relation_loss
from .losses.patch_nce import PatchNCELoss, mean_over_layers, patch_nce
from .networks import ResnetGenerator, StyleGAN2Generator, initialize
from .networks.bridge import BridgeGenerator
from .objective import Minimize, total
from .translation import composite, pad_to_fit

PAIRS = (("G_NCE", "real_A", "fake_B"), ("G_NCE_idt", "real_B", "idt_B"))
"""Name of the term, input and translation of each contrastive loss."""


def ascending_numbers(text: str) -> tuple[int, ...]:
    """Convert ``"0,4,8"`` to ``(0, 4, 8)``."""
    items = comma_list(text)
    numbers = tuple(int(item) for item in items if item.isdecimal())
    if len(numbers) < len(items) or numbers != tuple(sorted(set(numbers))):
        raise ValueError(f"'{text}' is not a list of layers, from 0 up")
    return numbers


@dataclass(frozen=True)
class ContrastFlags:
    """The adversarial and the patch-wise contrastive loss."""

    lambda_GAN: float = flag(1.0, "weight of the generator's adversarial loss", minimum=0)
    lambda_NCE: float = flag(1.0, "weight of the patch-wise contrastive loss", minimum=0)
    nce_idt: bool = flag(True, "the contrastive loss also between real B images and their translations")
    nce_layers: tuple[int, ...] = flag(
        (0, 4, 8, 12, 16), "layers of the generator whose features are compared, by number: with blur-pooling 0 is the "
        "image, 4 and 8 the convolutions before the halvings, 12 the first residual block", parse=ascending_numbers)
    netF_nc: int = flag(256, "channels of the heads", minimum=1)
    num_patches: int = flag(256, "patches in each layer", minimum=1)
    nce_T: float = flag(0.07, "temperature of the contrastive loss", above=0)

    def contrast(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of queries and keys."""
        return partial(patch_nce, temperature=self.nce_T)


@dataclass(frozen=True)
class PatchFlags(ContrastFlags):
    """Contrastive unpaired translation."""

    CUT_mode: str = flag("CUT", "CUT, or FastCUT: the defaults --lambda_NCE 10 --nce_idt false --flip_equivariance "
                         "--n_epochs 150 --n_epochs_decay 50", choices=("CUT", "FastCUT"))
    flip_equivariance: bool = flag(False, "mirror half of the inputs before the generator, and its features after it")
    nce_loss: str = flag("patchnce", "the contrastive loss: patchnce; monce, with negatives weighted by optimal "
                         "transport; hdce, decoupled with hard negatives; src, the same and --lambda_SRC. hdce and src "
                         "have the default --lambda_NCE 0.1", choices=("patchnce", "monce", "hdce", "src"))
    lambda_SRC: float = flag(0.05, "weight of semantic relation consistency, with --nce_loss src", minimum=0)
    monce_eps: float = flag(1.0, "entropy of monce's transport plan; the smaller, the more similar negatives count",
                            minimum=0.02)
    hdce_gamma: float = flag(0.1, "hardness of the negatives of hdce and src; 0: all alike", minimum=0)
    nce_includes_all_negatives_from_minibatch: bool = flag(
        False, "the patches of all images of the batch are negatives, not only those of the same image; with several "
        "processes those of a process's part of the batch")
    query_by: str = flag("random", "patches of the layers with the smallest maps: random ones, or those of the lowest "
                         "entropy of attention", choices=("random", "entropy"))

    def contrast(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of queries and keys that ``nce_loss`` names."""
        if self.nce_loss == "monce":
            return partial(monce, temperature=self.nce_T, epsilon=self.monce_eps)
        if self.nce_loss in ("hdce", "src"):
            return partial(hard_negative_contrast, temperature=self.nce_T, gamma=self.hdce_gamma)
        return super().contrast()


def patch_loss(
    generator: ResnetGenerator | StyleGAN2Generator | BridgeGenerator, flags: ContrastFlags, network: NetworkFlags, *,
    by_entropy: bool = False,
) -> PatchNCELoss:
    """Build the contrastive loss of features of a generator, and draw the initial weights of its heads.

    Raises:
        UserError: the generator's encoder has no such layer.
    """
    last = generator.encoder_depth - 1
    if flags.nce_layers[-1] > last:
        raise UserError(f"--nce_layers: there is no layer {flags.nce_layers[-1]} in the encoder of --netG "
                        f"{network.netG}, whose last residual block is layer {last}; choose layers up to it")
    loss = PatchNCELoss(generator.channels_of(flags.nce_layers), width=flags.netF_nc, patch_count=flags.num_patches,
                        contrast=flags.contrast(), by_entropy=by_entropy)
    initialize(loss, network.init_type, network.init_gain)
    return loss


class ContrastiveModel(Model):
    """``--model cut``. Networks: G, D and F (the heads, which learn with G in one optimizer).

    Attributes:
        r1: weight of the gradient penalty of D at real images, of subclasses.
    """

    r1 = 0.0

    flags: ClassVar[tuple[type, ...]] = (PatchFlags,)
    published = ("G", "D")
    learned_losses = ("F",)
    takes_masks = True
    autoencoders = ("G",)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"pool_size": 0, "lr": 0.0002} if training else {}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        if typed.get("CUT_mode") != "FastCUT":
            return {"lambda_NCE": 0.1} if typed.get("nce_loss") in ("hdce", "src") else {}
        return {"lambda_NCE": 10.0, "nce_idt": False, "flip_equivariance": True, "n_epochs": 150, "n_epochs_decay": 50}

    @classmethod
    def check(cls, options: Options) -> None:
        netG = options[NetworkFlags].netG
        if netG.startswith("unet"):
            raise UserError(f"--netG {netG} has no encoder for --nce_layers: choose resnet_9blocks, resnet_6blocks, "
                            "stylegan2 or smallstylegan2")
        if TrainFlags not in options:
            refuse_way_back(options)
            return
        data, flags = options[DataFlags], options[PatchFlags]
        keys = flags.num_patches * (data.batch_size if flags.nce_includes_all_negatives_from_minibatch else 1)
        if flags.lambda_NCE and keys < 2:
            raise UserError(f"--nce_loss {flags.nce_loss} needs negatives: use --num_patches 2 or more")
        refuse_penalty(options)
        refuse_one_domain(options)
        if data.input_nc != data.output_nc:
            raise UserError(f"--model {options[RunFlags].model} encodes translations as it does inputs: it needs "
                            "--input_nc equal to --output_nc")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.generator = cast(ResnetGenerator | StyleGAN2Generator, build_generator(options))
        self.networks["G"] = self.generator
        if training:
            self._build_training(options[PatchFlags], options)

    def _build_training(self, flags: PatchFlags, options: Options) -> None:
        train, network = options[TrainFlags], options[NetworkFlags]
        self.patch, self.gan_mode = flags, train.gan_mode
        self.pairs = PAIRS if flags.nce_idt and flags.lambda_NCE else PAIRS[:1]
        self.networks["D"] = build_discriminator(options)
        self.pool = self.memory["pool"] = ImagePool(train.pool_size)
        groups: list[dict[str, Any]] = [{"params": self.generator.parameters()}]
        if flags.lambda_NCE:
            self.nce = patch_loss(self.generator, flags, network, by_entropy=flags.query_by == "entropy")
            self.contrast_of: Callable[[list[tuple[Tensor, Tensor]]], Tensor] = partial(
                mean_over_layers, self.nce.contrast)
            self.networks["F"] = self.nce
            groups.append({"params": self.nce.parameters()})
        self.optimizers = {"G": adam(groups, train), "D": adam(self.networks["D"].parameters(), train)}
        self.keep_averages(train.ema, "G")

    def compile_losses(self, **options: Any) -> None:
        super().compile_losses(**options)
        if "F" in self.networks:
            self.contrast_of = torch.compile(self.contrast_of, **options)
            for head in self.nce.heads:
                head.compile(**options)

    def choose(self) -> bool:
        """Draw whether to flip the inputs."""
        return self.patch.flip_equivariance and torch.rand(()).item() < 0.5

    def optimize_parameters(self, minimize: Minimize) -> None:
        """Train D, then G and F, on the same translations."""
        images, flip = self.images, bool(self.choice)
        outputs, keys = self._translate(flip)
        fake_B = mirror(images["fake_B"], flip)  # as generated
        minimize("D", lambda: self.discriminator_loss(
            "D", images["real_B"], self.pool.query(fake_B), gan_mode=self.gan_mode, r1=self.r1))
        minimize("G", lambda: total("G", {
            "G_GAN": self.patch.lambda_GAN * self.adversarial("D", fake_B, gan_mode=self.gan_mode),
        } | self._contrasts(outputs, keys, flip) | self._more_terms()))

    def _more_terms(self) -> dict[str, Tensor]:
        """Return the weighted terms that a subclass adds to the objective of G."""
        return {}

    def _contrasts(self, outputs: list[Tensor], keys: list[list[Tensor]], flip: bool) -> dict[str, Tensor]:
        """Compute the weighted contrastive losses of the pairs; arguments as `_translate` takes and returns them.

        Semantic relation consistency is for the translations of A only, as in its published code.
        """
        terms: dict[str, Tensor] = {}
        if not self.patch.lambda_NCE:
            return terms
        queries = self._pass(outputs, encode_only=True)
        for (name, *_), target, source in zip(self.pairs, queries, keys, strict=True):
            rows = self.nce.rows([mirror(features, flip) for features in target], source)
            if self.patch.nce_includes_all_negatives_from_minibatch:
                rows = [(of_target.flatten(0, 1)[None], of_source.flatten(0, 1)[None])
                        for of_target, of_source in rows]
            terms[name] = self.patch.lambda_NCE / len(self.pairs) * self.contrast_of(rows)
            if self.patch.nce_loss == "src" and name == "G_NCE":
                terms["G_SRC"] = self.patch.lambda_SRC * mean_over_layers(semantic_relation_loss, rows)
        return terms

    def _translate(self, flip: bool) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Translate the current images, flipped if ``flip``.

        Returns:
            For each pair the generator's output, with ``--mask_A`` the composite, flipped and padded as its input was;
            and the layers' features of the unflipped input, without gradient. Without ``flip`` both come from one pass.
        """
        inputs = [pad_to_fit(self.images[source], self.generator.multiple, self.generator.least_size)
                  for _, source, _ in self.pairs]
        passed = self._pass([mirror(image, flip) for image in inputs])
        outputs = [output for output, *_ in passed]
        for (_, source, target), output in zip(self.pairs, outputs, strict=True):
            height, width = self.images[source].shape[2:]
            self.images[target] = mirror(output, flip)[..., :height, :width]
        if "mask_A" in self.images:
            fake_B = composite(self.images["fake_B"], self.images["real_A"], self.images["mask_A"])
            self.images["fake_B"] = fake_B
            outputs[0] = mirror(pad_to_fit(fake_B, self.generator.multiple, self.generator.least_size), flip)
        if flip and self.patch.lambda_NCE:
            with torch.no_grad():
                return outputs, self._pass(inputs, encode_only=True)
        return outputs, [[features.detach() for features in of] for _, *of in passed]

    def _pass(self, images: list[Tensor], *, encode_only: bool = False) -> list[list[Tensor]]:
        """Return each batch's translation, unless ``encode_only``, and its features; one pass for equal sizes."""
        if any(image.shape[2:] != images[0].shape[2:] for image in images):
            return [part for image in images for part in self._pass([image], encode_only=encode_only)]
        results = self.generator(torch.cat(images), self.patch.nce_layers, encode_only)
        parts = (result.split([len(image) for image in images]) for result in results)
        return [list(of) for of in zip(*parts, strict=True)]


def mirror(images: Tensor, flip: bool) -> Tensor:
    """Flip [B, C, H, W] horizontally if ``flip``."""
    return images.flip(3) if flip else images
