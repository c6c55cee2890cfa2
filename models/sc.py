"""Spatially-correlative translation: FSeSim and LSeSim (Zheng, Cham, Cai: CVPR 2021, arXiv 2104.00854).

A generator G translates A to B, a discriminator D compares its translations with real images of B, and the
spatially-correlative loss holds the translation to the input's self-similarity:

    L_G = L_GAN(D, G(A)) + lambda_spatial * L_structure(A, G(A)) + optional terms

FSeSim compares fixed VGG16 features. LSeSim sends them through two learned 1x1 convolutions a layer (network F),
trained by a contrastive loss: an image and its appearance-jittered copy, and an input and its translation, must
recognise each other's positions among those of another image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, Options, SpeedFlags, TrainFlags, flag
from options.flag import comma_list, count_or_all
from util.errors import UserError

from .base import Model, adam, build_discriminator, build_generator, translate_any_size
from .image_pool import ImagePool
from .losses.gan import gan_loss
from .losses.perceptual import PERCEPTUAL_LAYERS, STYLE_LAYERS, perceptual_loss, style_loss
from .losses.spatial_correlative import SpatialCorrelativeLoss
from .networks import initialize
from .networks.vgg import LAYERS, VGG16Features, layer_channels, layer_index, layer_strides

Features = dict[str, Tensor]  # layer name to [B, C, H, W]


@dataclass(frozen=True)
class SpatialFlags:
    """The spatially-correlative loss."""

    attn_layers: tuple[str, ...] = flag(
        ("4", "7", "9"), "VGG16 layers, by name or by number of the ReLU from 0: 4,7,9 is relu3_1,relu4_1,relu4_3",
        parse=comma_list)
    patch_nums: int | None = flag(256, "query positions a layer; inf or -1: every position", parse=count_or_all)
    patch_size: int = flag(
        64, "side of the window of keys around a query, in positions of the feature map. 256-pixel crops give maps "
        "64, 32 and 32 wide, so that 64 takes the whole map; the paper's LSeSim uses 32", minimum=1)
    loss_mode: str = flag("cos", "how maps are compared: cos, l1, or info (the contrastive loss; "
                          "--lambda_spatial_idt then compares by cos)",
                          choices=("cos", "l1", "info"))
    use_norm: bool = flag(False, "cosine similarity instead of a squashed scalar product")
    learned_attn: bool = flag(False, "LSeSim: learn the self-similarity (best with --augment)")
    T: float = flag(0.07, "temperature of the contrastive loss", above=0)
    lambda_spatial: float = flag(10.0, "weight of the spatially-correlative loss", minimum=0)
    lambda_spatial_idt: float = flag(0.0, "weight of the same loss between a real B and its translation", minimum=0)
    lambda_perceptual: float = flag(0.0, "weight of the perceptual loss between input and translation", minimum=0)
    lambda_style: float = flag(0.0, "weight of the style loss between translation and real B", minimum=0)
    lambda_identity: float = flag(0.0, "weight of the L1 distance between a real B and its translation", minimum=0)
    lambda_gradient: float = flag(0.0, "weight of the discriminator's gradient penalty; wgangp needs about 10",
                                  minimum=0)
    vgg_weights: str = flag("bundled", "VGG16 weights: bundled, imagenet (torchvision's, downloaded once), random, or "
                            "a file")
    vgg_lr_scale: float = flag(0.0, "learning rate of LSeSim's VGG16, as a multiple of --lr; 0: frozen", minimum=0)


class SpatialCorrelativeModel(Model):
    """``--model sc``. Networks: G, D and, for LSeSim, F (the heads; with ``--vgg_lr_scale`` also VGG)."""

    flags: ClassVar[tuple[type, ...]] = (SpatialFlags,)
    published = ("G", "D")
    learned_losses = ("F",)

    @classmethod
    def check(cls, options: Options) -> None:
        """Refuse flags that contradict each other, before anything is built or loaded."""
        flags = options[SpatialFlags]
        layers = layer_names(flags.attn_layers)
        if TrainFlags not in options:
            return
        data = options[DataFlags]
        if data.dataset_mode == "single":
            raise UserError("--dataset_mode single has no images of the target domain, without which --model sc cannot "
                            "be trained: use unaligned or aligned")
        side = min(data.crop_size // stride for stride in layer_strides(layers))
        if side == 0 and "crop" in data.preprocess:
            raise UserError(f"--crop_size {data.crop_size} leaves no feature at {layers[-1]} of --attn_layers: enlarge "
                            "it or choose earlier layers")
        keys = min(flags.patch_size, side) ** 2
        if flags.loss_mode == "l1" and keys < 4:
            raise UserError(f"--loss_mode l1 needs at least four keys a query, --patch_size {flags.patch_size} with "
                            f"--crop_size {data.crop_size} leaves {keys}: enlarge them or use --loss_mode cos")
        if flags.vgg_lr_scale and not flags.learned_attn:
            raise UserError("--vgg_lr_scale trains the VGG16 of LSeSim: it needs --learned_attn")
        for name in ("lambda_identity", "lambda_spatial_idt"):
            if getattr(flags, name) and data.input_nc != data.output_nc:
                raise UserError(f"--{name} translates real B images: it needs --input_nc equal to --output_nc")
        speed = options[SpeedFlags]
        if flags.lambda_gradient and (speed.compile or speed.amp == "fp16"):
            raise UserError("--lambda_gradient needs second derivatives, which torch.compile has not and which leave "
                            "the range of fp16: leave out --compile and use --amp bf16 or no")
        if options[TrainFlags].gan_mode == "wgangp" and not flags.lambda_gradient:
            raise UserError("--gan_mode wgangp needs its gradient penalty: add --lambda_gradient 10")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.spatial = options[SpatialFlags]
        self.images: dict[str, Tensor] = {}
        self.generator = build_generator(options)
        self.networks["G"] = self.generator
        if training:
            self._build_losses(options[TrainFlags])
            self._build_discriminator(options)
            self._build_optimizers(options)
            if options[TrainFlags].ema:
                self.keep_average("G", options[TrainFlags].ema)

    def _build_losses(self, train: TrainFlags) -> None:
        """The spatially-correlative loss, and one VGG16 for all losses that look at features."""
        flags = self.spatial
        self.gan_mode = train.gan_mode
        self.layers = layer_names(flags.attn_layers)
        self.structure = SpatialCorrelativeLoss(
            patch_count=flags.patch_nums, patch_size=flags.patch_size, normalize=flags.use_norm, temperature=flags.T,
            mode="l1" if flags.loss_mode == "l1" else "cos",
            head_channels=layer_channels(self.layers) if flags.learned_attn else None)
        self.spatial_weight = flags.lambda_spatial + flags.lambda_spatial_idt
        wanted = {self.layers: self.spatial_weight, PERCEPTUAL_LAYERS: flags.lambda_perceptual,
                  STYLE_LAYERS: flags.lambda_style}
        self.vgg_layers = tuple(sorted({name for names, weight in wanted.items() if weight for name in names}))
        if self.vgg_layers:
            self.vgg = VGG16Features(self.vgg_layers, flags.vgg_weights, frozen=not flags.vgg_lr_scale)
            self.constants["VGG"] = self.vgg

    def _build_discriminator(self, options: Options) -> None:
        self.discriminator = build_discriminator(options)
        self.networks["D"] = self.discriminator
        self.pool = ImagePool(options[TrainFlags].pool_size)
        self.memory["pool"] = self.pool

    def _build_optimizers(self, options: Options) -> None:
        train = options[TrainFlags]
        self.optimizers = {name: adam([{"params": self.networks[name].parameters()}], train) for name in ("G", "D")}
        self.learns = self.spatial.learned_attn and self.spatial_weight > 0
        if not self.learns:
            return
        initialize(self.structure, "normal", 0.02)  # as published: --init_type is about G and D
        self.networks["F"] = self.structure
        groups: list[dict[str, Any]] = [{"params": self.structure.parameters()}]
        if self.spatial.vgg_lr_scale:
            self.networks["VGG"] = self.constants.pop("VGG")
            groups.append({"params": self.vgg.parameters(), "lr": train.lr * self.spatial.vgg_lr_scale})
        self.optimizers["F"] = adam(groups, train)

    def set_input(self, batch: Mapping[str, Any]) -> None:
        names = {"A": "real_A", "B": "real_B", "A_aug": "aug_A", "B_aug": "aug_B"}
        self.images = {name: batch[key] for key, name in names.items() if key in batch}

    def translate(self, images: Tensor) -> Tensor:
        return translate_any_size(self.generator, images)

    def visuals(self) -> dict[str, Tensor]:
        order = ("real_A", "fake_B", "real_B", "idt_B")
        return {name: self.images[name].detach() for name in order if name in self.images}

    def optimize_parameters(self) -> dict[str, Tensor]:
        """Heads, then D, then G, all on the same translations."""
        flags = self.spatial
        self.images["fake_B"] = self.translate(self.images["real_A"])
        if flags.lambda_identity or flags.lambda_spatial_idt:
            self.images["idt_B"] = self.translate(self.images["real_B"])
        losses: dict[str, Tensor] = {}
        if self.learns and flags.vgg_lr_scale:  # this step changes VGG, so its features serve no other
            self.vgg.requires_grad_(True)
            losses |= self._optimize_heads(self._extract_features(heads=True, generator=False))
            self.vgg.requires_grad_(False)
        shared = self.learns and not flags.vgg_lr_scale
        features = self._extract_features(heads=shared, generator=True)
        if shared:
            detached = {image: {name: f.detach() for name, f in of.items()} for image, of in features.items()}
            losses |= self._optimize_heads(detached)
        losses |= self.optimize_discriminator(
            "D", self.images["real_B"], self.pool.query(self.images["fake_B"]), gan_mode=self.gan_mode,
            penalty=flags.lambda_gradient)
        losses |= self._optimize_generator(features)
        return {name: loss.detach() for name, loss in losses.items()}

    def _extract_features(self, *, heads: bool, generator: bool) -> dict[str, Features]:
        """VGG16 features of every image that the losses of heads or generator look at, each image once.

        Real images go through as one batch and translations as another, so that gradients are computed for the
        translations alone. ``other_*`` are the contrastive loss's negatives.
        """
        flags, images = self.spatial, self.images
        if not self.vgg_layers:
            return {}
        real = {"real_A": images["real_A"]}
        if heads or flags.loss_mode == "info":
            real["other_B"] = negative(images["real_B"], like=images["real_A"])
        if heads and "aug_A" in images:
            real |= {"aug_A": images["aug_A"], "other_aug_B": negative(images["aug_B"], like=images["real_A"])}
        features = self._extract(real)
        features |= self._extract({"fake_B": images["fake_B"] if generator else images["fake_B"].detach()})
        if generator and (flags.lambda_style or flags.lambda_spatial_idt):
            features |= self._extract({"real_B": images["real_B"]})
        if generator and flags.lambda_spatial_idt:
            features |= self._extract({"idt_B": images["idt_B"]})
        return features

    def _extract(self, images: Mapping[str, Tensor]) -> dict[str, Features]:
        batch = torch.cat([image.expand(-1, 3, -1, -1) for image in images.values()])  # greyscale becomes grey colour
        chunks = [layer.chunk(len(images)) for layer in self.vgg(batch)]
        return {image: dict(zip(self.vgg_layers, parts, strict=True))
                for image, parts in zip(images, zip(*chunks, strict=True), strict=True)}

    def _at_layers(self, features: dict[str, Features], *images: str) -> list[list[Tensor]]:
        """For each image the list of its features at ``--attn_layers``."""
        return [[features[image][layer] for layer in self.layers] for image in images]

    def _optimize_heads(self, features: dict[str, Features]) -> dict[str, Tensor]:
        """An input and its translation, and an image and its jittered copy, must recognise each other."""
        self.structure.requires_grad_(True)
        positions = self.structure.sample(self._at_layers(features, "real_A")[0])
        names = [name for name in ("real_A", "fake_B", "other_B", "aug_A", "other_aug_B") if name in features]
        maps = {name: self.structure.maps(of, positions)
                for name, of in zip(names, self._at_layers(features, *names), strict=True)}
        loss = self.structure.contrast_maps(maps["real_A"], maps["fake_B"], maps["other_B"])
        if "aug_A" in maps:
            loss = (loss + self.structure.contrast_maps(maps["real_A"], maps["aug_A"], maps["other_aug_B"])) / 2
        self.minimize("F", loss)
        self.structure.requires_grad_(False)  # the generator's loss passes through, but does not train them
        return {"F_contrastive": loss}

    def _optimize_generator(self, features: dict[str, Features]) -> dict[str, Tensor]:
        flags, images = self.spatial, self.images
        scores = self.discriminator(images["fake_B"])
        terms = {"G_GAN": (1.0, gan_loss(scores, True, mode=self.gan_mode, for_discriminator=False))}
        if flags.lambda_spatial:
            if flags.loss_mode == "info":
                spatial = self.structure.contrast(*self._at_layers(features, "real_A", "fake_B", "other_B"))
            else:
                spatial = self.structure(*self._at_layers(features, "real_A", "fake_B"))
            terms["G_spatial"] = (flags.lambda_spatial, spatial)
        if flags.lambda_spatial_idt:
            spatial = self.structure(*self._at_layers(features, "real_B", "idt_B"))
            terms["G_spatial_idt"] = (flags.lambda_spatial_idt, spatial)
        if flags.lambda_identity:
            terms["G_identity"] = (flags.lambda_identity, F.l1_loss(images["idt_B"], images["real_B"]))
        if flags.lambda_perceptual:
            pair = ([features[image][layer] for layer in PERCEPTUAL_LAYERS] for image in ("fake_B", "real_A"))
            terms["G_perceptual"] = (flags.lambda_perceptual, perceptual_loss(*pair))
        if flags.lambda_style:
            pair = ([features[image][layer] for layer in STYLE_LAYERS] for image in ("fake_B", "real_B"))
            terms["G_style"] = (flags.lambda_style, style_loss(*pair))
        losses = {name: weight * loss for name, (weight, loss) in terms.items()}
        total = torch.stack(list(losses.values())).sum()
        self.minimize("G", total)
        return losses | {"G": total}


def layer_names(layers: Sequence[str]) -> tuple[str, ...]:
    """``("4", "relu4_1")`` to ``("relu3_1", "relu4_1")``.

    Raises:
        UserError: VGG16 has no such layer, or one is named twice.
    """
    try:
        names = tuple(LAYERS[layer_index(layer)] for layer in layers)
    except UserError as error:
        raise UserError(f"--attn_layers: {error}") from None
    if len(set(names)) < len(names):
        raise UserError(f"--attn_layers {','.join(layers)} names a layer twice")
    return names


def negative(images: Tensor, *, like: Tensor) -> Tensor:
    """Another scene for the contrastive loss: the images flipped in both axes, at the size of ``like``."""
    flipped = images.flip(2, 3)
    if flipped.shape[2:] == like.shape[2:]:
        return flipped
    return F.interpolate(flipped, like.shape[2:], mode="bilinear", antialias=True)  # training without a crop
