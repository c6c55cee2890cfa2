"""The spatially-correlative loss as a part of models: FSeSim and LSeSim on the features of one network.

FSeSim compares the self-similarity of an input and its translation, in features of a frozen network. LSeSim first
transforms these features by two learned 1x1 convolutions for each layer (network F). A contrastive loss trains F: a
position of the input must recognise the same position of the translation, and of a copy with jittered colours, among
the positions of another image. In a model's step:

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

from options import DataFlags, Options, TrainFlags
from spatial_correlative import SpatialCorrelativeLoss
from util.shown import picture

from .building import adam
from .losses.patch_nce import lowest_entropy
from .networks import VGG16Features, initialize
from .networks.features import create_features
from .objective import Objective
from .similarity_pictures import draw_centre
from .structure_flags import StructureFlags, layer_names

Features = dict[str, Tensor]
"""Layer name to [B, C, H, W]."""


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
        weight: sum of the weights of all uses of the loss. At 0 the loss is not used and the heads do not learn.
        more_layers: further layers of VGG16, for other losses of the model. ``--feature_net`` must be VGG16 then.

    Attributes:
        networks: the heads ``F``, if they learn, and with ``--vgg_lr_scale`` the feature network ``VGG``.
        constants: the feature network, if it is frozen.
        optimizers: ``F``, if the heads learn.
        used: whether the loss has a weight.
        learns: whether the heads learn.
        learns_features: whether the feature network learns with them.
        layers: the layers that the loss compares.
        all_layers: these and ``more_layers``.
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
        self.all_layers = tuple(sorted({*(self.layers if self.used else ()), *more_layers}))
        channels: dict[str, int] = {}
        if self.all_layers:
            self.vgg = create_features(
                flags.feature_net, self.all_layers, flags.vgg_weights, frozen=not flags.vgg_lr_scale)
            channels = dict(zip(self.all_layers, self.vgg.channels, strict=True))
            (self.networks if self.learns_features else self.constants)["VGG"] = self.vgg
        self.loss = SpatialCorrelativeLoss(
            patch_count=flags.patch_nums, patch_size=flags.patch_size, normalize=flags.use_norm, temperature=flags.T,
            mode="l1" if flags.loss_mode == "l1" else "cos",
            head_channels=[channels[layer] for layer in self.layers] if self.learns else None)
        self._contrast_images = self._compute_contrast  # `compile` replaces it
        if self.learns:
            initialize(self.loss, "normal", 0.02)  # as published: --init_type is for generators and discriminators
            self.networks["F"] = self.loss
            self.optimizers["F"] = adam(self._trained(options[TrainFlags]), options[TrainFlags])

    def _trained(self, train: TrainFlags) -> list[dict[str, Any]]:
        """List the parameters that the contrastive loss trains, as groups of an optimizer."""
        groups: list[dict[str, Any]] = [{"params": list(self.loss.parameters())}]
        if self.learns_features:
            # Other losses may look at deeper layers of VGG16, which the contrastive loss does not train.
            trained = self.vgg.parameters_up_to(self.layers) if isinstance(self.vgg, VGG16Features) else (
                self.vgg.parameters())
            groups.append({"params": list(trained), "lr": train.lr * self.flags.vgg_lr_scale})
        return groups

    def features(self, pair: Pair) -> PairFeatures:
        """Extract the features of the pair's images, each image once. Gradients reach only ``target``.

        If the feature network learns, `contrast` extracts features itself, and the result is empty until `renewed`.
        """
        if not self.all_layers or self.learns_features:
            return PairFeatures(pair)
        return PairFeatures(pair, self._extract_pair(pair, for_heads=self.learns))

    def contrast(self, pairs: Sequence[PairFeatures]) -> Objective:
        """Compute the loss of the heads, the mean over the pairs. No gradient reaches the images.

        Positives are an input and its translation, and an image and its copy with jittered colours.
        """
        if self.learns_features:
            seen = [self._extract_pair(of.pair._replace(target=of.pair.target.detach()), for_heads=True)
                    for of in pairs]
        else:
            seen = [{image: {name: f.detach() for name, f in features.items()}
                     for image, features in of.by_image.items()} for of in pairs]
        loss = torch.stack([self._contrast(of) for of in seen]).mean()
        return Objective(loss, {"F_contrastive": loss})

    def renewed(self, features: PairFeatures) -> PairFeatures:
        """Return the same features, or those of the feature network's new weights if it has learned since."""
        if not self.learns_features:
            return features
        return PairFeatures(features.pair, self._extract_pair(features.pair, for_heads=False))

    def distance(self, features: PairFeatures) -> Tensor:
        """Compute the structure distance between a pair's ``source`` and ``target``, by ``--loss_mode``."""
        mask = features.pair.mask
        if self.flags.loss_mode == "info":
            source, target, other = self._at_layers(features.by_image, "source", "target", "other")
            return self.loss.contrast(source, target, other, self._queries(source, mask))
        return self.between(features["source"], features["target"], mask)

    def between(self, source: Features, target: Features, mask: Tensor | None = None) -> Tensor:
        """Compute the structure distance between the features of an image and of its translation, from `extract`.

        Random query positions are those of the white parts of ``mask``, bool [B, 1, H, W], if there is one.
        """
        layers = self._at_layers({"source": source, "target": target}, "source", "target")
        distance: Tensor = self.loss(*layers, self._queries(layers[0], mask) or self.loss.sample(layers[0]))
        return distance

    def compile(self, **options: Any) -> None:
        """Compile the losses and the heads, with options of torch.compile; query positions are drawn outside."""
        self.loss.compile(**options)
        self._contrast_images = torch.compile(self._contrast_images, **options)

    def extract(self, images: Mapping[str, Tensor], *, compiled: bool = True) -> dict[str, Features]:
        """Extract features of images by name, all in one pass.

        Args:
            images: [B, C, H, W] of one size in [-1, 1]; the network sees them as `picture` shows them.
            compiled: False bypasses torch.compile, which would compile again for a batch unlike those of training.
        """
        batch = torch.cat([self._seen(image) for image in images.values()])
        features = self.vgg(batch) if compiled else self.vgg.forward(batch)
        chunks = [layer.chunk(len(images)) for layer in features]
        return {image: dict(zip(self.all_layers, parts, strict=True))
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
        seen = self._at_layers(self.extract(pair, compiled=False), *pair)
        layers = [torch.cat(features) for features in zip(*seen, strict=True)]  # [2, C, h, w]
        if self.loss.heads:
            layers = [head(features) for head, features in zip(self.loss.heads, layers, strict=True)]
        pictures = draw_centre(layers, *pair["real_A"].shape[2:], normalize=self.flags.use_norm)
        return {f"{name}_similarity": image[None] for name, image in zip(pair, pictures, strict=True)}

    def _seen(self, image: Tensor) -> Tensor:
        """Convert [B, C, H, W] to the three channels that the feature network takes; greyscale becomes grey colour."""
        return picture(image, self.bands).expand(-1, 3, -1, -1)

    def _extract_pair(self, pair: Pair, *, for_heads: bool) -> dict[str, Features]:
        """Extract features of the images that the losses need.

        Real images are one batch and translations another, so that gradients are computed only for translations.
        """
        real = {"source": pair.source}
        if for_heads or self.flags.loss_mode == "info":
            real["other"] = negative(pair.other, like=pair.source)
        if for_heads and pair.source_aug is not None and pair.other_aug is not None:
            real |= {"source_aug": pair.source_aug, "other_aug": negative(pair.other_aug, like=pair.source)}
        if len(real) == 1 and self._extracts_together(pair.target):
            features = self.vgg(self._seen(pair.target), beside=self._seen(pair.source))
            count = len(self.all_layers)
            return {"target": dict(zip(self.all_layers, features[:count], strict=True)),
                    "source": dict(zip(self.all_layers, features[count:], strict=True))}
        return self.extract(real) | self.extract({"target": pair.target})

    def _extracts_together(self, target: Tensor) -> bool:
        """Check whether one pass over source and target is faster: on a GPU, and without torch.compile.

        The caches of CPUs prefer two passes. With more images than the source, one pass would keep too much memory.
        """
        return (isinstance(self.vgg, VGG16Features) and self.vgg.frozen and target.is_cuda and target.requires_grad
                and not self.vgg._compiled_call_impl)

    @torch.no_grad()
    def _queries(self, source: Sequence[Tensor], mask: Tensor | None) -> list[Tensor] | None:
        """Choose query positions [B, N] of each layer by ``--query_by`` and ``mask``; None: the loss samples them."""
        count = self.flags.patch_nums
        if count is None:
            return None
        if self.flags.query_by == "entropy":
            rows = (F.normalize(features.flatten(2).mT, dim=2) / self.flags.T ** 0.5 for features in source)
            return [lowest_entropy(of, count) for of in rows]
        return None if mask is None else [positions_in(mask, of.shape[2], of.shape[3], count) for of in source]

    def _at_layers(self, seen: Mapping[str, Features], *images: str) -> list[list[Tensor]]:
        """List the features of each image at ``--attn_layers``."""
        return [[seen[image][layer] for layer in self.layers] for image in images]

    def _contrast(self, seen: Mapping[str, Features]) -> Tensor:
        """Compute the contrastive loss of one pair, at one draw of positions."""
        names = ["source", "target", "source_aug", "other", "other_aug"]
        names = names if "source_aug" in seen else ["source", "target", "other"]
        images = self._at_layers(seen, *names)
        return self._contrast_images(images, self.loss.sample(images[0]))

    def _compute_contrast(self, images: Sequence[Sequence[Tensor]], positions: Sequence[Tensor | None]) -> Tensor:
        """Compute the contrastive loss of the layers of each image: the source, one or two positives, their others.

        The maps of all images are one batch, and so are both comparisons.
        """
        layers = [torch.cat(of) for of in zip(*images, strict=True)]  # each [images * B, C, H, W]
        batch, positives = len(images[0][0]), len(images) // 2
        sizes = [batch, positives * batch, positives * batch]
        source, positive, other = zip(*(of.split(sizes) for of in self.loss.maps(layers, positions)), strict=True)
        return self.loss.contrast_maps([of.repeat(positives, 1, 1) for of in source], positive, other)


def positions_in(mask: Tensor, height: int, width: int, count: int) -> Tensor:
    """Draw positions of a map of ``height`` and ``width`` in proportion to the white share of their cells.

    If the mask has no white, all positions are equally likely.

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
