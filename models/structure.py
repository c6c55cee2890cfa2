"""The spatially-correlative loss as a part of models: features, self-similarity, and the heads that LSeSim learns.

FSeSim compares features of a frozen network. LSeSim sends them through two learned 1x1 convolutions a layer (network
F), trained by a contrastive loss: an image and its appearance-jittered copy, and an input and its translation, must
recognise each other's positions among those of another image. In a model's step:

    features = structure.features(Pair(real_A, fake_B, real_B, aug_A, aug_B))
    minimize("F", lambda: structure.contrast([features]))             # LSeSim
    minimize("G", ... lambda_spatial * structure.distance(features) ...)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from options import DataFlags, Options, TrainFlags, flag, has_crop
from options.flag import comma_list, count_or_all
from spatial_correlative import SpatialCorrelativeLoss, self_similarity
from util.errors import UserError
from util.shown import picture

from .building import adam
from .losses.patch_nce import lowest_entropy
from .networks import VGG16Features, initialize
from .networks.backbones import library_and_name
from .networks.features import VGG16, create_features, distinct_layers, feature_shapes
from .objective import Objective

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
    patch_nums: int | None = flag(256, "query positions a layer; inf or -1: every position", parse=count_or_all,
                                  unset="inf")
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
    query_by: str = flag("random", "query positions of the generator's loss: random ones, with --mask_A in its white "
                         "parts, or those of the input whose attention, the softmax of cosines over --T, has the "
                         "lowest entropy; the heads of LSeSim always learn from random ones of the whole image",
                         choices=("random", "entropy"))


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
    mask: Tensor | None = None
    """Bool [B, 1, H, W], False where ``target`` is ``source``."""

    @classmethod
    def of(cls, images: Mapping[str, Tensor]) -> "Pair":
        """Return the pair of A and its translation, from the images of a model."""
        return cls(images["real_A"], images["fake_B"], images["real_B"], images.get("aug_A"), images.get("aug_B"),
                   images.get("mask_A"))


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


@dataclass
class PairFeatures:
    """The features of a pair's images, by the names of the pair's fields."""

    pair: Pair
    by_image: dict[str, Features] = field(default_factory=dict)

    def __getitem__(self, image: str) -> Features:
        return self.by_image[image]


class Structure:
    """Features of images and the losses between them.

    Args:
        options: with `StructureFlags` and `TrainFlags`.
        weight: of all uses of the loss together. At 0 the loss is not used and the heads do not learn.
        more_layers: further layers of VGG16, for other losses of the model. ``--feature_net`` must be VGG16 then.

    Attributes:
        networks: the heads ``F``, if they learn, and with ``--vgg_lr_scale`` the feature network ``VGG``.
        constants: the feature network, if it is frozen.
        optimizers: ``F``, if the heads learn.
        learns: whether the heads learn.
    """

    def __init__(
        self, options: Options, *, weight: float | None = None, more_layers: Iterable[str] = ()
    ) -> None:
        self.flags = flags = options[StructureFlags]
        self.bands = options[DataFlags].rgb_bands
        self.used = (flags.lambda_spatial if weight is None else weight) > 0
        self.learns = flags.learned_attn and self.used
        self.learns_features = self.learns and flags.vgg_lr_scale > 0
        self.networks: dict[str, nn.Module] = {}
        self.constants: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.layers = layer_names(flags.attn_layers, flags.feature_net)
        self.wanted = tuple(sorted({*(self.layers if self.used else ()), *more_layers}))
        channels: dict[str, int] = {}
        if self.wanted:
            self.vgg = create_features(flags.feature_net, self.wanted, flags.vgg_weights, frozen=not flags.vgg_lr_scale)
            channels = dict(zip(self.wanted, self.vgg.channels, strict=True))
            (self.networks if self.learns_features else self.constants)["VGG"] = self.vgg
        self.loss = SpatialCorrelativeLoss(
            patch_count=flags.patch_nums, patch_size=flags.patch_size, normalize=flags.use_norm, temperature=flags.T,
            mode="l1" if flags.loss_mode == "l1" else "cos",
            head_channels=[channels[layer] for layer in self.layers] if self.learns else None)
        self._contrast_of = self._compute_contrast
        if self.learns:
            initialize(self.loss, "normal", 0.02)  # as published: --init_type is for generators and discriminators
            self.networks["F"] = self.loss
            self.optimizers["F"] = adam(self._trained(options[TrainFlags]), options[TrainFlags])

    def _trained(self, train: TrainFlags) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = [{"params": list(self.loss.parameters())}]
        if self.learns_features:
            # Other losses may look at deeper layers of VGG16, which the contrastive loss does not train.
            trained = self.vgg.parameters_up_to(self.layers) if isinstance(self.vgg, VGG16Features) else (
                self.vgg.parameters())
            groups.append({"params": list(trained), "lr": train.lr * self.flags.vgg_lr_scale})
        return groups

    def features(self, pair: Pair) -> PairFeatures:
        """Features of the pair's images, each image once; gradients reach ``target`` only.

        Where the feature network itself learns, `contrast` computes its own, and the result is empty until `renewed`.
        """
        if not self.wanted or self.learns_features:
            return PairFeatures(pair)
        return PairFeatures(pair, self._look(pair, for_heads=self.learns))

    def contrast(self, pairs: Sequence[PairFeatures]) -> Objective:
        """The loss of the heads: an input and its translation, and an image and its jittered copy, must recognise
        each other's positions. No gradient reaches the images.
        """
        if self.learns_features:
            seen = [self._look(of.pair._replace(target=of.pair.target.detach()), for_heads=True) for of in pairs]
        else:
            seen = [{image: {name: f.detach() for name, f in features.items()}
                     for image, features in of.by_image.items()} for of in pairs]
        loss = torch.stack([self._contrast(of) for of in seen]).mean()
        return Objective(loss, {"F_contrastive": loss})

    def renewed(self, features: PairFeatures) -> PairFeatures:
        """The same features, or those of the feature network's new weights, if it learned after `features`."""
        if not self.learns_features:
            return features
        return PairFeatures(features.pair, self._look(features.pair, for_heads=False))

    def distance(self, features: PairFeatures) -> Tensor:
        """Structure distance between a pair's ``source`` and ``target``, by ``--loss_mode``."""
        mask = features.pair.mask
        if self.flags.loss_mode == "info":
            source, target, other = self._at_layers(features.by_image, "source", "target", "other")
            return self.loss.contrast(source, target, other, self._queries(source, mask))
        return self.between(features["source"], features["target"], mask)

    def between(self, source: Features, target: Features, mask: Tensor | None = None) -> Tensor:
        """Structure distance between the features of an image and of its translation, both from `extract`.

        Random query positions are those of the white parts of ``mask``, bool [B, 1, H, W], if there is one.
        """
        layers = self._at_layers({"source": source, "target": target}, "source", "target")
        queries = self._queries(layers[0], mask)
        distance: Tensor = self.loss(*layers, self.loss.sample(layers[0]) if queries is None else queries)
        return distance

    def compile(self, **options: Any) -> None:
        """Compile the losses and the heads, with options of torch.compile; query positions are drawn outside."""
        self.loss.compile(**options)
        self._contrast_of = torch.compile(self._contrast_of, **options)

    def extract(self, images: Mapping[str, Tensor], *, compiled: bool = True) -> dict[str, Features]:
        """Features of images by name, all in one pass: [B, C, H, W] of one size in [-1, 1], as `picture` shows them.

        Without ``compiled``, torch.compile is bypassed: it would compile again for a batch unlike those of training.
        """
        # greyscale becomes grey colour
        batch = torch.cat([picture(image, self.bands).expand(-1, 3, -1, -1) for image in images.values()])
        features = self.vgg(batch) if compiled else self.vgg.forward(batch)
        chunks = [layer.chunk(len(images)) for layer in features]
        return {image: dict(zip(self.wanted, parts, strict=True))
                for image, parts in zip(images, zip(*chunks, strict=True), strict=True)}

    def draw(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw the self-similarity of the centre of ``real_A`` and of its translation ``fake_B``.

        Returns:
            ``real_A_similarity`` and ``fake_B_similarity``, [1, 3, H, W] in [-1, 1], of the first image of a batch:
            the mean over ``--attn_layers``, from black (least similar in either image) to white (most similar), with
            a red centre. Empty if one of the images is missing or the loss is not used.
        """
        if not (self.used and {"real_A", "fake_B"} <= images.keys()):
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

    def _look(self, pair: Pair, *, for_heads: bool) -> dict[str, Features]:
        """Features of the images that the losses need.

        Real images are one batch and translations another, so that gradients are computed for the translations only.
        """
        real = {"source": pair.source}
        if for_heads or self.flags.loss_mode == "info":
            real["other"] = negative(pair.other, like=pair.source)
        if for_heads and pair.source_aug is not None and pair.other_aug is not None:
            real |= {"source_aug": pair.source_aug, "other_aug": negative(pair.other_aug, like=pair.source)}
        if len(real) == 1 and self._extracts_together(pair.target):
            images = (picture(image, self.bands).expand(-1, 3, -1, -1) for image in (pair.target, pair.source))
            features = self.vgg(next(images), beside=next(images))
            count = len(self.wanted)
            return {"target": dict(zip(self.wanted, features[:count], strict=True)),
                    "source": dict(zip(self.wanted, features[count:], strict=True))}
        return self.extract(real) | self.extract({"target": pair.target})

    def _extracts_together(self, target: Tensor) -> bool:
        """Check whether one pass over source and target is faster: not on CPUs, whose caches prefer two, nor compiled.

        With more images than the source it would keep more memory than it is worth.
        """
        return (isinstance(self.vgg, VGG16Features) and self.vgg.frozen and target.is_cuda and target.requires_grad
                and not self.vgg._compiled_call_impl)

    @torch.no_grad()
    def _queries(self, source: Sequence[Tensor], mask: Tensor | None) -> list[Tensor] | None:
        """Query positions [B, N] of each layer's features by ``--query_by``; None: random ones, or all."""
        count = self.flags.patch_nums
        if count is None or (mask is None and self.flags.query_by == "random"):
            return None
        if mask is not None and self.flags.query_by == "random":
            return [positions_in(mask, of.shape[2], of.shape[3], count) for of in source]
        rows = (F.normalize(features.flatten(2).mT, dim=2) / self.flags.T ** 0.5 for features in source)
        return [lowest_entropy(of, count) for of in rows]

    def _at_layers(self, seen: Mapping[str, Features], *images: str) -> list[list[Tensor]]:
        """The features at ``--attn_layers`` of each image."""
        return [[seen[image][layer] for layer in self.layers] for image in images]

    def _contrast(self, seen: Mapping[str, Features]) -> Tensor:
        """The contrastive loss of one pair, at one draw of positions.

        All images are one batch, and the comparisons of source with target and with its jittered copy are another.
        """
        names = ["source", "target", "source_aug", "other", "other_aug"]
        names = names if "source_aug" in seen else ["source", "target", "other"]
        images = self._at_layers(seen, *names)
        return self._contrast_of(images, self.loss.sample(images[0]))

    def _compute_contrast(self, images: Sequence[Sequence[Tensor]], positions: Sequence[Tensor | None]) -> Tensor:
        """The contrastive loss of the features of the images, in the order of `_contrast`."""
        layers = [torch.cat(of) for of in zip(*images, strict=True)]
        maps = self.loss.maps(layers, positions)  # of each layer, [images * B, N, P]
        count, pairs = len(images[0][0]), len(images) // 2
        sources, positives, others = zip(*(of.split([count, pairs * count, pairs * count]) for of in maps), strict=True)
        return self.loss.contrast_maps([of.repeat(pairs, 1, 1) for of in sources], positives, others)


def layer_names(layers: Sequence[str], network: str = VGG16) -> tuple[str, ...]:
    """Convert ``("4", "relu4_1")`` of VGG16 to ``("relu3_1", "relu4_1")``; keep names of other networks as typed.

    Raises:
        UserError: VGG16 has no such layer, or one is named twice.
    """
    return distinct_layers(network, layers, "--attn_layers")


def positions_in(mask: Tensor, height: int, width: int, count: int) -> Tensor:
    """Draw positions of a map of ``height`` and ``width`` in proportion to the white share of their cells.

    Without white, positions are drawn alike.

    Args:
        mask: bool [B, 1, H, W], False where it is black.
        height, width: of the map.
        count: number of positions, at most all of the map. A position may be drawn several times.

    Returns:
        LongTensor [B, N].
    """
    shares = F.adaptive_avg_pool2d(mask.float(), (height, width)).flatten(1) + 1e-9  # [B, height * width]
    ends = shares.cumsum(1)
    drawn = ends[:, -1:] * torch.rand(len(mask), min(count, height * width), device=mask.device)
    return torch.searchsorted(ends, drawn, right=True).clamp(max=height * width - 1)


def negative(images: Tensor, *, like: Tensor) -> Tensor:
    """Flip images [B, C, H, W] in both axes, for use as another scene, and scale them to the size of ``like``."""
    flipped = images.flip(2, 3)
    if flipped.shape[2:] == like.shape[2:]:
        return flipped
    return F.interpolate(flipped, like.shape[2:], mode="bilinear", antialias=True)  # training without a crop


def centre_similarity(features: Tensor, normalize: bool) -> Tensor:
    """Self-similarity of the central position of [B, C, H, W] with every position: [B, 1, H, W]."""
    height, width = features.shape[2:]
    centre = torch.tensor([height // 2 * width + width // 2], device=features.device)
    rows = self_similarity(features, centre, patch_size=max(height, width), normalize=normalize)  # [B, 1, H * W]
    return rows.view(-1, 1, height, width)


def stretched(values: Tensor) -> Tensor:
    """Scale values to [0, 1]."""
    least, greatest = values.aminmax()
    return (values - least) / (greatest - least).clamp(min=1e-12)
