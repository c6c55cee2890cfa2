"""Structure measures of images: which there are, and the networks that they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from evaluation.feature_extractors import weights_sha256
from evaluation.pairing import program_conditions
from evaluation.trained_heads import Heads
from metrics.error_maps import cosine_error, perceptual_error, pixel_error, similarity_error, similarity_map
from models.networks.features import VGG16, create_features, distinct_layers
from util.errors import UserError
from util.files import sha256

MEASURES = {
    "pixel": "pixel L1",
    "perceptual": "perceptual L1",
    "patchnce": "PatchNCE cosine",
    "fsesim": "FSeSim",
    "fsesim_norm": "FSeSim, --use_norm",
    "lsesim": "LSeSim",
    "lsesim_norm": "LSeSim, --use_norm",
}
"""Names of the measures, and how figures and tables call them."""

LEARNED = ("lsesim", "lsesim_norm")
"""Those that need heads."""


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
    def shows_similarity(self) -> bool:
        """Whether it is made of self-similarity."""
        return self.measure.startswith(("fsesim", "lsesim"))

    @property
    def title(self) -> str:
        """What people read."""
        return MEASURES[self.measure]


class Seen(NamedTuple):
    """An image as the measures see it."""

    image: Tensor
    """[1, 3, H, W] in [-1, 1]."""
    features: list[Tensor]
    learned: list[Tensor]
    """What the heads make of features; empty without heads."""


class Comparison:
    """Some measures of structure at some layers of a feature network, without gradients.

    Args:
        layers: names of layers; of VGG16 also numbers of ReLUs. None: the heads' own, or relu3_1 and relu4_1.
        network, weights: ``--feature_net`` and ``--vgg_weights``. None: the heads' own, or VGG16 and bundled.
        patch_size: side of the window of keys around a query. None: the heads' own, or 64.
        whole_rows: compare whole rows of self-similarity, not where the candidate's is strongest alone.
        heads: for LSeSim.
        measures: some of `MEASURES`; None: all that can be had.
        device: where the networks run.

    Attributes:
        rows: what is measured, in the order of figures and tables.

    Raises:
        UserError: an unknown layer or measure, LSeSim without heads for each layer, or weights that are missing.
    """

    def __init__(
        self, layers: Sequence[str] | None = None, *, network: str | None = None, weights: str | None = None,
        patch_size: int | None = None, heads: Heads | None = None, measures: Sequence[str] | None = None,
        whole_rows: bool = False, device: torch.device | str = "cpu",
    ) -> None:
        self.network_name = network or (heads.network if heads else VGG16)
        self.weights = weights or (heads.weights if heads else "bundled")
        self.patch_size = patch_size or (heads.patch_size if heads else 64)
        self.whole_rows = whole_rows
        typed = layers or (heads.layers if heads else ("relu3_1", "relu4_1"))
        self.layers = distinct_layers(self.network_name, typed, "--layers")
        chosen = _measures(measures, heads)
        self.heads, self.device = heads if set(chosen) & set(LEARNED) else None, torch.device(device)
        self.rows = [Row(measure, layer) for measure in chosen
                     for layer in (("",) if measure == "pixel" else self.layers)]
        self.network = create_features(self.network_name, self.layers, self.weights).to(self.device)
        self.learned_network: nn.Module = self.network
        self.modules: list[nn.Module] = []
        if self.heads:
            self.modules = [_head_of(self.heads, layer).to(self.device) for layer in self.layers]
            if self.heads.features is not None:
                self.learned_network = self.heads.feature_network().to(self.device)

    @torch.no_grad()
    def look(self, image: Tensor) -> Seen:
        """What the measures need of an image [3, H, W] in [-1, 1]."""
        batch = image[None].to(self.device)
        features: list[Tensor] = self.network(batch)
        if not self.heads:
            return Seen(batch, features, [])
        learned = features
        if self.learned_network is not self.network:
            every = dict(zip(self.heads.layers, self.learned_network(batch), strict=True))
            learned = [every[layer] for layer in self.layers]
        return Seen(batch, features, [head(f) for head, f in zip(self.modules, learned, strict=True)])

    @torch.no_grad()
    def errors(self, source: Seen, candidate: Seen) -> dict[Row, Tensor]:
        """The map of errors [h, w] of each row: how far the candidate is from the source's structure."""
        return {row: self._error(row, source, candidate)[0].cpu() for row in self.rows}

    @torch.no_grad()
    def similarities(self, seen: Seen, x: int, y: int) -> dict[Row, Tensor]:
        """Self-similarity [h, w] of the point at pixel (x, y), counted from the top left, in the rows that have one.

        NaN where the point's window of keys does not reach.
        """
        height, width = seen.image.shape[2:]
        maps = {}
        for row in self.rows:
            if row.shows_similarity:
                features = self._features(row, seen)
                query = (y * features.shape[2] // height, x * features.shape[3] // width)
                maps[row] = similarity_map(features, *query, **self._settings(row))[0].cpu()
        return maps

    def conditions(self) -> dict[str, Any]:
        """What the numbers depend on, beside the images."""
        of_vgg = self.network_name == VGG16 or Path(self.weights).is_file()
        found: dict[str, Any] = {
            "feature_network": self.network_name, "feature_layers": list(self.layers), "vgg_weights": self.weights,
            "vgg_weights_sha256": weights_sha256(self.weights) if of_vgg else None, "patch_size": self.patch_size,
            "whole_rows": self.whole_rows}
        if self.heads:
            found |= {"heads": str(self.heads.path), "heads_sha256": sha256(self.heads.path)}
        return found | program_conditions(self.device)

    def _error(self, row: Row, source: Seen, candidate: Seen) -> Tensor:
        if row.measure == "pixel":
            return pixel_error(source.image, candidate.image)
        features = self._features(row, source), self._features(row, candidate)
        if row.measure == "perceptual":
            return perceptual_error(*features)
        if row.measure == "patchnce":
            return cosine_error(*features)
        return similarity_error(*features, whole_rows=self.whole_rows, **self._settings(row))

    def _features(self, row: Row, seen: Seen) -> Tensor:
        return (seen.learned if row.measure in LEARNED else seen.features)[self.layers.index(row.layer)]

    def _settings(self, row: Row) -> dict[str, Any]:
        return {"patch_size": self.patch_size, "normalize": row.measure.endswith("_norm")}


def _measures(measures: Sequence[str] | None, heads: Heads | None) -> list[str]:
    """Those asked for, in the order of `MEASURES`."""
    if measures is None:
        return [name for name in MEASURES if heads or name not in LEARNED]
    if unknown := [name for name in measures if name not in MEASURES]:
        raise UserError(f"--measures: there is no measure '{unknown[0]}'; use some of {', '.join(MEASURES)}")
    if heads is None and (learned := [name for name in measures if name in LEARNED]):
        raise UserError(f"--measures {learned[0]} needs learned heads: add --heads checkpoints/NAME")
    return [name for name in MEASURES if name in measures]


def _head_of(heads: Heads, layer: str) -> nn.Module:
    if layer not in heads.layers:
        raise UserError(f"--layers: {heads.path} has no head for {layer}; use {', '.join(heads.layers)}, or leave "
                        "--heads out")
    return heads.modules[heads.layers.index(layer)]
