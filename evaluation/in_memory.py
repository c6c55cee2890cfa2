"""Scores of images that are in memory: those that `evaluation.folder_scores` would give to their PNG files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evaluation.feature_extractors import VGGFeatures
from metrics.paired import LINE_THRESHOLD
from metrics.scores import PAIR_METRICS
from util.images import levels

SCORED = ("frechet", "line_iou", "colour_error")
"""What there is of them: the Fréchet distance, and what compares an image with its truth."""


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
        self._features = VGGFeatures(layer, weights, device)
        self.conditions: dict[str, Any] = {**self._features.conditions, "line_threshold": LINE_THRESHOLD}

    def features(self, image: Tensor) -> Tensor:
        """Spatial means of the features of an image [1 or 3, H, W] in [-1, 1]: float32 [C] on the CPU."""
        return self._features.of(as_saved(image).expand(3, -1, -1)[None])[0]

    def against_truth(self, image: Tensor, truth: Tensor) -> dict[str, float]:
        """Line IoU and colour error of images [1 or 3, H, W] in [-1, 1]."""
        image, truth = (as_saved(picture).cpu().expand(3, -1, -1) for picture in (image, truth))
        return {name: float(PAIR_METRICS[name](image, truth)) for name in SCORED if name in PAIR_METRICS}


def as_saved(image: Tensor) -> Tensor:
    """An image in [-1, 1] as it is read from the 8-bit file that `save_image` makes of it, any shape."""
    return levels(image) / 255 * 2 - 1
