"""Scores of images that are in memory: those that `metrics.report` would give to their PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metrics.features import weights_sha256
from metrics.frechet import frechet_distance, gaussian
from metrics.paired import LINE_THRESHOLD, colour_error, line_iou
from models.networks.vgg import LAYERS, VGG16Features, layer_index

BETTER = {"frechet": min, "line_iou": max, "colour_error": min}
"""The measures, and which of two values is the better one."""


class Examined:
    """What is measured of an image at once: features, and where its truth is known how near it is to that.

    Args:
        layer, weights: of VGG16, as `VGG16Features` takes them.
        device: where it runs.

    Attributes:
        conditions: what the numbers depend on beside the images.

    Raises:
        UserError: an unknown layer, or missing weights.
    """

    def __init__(self, layer: str, weights: str, device: torch.device) -> None:
        self._network = VGG16Features([layer], weights).to(device)
        self._device = device
        self.conditions: dict[str, Any] = {
            "feature_network": "vgg16", "feature_layer": LAYERS[layer_index(layer)], "feature_pooling": "spatial mean",
            "vgg_weights": weights, "vgg_weights_sha256": weights_sha256(weights), "line_threshold": LINE_THRESHOLD,
        }

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """Spatial means of the features of an image [1 or 3, H, W] in [-1, 1]: float32 [C] on the CPU."""
        means: Tensor = self._network(as_saved(image)[None].to(self._device))[0].mean(dim=(-2, -1))[0]
        return means.cpu()

    def against_truth(self, image: Tensor, truth: Tensor) -> dict[str, float]:
        """Line IoU and colour error of images [1 or 3, H, W] in [-1, 1]."""
        image, truth = (as_saved(picture).cpu().expand(3, -1, -1) for picture in (image, truth))
        return {"line_iou": float(line_iou(image, truth)), "colour_error": float(colour_error(image, truth))}


def as_saved(image: Tensor) -> Tensor:
    """An image in [-1, 1] as it is read from the 8-bit file that `save_image` makes of it, any shape."""
    levels = ((image.float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) * 127.5).round()
    return levels / 255 * 2 - 1


def gaussian_of(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the features, each [C], of at least two images."""
    return gaussian(torch.stack(list(features)))


def summary(
    features: Sequence[Tensor], paired: Sequence[Mapping[str, float]], target: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """The scores by name of at least two translations: their distance to ``target``, and the means of ``paired``."""
    scores = {"frechet": frechet_distance(*gaussian_of(features), *target)}
    return scores | {name: sum(of[name] for of in paired) / len(paired) for name in (paired[0] if paired else ())}
