"""Segmentation scores as tables and JSON, for classes of any names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from metrics.segmentation import SegmentationScores

from .reports import aligned


def scores_json(scores: SegmentationScores, counts: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Collect the scores and the confusion matrix; undefined scores are null."""
    return {
        "pixel_accuracy": scores.pixel_accuracy, "class_accuracy": scores.class_accuracy, "mean_iou": scores.mean_iou,
        "mAP": scores.mean_iou, "mAP_definition": "mean IoU, as the code of DRN calls it",
        "mean_precision": _number(scores.mean_precision),
        "classes": {name: {"iou": _number(iou), "accuracy": _number(accuracy), "precision": _number(precision)}
                    for name, iou, accuracy, precision in _classes(scores, names)},
        "confusion": counts.tolist(), "confusion_columns": [*names, "none"],
    }


def scores_text(scores: SegmentationScores, counts: Tensor, names: Sequence[str]) -> str:
    """Format all scores in percent: of each class, over all classes, and the confusion matrix by true class."""
    pixels = counts.sum(dim=1, keepdim=True)
    classes = [["class", "IoU", "accuracy", "precision", "of pixels"]]
    for (name, *values), share in zip(_classes(scores, names), (pixels / pixels.sum()).tolist(), strict=True):
        classes.append([name, *(_percent(value) for value in (*values, *share))])
    summary = [["pixel accuracy", _percent(scores.pixel_accuracy)], ["class accuracy", _percent(scores.class_accuracy)],
               ["mean IoU (what DRN and the papers call mAP)", _percent(scores.mean_iou)],
               ["mean precision", _percent(scores.mean_precision)]]
    matrix = [["true \\ predicted", *(name.replace(" ", "")[:4] for name in (*names, "none"))],
              *([name, *(_percent(share, 0) for share in shares)]
                for name, shares in zip(names, (counts / pixels).tolist(), strict=True))]
    return "\n\n".join(aligned(rows, left=1) for rows in (classes, summary, matrix))


def _classes(scores: SegmentationScores, names: Sequence[str]) -> Iterator[tuple[str, float, float, float]]:
    """Iterate over name, IoU, accuracy and precision of each class."""
    return zip(names, scores.iou.tolist(), scores.accuracy.tolist(), scores.precision.tolist(), strict=True)


def _percent(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
