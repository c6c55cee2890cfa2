"""Structure measures of images in memory, with the networks that they need."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metrics.error_maps import cosine_error, perceptual_error, pixel_error, similarity_error, similarity_map
from models.networks.features import VGG16, create_features, distinct_layers
from models.networks.vgg import VGG16Features
from util.errors import UserError
from util.files import sha256

from .feature_extractors import weights_sha256
from .scoring import program_conditions
from .trained_heads import TrainedHeads

MEASURES = {
    "pixel": "pixel L1",
    "perceptual": "perceptual L1",
    "patchnce": "PatchNCE cosine",
    "fsesim": "FSeSim",
    "fsesim_norm": "FSeSim, --use_norm",
    "lsesim": "LSeSim",
    "lsesim_norm": "LSeSim, --use_norm",
}
"""Titles of the structure measures, by name."""

LEARNED = ("lsesim", "lsesim_norm")
"""The measures that need heads."""


class Row(NamedTuple):
    """A measure at a layer."""

    measure: str
    layer: str
    """Empty for pixels."""

    @property
    def key(self) -> str:
        """``fsesim_relu3_1``."""
        return f"{self.measure}_{self.layer}" if self.layer else self.measure

    @property
    def has_similarity(self) -> bool:
        """True if the measure compares self-similarity."""
        return self.measure.startswith(("fsesim", "lsesim"))

    @property
    def title(self) -> str:
        """For figures and tables."""
        return MEASURES[self.measure]


class ImageFeatures(NamedTuple):
    """An image and its features."""

    image: Tensor
    """[1, 3, H, W] in [-1, 1]."""
    fixed: list[Tensor]
    """Features of each layer."""
    learned: list[Tensor]
    """Outputs of the heads; empty without heads."""


class StructureMeasures:
    """Some structure measures at some layers of a feature network, without gradients.

    Args:
        layers: names of layers; of VGG16 also numbers of ReLUs. None: those of the heads, or relu3_1 and relu4_1.
        network, weights: ``--feature_net`` and ``--vgg_weights``. None: those of the heads, or VGG16 and bundled.
        patch_size: side of the window of keys around a query. None: that of the heads, or 64.
        whole_rows: compare whole rows of self-similarity instead of the candidate's strongest quarter.
        heads: for LSeSim.
        measures: some of `MEASURES`; None: all, LSeSim only with heads.
        device: of the networks.

    Attributes:
        rows: the measures at their layers, in the order of figures and tables.

    Raises:
        UserError: an unknown layer or measure, LSeSim without heads for each layer, or missing weights.
    """

    def __init__(
        self, layers: Sequence[str] | None = None, *, network: str | None = None, weights: str | None = None,
        patch_size: int | None = None, heads: TrainedHeads | None = None, measures: Sequence[str] | None = None,
        whole_rows: bool = False, device: torch.device | str = "cpu",
    ) -> None:
        self.network_name = network or (heads.network if heads else VGG16)
        self.weights = weights or (heads.weights if heads else "bundled")
        self.patch_size = patch_size or (heads.patch_size if heads else 64)
        self.whole_rows = whole_rows
        typed = layers or (heads.layers if heads else ("relu3_1", "relu4_1"))
        self.layers = distinct_layers(self.network_name, typed, "--layers")
        chosen = _chosen(measures, heads)
        self.heads, self.device = heads if set(chosen) & set(LEARNED) else None, torch.device(device)
        self.rows = [Row(measure, layer) for measure in chosen
                     for layer in (("",) if measure == "pixel" else self.layers)]
        self.network = create_features(self.network_name, self.layers, self.weights).to(self.device)
        self.learned_network: nn.Module = self.network
        self.modules: list[nn.Module] = []
        if self.heads:
            self.modules = [self.heads.module(layer).to(self.device) for layer in self.layers]
            if self.heads.features is not None:
                self.learned_network = self.heads.feature_network().to(self.device)
        for module in (self.network, self.learned_network):
            if isinstance(module, VGG16Features):
                module.advice = "use larger images, or earlier --layers"

    @torch.no_grad()
    def features(self, image: Tensor) -> ImageFeatures:
        """Extract the features of an image [3, H, W] in [-1, 1].

        Raises:
            UserError: the image is too small for the layers.
        """
        batch = image[None].to(self.device)
        fixed: list[Tensor] = self.network(batch)
        if not self.heads:
            return ImageFeatures(batch, fixed, [])
        below = fixed
        if self.learned_network is not self.network:
            every = dict(zip(self.heads.layers, self.learned_network(batch), strict=True))
            below = [every[layer] for layer in self.layers]
        return ImageFeatures(batch, fixed, [head(of) for head, of in zip(self.modules, below, strict=True)])

    @torch.no_grad()
    def errors(self, source: ImageFeatures, candidate: ImageFeatures) -> dict[Row, Tensor]:
        """Compute the error map [h, w] of each row."""
        return {row: self._error(row, source, candidate)[0].cpu() for row in self.rows}

    @torch.no_grad()
    def similarities(self, features: ImageFeatures, x: int, y: int) -> dict[Row, Tensor]:
        """Compute the self-similarity map [h, w] of pixel (x, y), counted from the top left, in rows that have one.

        NaN outside the window of keys.
        """
        height, width = features.image.shape[2:]
        maps = {}
        for row in (row for row in self.rows if row.has_similarity):
            layer = self._of(row, features)
            query = (y * layer.shape[2] // height, x * layer.shape[3] // width)
            maps[row] = similarity_map(layer, *query, **self._settings(row))[0].cpu()
        return maps

    def conditions(self) -> dict[str, Any]:
        """List the conditions of the numbers, except the images."""
        of_vgg = self.network_name == VGG16 or Path(self.weights).is_file()
        found: dict[str, Any] = {
            "feature_network": self.network_name, "feature_layers": list(self.layers), "vgg_weights": self.weights,
            "vgg_weights_sha256": weights_sha256(self.weights) if of_vgg else None, "patch_size": self.patch_size,
            "whole_rows": self.whole_rows}
        if self.heads:
            found |= {"heads": str(self.heads.path), "heads_sha256": sha256(self.heads.path)}
        return found | program_conditions(self.device)

    def _error(self, row: Row, source: ImageFeatures, candidate: ImageFeatures) -> Tensor:
        if row.measure == "pixel":
            return pixel_error(source.image, candidate.image)
        layers = self._of(row, source), self._of(row, candidate)
        if row.measure == "perceptual":
            return perceptual_error(*layers)
        if row.measure == "patchnce":
            return cosine_error(*layers)
        return similarity_error(*layers, whole_rows=self.whole_rows, **self._settings(row))

    def _of(self, row: Row, features: ImageFeatures) -> Tensor:
        return (features.learned if row.measure in LEARNED else features.fixed)[self.layers.index(row.layer)]

    def _settings(self, row: Row) -> dict[str, Any]:
        return {"patch_size": self.patch_size, "normalize": row.measure.endswith("_norm")}


def _chosen(measures: Sequence[str] | None, heads: TrainedHeads | None) -> list[str]:
    """List the measures to compute, in the order of `MEASURES`."""
    if measures is None:
        return [name for name in MEASURES if heads or name not in LEARNED]
    if unknown := [name for name in measures if name not in MEASURES]:
        raise UserError(f"--measures: there is no measure '{unknown[0]}'; use some of {', '.join(MEASURES)}")
    if heads is None and (learned := [name for name in measures if name in LEARNED]):
        raise UserError(f"--measures {learned[0]} needs learned heads: add --heads checkpoints/NAME")
    return [name for name in MEASURES if name in measures]
