"""Scores of images that are in memory: those that `metrics.report` would give to their PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metrics.features import VGGFeatures
from metrics.frechet import frechet_distance
from metrics.paired import LINE_THRESHOLD, colour_error, line_iou

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
        self._features = VGGFeatures(layer, weights, device)
        self.conditions: dict[str, Any] = {**self._features.conditions, "line_threshold": LINE_THRESHOLD}

    def features(self, image: Tensor) -> Tensor:
        """Spatial means of the features of an image [1 or 3, H, W] in [-1, 1]: float32 [C] on the CPU."""
        return self._features.of(as_saved(image).expand(3, -1, -1)[None])[0]

    def against_truth(self, image: Tensor, truth: Tensor) -> dict[str, float]:
        """Line IoU and colour error of images [1 or 3, H, W] in [-1, 1]."""
        image, truth = (as_saved(picture).cpu().expand(3, -1, -1) for picture in (image, truth))
        return {"line_iou": float(line_iou(image, truth)), "colour_error": float(colour_error(image, truth))}


def as_saved(image: Tensor) -> Tensor:
    """An image in [-1, 1] as it is read from the 8-bit file that `save_image` makes of it, any shape."""
    levels = ((image.float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) * 127.5).round()
    return levels / 255 * 2 - 1


def summary(
    features: Sequence[Tensor], paired: Sequence[Mapping[str, float]], target: Tensor
) -> dict[str, float]:
    """The scores by name of at least two translations, whose features are [C] each.

    They are the distance to the features ``target`` [N, C], and the means of ``paired``.
    """
    scores = {"frechet": frechet_distance(torch.stack(list(features)), target)}
    return scores | {name: sum(of[name] for of in paired) / len(paired) for name in (paired[0] if paired else ())}
