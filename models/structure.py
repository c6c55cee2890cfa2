"""The spatially-correlative loss as a part of models: features, self-similarity, and the heads that LSeSim learns.

A model that holds translations to their inputs creates a `Structure`, and in each step gives it the images that belong
together (`Pair`). FSeSim compares features of a frozen network. LSeSim sends them through two learned 1x1 convolutions
a layer (network F), trained by a contrastive loss: an image and its appearance-jittered copy, and an input and its
translation, must recognise each other's positions among those of another image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from options import DataFlags, Options, TrainFlags, flag, has_crop
from options.flag import comma_list, count_or_all
from util.errors import UserError

from .base import Model
from .building import adam
from .losses.spatial_correlative import SpatialCorrelativeLoss, self_similarity
from .networks import VGG16Features, initialize
from .networks.backbones import library_and_name
from .networks.features import VGG16, create_features, distinct_layers, feature_shapes

Features = dict[str, Tensor]
"""Layer name to [B, C, H, W]."""


@dataclass(frozen=True)
class StructureFlags:
    """The spatially-correlative loss."""

    feature_net: str = flag(
        VGG16, "network whose features are compared: vgg16, torchvision/NAME or timm/NAME, such as "
        "torchvision/convnext_tiny or timm/vit_small_patch14_dinov2.lvd142m")
    attn_layers: tuple[str, ...] = flag(
        ("4", "7", "9"), "its layers, by name: layer2, say, or blocks.5; of VGG16 also by number of the ReLU from 0: "
        "4,7,9 is relu3_1,relu4_1,relu4_3", parse=comma_list)
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
    vgg_weights: str = flag("bundled", "weights of --feature_net: bundled (VGG16 alone), imagenet (the pretrained ones "
                            "of torchvision or timm, downloaded once), random, or a file")
    vgg_lr_scale: float = flag(0.0, "learning rate of LSeSim's --feature_net, as a multiple of --lr; 0: frozen",
                               minimum=0)


class Pair(NamedTuple):
    """Images whose structure is compared, all [B, C, H, W] in [-1, 1]."""

    source: Tensor
    target: Tensor
    """Translations of ``source``, of the same size."""
    other: Tensor
    """Real images of the translations' domain, other scenes."""
    source_aug: Tensor | None = None
    other_aug: Tensor | None = None
    """Appearance-jittered copies."""


def check_structure(options: Options) -> None:
    """Refuse flags of the loss that contradict each other, before anything is built or loaded.

    Raises:
        UserError: they do.
    """
    flags = options[StructureFlags]
    layers = layer_names(flags.attn_layers, flags.feature_net)
    if TrainFlags not in options:
        return
    if flags.feature_net != VGG16 and flags.vgg_weights == "bundled":
        library_and_name(flags.feature_net)  # a name of another form is the fault to tell of first
        raise UserError(f"--feature_net {flags.feature_net} is not bundled: add --vgg_weights imagenet, which is "
                        "downloaded once, or a file")
    data = options[DataFlags]
    shapes = feature_shapes(flags.feature_net, layers, data.crop_size, data.crop_size)
    side = min(min(height, width) for _, height, width in shapes)
    if side == 0 and has_crop(data.preprocess):
        raise UserError(f"--crop_size {data.crop_size} leaves no feature at {layers[-1]} of --attn_layers: enlarge "
                        "it or choose earlier layers")
    keys = min(flags.patch_size, side) ** 2
    if flags.loss_mode == "l1" and keys < 4:
        raise UserError(f"--loss_mode l1 needs at least four keys a query, --patch_size {flags.patch_size} with "
                        f"--crop_size {data.crop_size} leaves {keys}: enlarge them or use --loss_mode cos")
    if flags.vgg_lr_scale and not flags.learned_attn:
        raise UserError("--vgg_lr_scale trains the --feature_net of LSeSim: it needs --learned_attn")


class Structure:
    """Features of images, the loss between them, and the step of the heads.

    Puts into the model what it owns: the constant ``VGG``, or with ``--vgg_lr_scale`` the network; for LSeSim also the
    network ``F`` and an optimizer of that name.

    Args:
        model: whose part it is.
        options: with `StructureFlags` and `TrainFlags`.
        weight: of all uses of the loss together; 0: it is not used, and heads are not trained.
        more_layers: layers of VGG16, which must be the network, that other losses of the model look at.
    """

    def __init__(
        self, model: Model, options: Options, *, weight: float | None = None, more_layers: Iterable[str] = ()
    ) -> None:
        self.model, self.flags = model, options[StructureFlags]
        flags, used = self.flags, self.flags.lambda_spatial if weight is None else weight
        self.layers = layer_names(flags.attn_layers, flags.feature_net)
        self.learns = flags.learned_attn and used > 0
        self.wanted = tuple(sorted({*(self.layers if used else ()), *more_layers}))
        channels: dict[str, int] = {}
        if self.wanted:
            self.vgg = create_features(flags.feature_net, self.wanted, flags.vgg_weights, frozen=not flags.vgg_lr_scale)
            channels = dict(zip(self.wanted, self.vgg.channels, strict=True))
            model.constants["VGG"] = self.vgg
        if used:
            model.drawings.append(self.draw)
        self.loss = SpatialCorrelativeLoss(
            patch_count=flags.patch_nums, patch_size=flags.patch_size, normalize=flags.use_norm, temperature=flags.T,
            mode="l1" if flags.loss_mode == "l1" else "cos",
            head_channels=[channels[layer] for layer in self.layers] if self.learns else None)
        if self.learns:
            self._build_heads(options[TrainFlags])

    def _build_heads(self, train: TrainFlags) -> None:
        initialize(self.loss, "normal", 0.02)  # as published: --init_type is about generators and discriminators
        self.model.networks["F"] = self.loss
        groups: list[dict[str, Any]] = [{"params": self.loss.parameters()}]
        if self.flags.vgg_lr_scale:
            self.model.networks["VGG"] = self.model.constants.pop("VGG")
            trained = self.vgg.parameters_up_to(self.layers) if isinstance(self.vgg, VGG16Features) else (
                self.vgg.parameters())  # other losses, which do not train it, may look at deeper layers of VGG16
            groups.append({"params": trained, "lr": train.lr * self.flags.vgg_lr_scale})
        self.model.optimizers["F"] = adam(groups, train)

    def prepare(self, pairs: Sequence[Pair]) -> tuple[dict[str, Tensor], list[dict[str, Features]]]:
        """Train the heads on this step's pairs, if they learn, and look at the pairs for the generator.

        Returns:
            The heads' loss by name; and for each pair the features by the fields' names, with gradients towards
            ``target`` alone.
        """
        if not self.wanted:
            return {}, [{} for _ in pairs]
        separate = self.learns and self.flags.vgg_lr_scale > 0  # the step changes VGG: its features serve no other
        losses: dict[str, Tensor] = {}
        if separate:
            self.vgg.requires_grad_(True)
            losses = self._train_heads([self._look(pair._replace(target=pair.target.detach()), heads=True)
                                        for pair in pairs])
            self.vgg.requires_grad_(False)
        shared = self.learns and not separate
        seen = [self._look(pair, heads=shared) for pair in pairs]
        if shared:
            losses = self._train_heads([
                {image: {name: f.detach() for name, f in of.items()} for image, of in features.items()}
                for features in seen])
        return losses, seen

    def distance(self, seen: Mapping[str, Features]) -> Tensor:
        """How far a pair's target is from the structure of its source, by ``--loss_mode``.

        Args:
            seen: the pair's features, from `prepare`.
        """
        if self.flags.loss_mode == "info":
            return self.loss.contrast(*self._at_layers(seen, "source", "target", "other"))
        return self.between(seen["source"], seen["target"])

    def between(self, source: Features, target: Features) -> Tensor:
        """The structure distance of features, from `extract`, of an image and of its translation."""
        distance: Tensor = self.loss(*self._at_layers({"source": source, "target": target}, "source", "target"))
        return distance

    def extract(self, images: Mapping[str, Tensor], *, compiled: bool = True) -> dict[str, Features]:
        """Features of images by name, all in one pass: [B, C, H, W] of one size, 1 or 3 channels, in [-1, 1].

        Without ``compiled`` past torch.compile, which would begin anew for a batch unlike those of training.
        """
        batch = torch.cat([image.expand(-1, 3, -1, -1) for image in images.values()])  # greyscale becomes grey colour
        features = self.vgg(batch) if compiled else self.vgg.forward(batch)
        chunks = [layer.chunk(len(images)) for layer in features]
        return {image: dict(zip(self.wanted, parts, strict=True))
                for image, parts in zip(images, zip(*chunks, strict=True), strict=True)}

    def draw(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How much the centre of ``real_A`` and of its translation ``fake_B`` resembles every other point of it.

        Returns:
            ``real_A_similarity`` and ``fake_B_similarity``, [1, 3, H, W] in [-1, 1], of the first of a batch: the mean
            over ``--attn_layers``, black where similarity is least, white where it is greatest in either image; the
            centre is red. Nothing where one of the images is missing.
        """
        if not {"real_A", "fake_B"} <= images.keys():
            return {}
        pair = {name: images[name][:1] for name in ("real_A", "fake_B")}
        height, width = pair["real_A"].shape[2:]
        seen = self._at_layers(self.extract(pair, compiled=False), *pair)
        layers = [torch.cat(features) for features in zip(*seen, strict=True)]  # [2, C, h, w]
        if self.loss.heads:
            layers = [head(features) for head, features in zip(self.loss.heads, layers, strict=True)]
        maps = [stretched(centre_similarity(features, self.flags.use_norm)) for features in layers]
        mean = torch.stack([F.interpolate(of, (height, width), mode="bilinear") for of in maps]).mean(dim=0)
        colours = (2 * mean - 1).repeat(1, 3, 1, 1)
        reach = max(1, min(height, width) // 64)
        top, left = max(0, height // 2 - reach), max(0, width // 2 - reach)
        red = colours.new_tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
        colours[:, :, top : height // 2 + reach, left : width // 2 + reach] = red
        return {f"{name}_similarity": image[None] for name, image in zip(pair, colours, strict=True)}

    def _look(self, pair: Pair, *, heads: bool) -> dict[str, Features]:
        """Features of every image of a pair that the losses of heads or generator look at, each image once.

        Real images go through as one batch and translations as another, so that gradients are computed for the
        translations alone.
        """
        real = {"source": pair.source}
        if heads or self.flags.loss_mode == "info":
            real["other"] = negative(pair.other, like=pair.source)
        if heads and pair.source_aug is not None and pair.other_aug is not None:
            real |= {"source_aug": pair.source_aug, "other_aug": negative(pair.other_aug, like=pair.source)}
        return self.extract(real) | self.extract({"target": pair.target})

    def _at_layers(self, seen: Mapping[str, Features], *images: str) -> list[list[Tensor]]:
        """For each image the list of its features at ``--attn_layers``."""
        return [[seen[image][layer] for layer in self.layers] for image in images]

    def _train_heads(self, pairs: Sequence[Mapping[str, Features]]) -> dict[str, Tensor]:
        self.loss.requires_grad_(True)
        loss = torch.stack([self._contrast(seen) for seen in pairs]).mean()
        self.model.minimize("F", loss)
        self.loss.requires_grad_(False)  # the generator's loss passes through, but does not train them
        return {"F_contrastive": loss.detach()}

    def _contrast(self, seen: Mapping[str, Features]) -> Tensor:
        """An input and its translation, and an image and its jittered copy, must recognise each other."""
        positions = self.loss.sample(self._at_layers(seen, "source")[0])
        names = [name for name in Pair._fields if name in seen]
        maps = {name: self.loss.maps(of, positions)
                for name, of in zip(names, self._at_layers(seen, *names), strict=True)}
        loss = self.loss.contrast_maps(maps["source"], maps["target"], maps["other"])
        if "source_aug" in maps:
            loss = (loss + self.loss.contrast_maps(maps["source"], maps["source_aug"], maps["other_aug"])) / 2
        return loss


def layer_names(layers: Sequence[str], network: str = VGG16) -> tuple[str, ...]:
    """``("4", "relu4_1")`` of VGG16 to ``("relu3_1", "relu4_1")``; names of other networks are as typed.

    Raises:
        UserError: VGG16 has no such layer, or one is named twice.
    """
    return distinct_layers(network, layers, "--attn_layers")


def negative(images: Tensor, *, like: Tensor) -> Tensor:
    """Another scene for the contrastive loss: the images flipped in both axes, at the size of ``like``."""
    flipped = images.flip(2, 3)
    if flipped.shape[2:] == like.shape[2:]:
        return flipped
    return F.interpolate(flipped, like.shape[2:], mode="bilinear", antialias=True)  # training without a crop


def centre_similarity(features: Tensor, normalize: bool) -> Tensor:
    """The self-similarity of the position in the middle of [B, C, H, W] with every other one: [B, 1, H, W]."""
    height, width = features.shape[2:]
    centre = torch.tensor([height // 2 * width + width // 2], device=features.device)
    rows = self_similarity(features, centre, patch_size=max(height, width), normalize=normalize)  # [B, 1, H * W]
    return rows.view(-1, 1, height, width)


def stretched(values: Tensor) -> Tensor:
    """The least value becomes 0, the greatest 1."""
    least, greatest = values.aminmax()
    return (values - least) / (greatest - least).clamp(min=1e-12)
