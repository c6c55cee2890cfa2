"""Scores of predicted label maps against true ones, from a confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = 255
"""Label of pixels without a class."""


def resize_labels(labels: Tensor, height: int, width: int) -> Tensor:
    """Resize a label map [H, W]: each pixel takes the label under its centre (``nearest-exact``).

    Row y of ``height`` rows is row floor((y + 1/2) H / height), columns alike.
    """
    if labels.shape == (height, width):
        return labels
    return F.interpolate(labels[None, None].double(), (height, width), mode="nearest-exact")[0, 0].to(labels.dtype)


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count the pixels of each true class by predicted class; pixels whose true label is `IGNORED` are left out.

    Args:
        truth, predicted: integer labels of one shape, 0 to ``classes`` - 1 or `IGNORED`.
        classes: number of classes.

    Returns:
        LongTensor [classes, classes + 1]: rows are true classes, columns predicted ones, the last of them `IGNORED`.

    Raises:
        ValueError: the shapes differ, or a label is neither a class nor `IGNORED`.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label maps differ in shape: {list(truth.shape)}, {list(predicted.shape)}")
    for labels in (truth, predicted):
        if not ((labels >= 0) & (labels < classes) | (labels == IGNORED)).all():
            raise ValueError(f"labels must be 0 to {classes - 1} or {IGNORED}")
    counted = truth != IGNORED
    columns = predicted[counted].long().where(predicted[counted] != IGNORED, classes)
    cells = truth[counted].long() * (classes + 1) + columns
    return torch.bincount(cells, minlength=classes * (classes + 1)).view(classes, classes + 1)


def total_confusion(pairs: Iterable[tuple[Tensor, Tensor]], classes: int, size: str = "labels") -> Tensor:
    """Add up the `confusion` of pairs of label maps [H, W], the true and the predicted one.

    Args:
        pairs: the label maps.
        classes: number of classes.
        size: ``labels`` or ``predictions``: the size to which the other label map is resized.
    """
    counts = torch.zeros(classes, classes + 1, dtype=torch.int64)
    for pair in pairs:
        height, width = pair[0 if size == "labels" else 1].shape
        truth, predicted = (resize_labels(labels, height, width) for labels in pair)
        counts += confusion(truth, predicted, classes)
    return counts


def merge_classes(counts: Tensor, groups: Sequence[int]) -> Tensor:
    """Sum the cells of a `confusion` matrix over groups of classes.

    Args:
        counts: the matrix [classes, classes + 1].
        groups: the group of each class, from 0 on.

    Returns:
        The matrix of the groups [G, G + 1].
    """
    count = max(groups) + 1
    rows = counts.new_zeros(count, counts.shape[1]).index_add(0, torch.tensor(groups), counts)
    return rows.new_zeros(count, count + 1).index_add(1, torch.tensor([*groups, count]), rows)


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1] of a `confusion` matrix. Tensors are [classes], NaN where a score is undefined.

    TP, FN and FP are a class's true positives, false negatives and false positives, in pixels. A prediction of
    `IGNORED` is a false negative of the true class, and a false positive of none.
    """

    accuracy: Tensor
    """TP / (TP + FN), the recall; NaN for classes without true pixels."""
    iou: Tensor
    """TP / (TP + FN + FP); NaN for classes without true and predicted pixels."""
    precision: Tensor
    """TP / (TP + FP); NaN for classes without predicted pixels."""
    pixel_accuracy: float
    """Sum of TP over the number of pixels."""
    class_accuracy: float
    """Mean of ``accuracy`` over the classes where it is defined."""
    mean_iou: float
    """Mean of ``iou`` over the classes where it is defined."""
    mean_precision: float
    """Mean of ``precision`` over the classes where it is defined."""


def segmentation_scores(counts: Tensor) -> SegmentationScores:
    """Compute the scores of a `confusion` matrix.

    Raises:
        ValueError: the matrix counts no pixel.
    """
    if counts.sum() == 0:
        raise ValueError("no pixel has a class")
    matrix = counts.double()
    found, true, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix[:, :-1].sum(dim=0)
    accuracy, precision = found / true, found / predicted  # 0 / 0 is NaN
    iou = found / (true + predicted - found)
    return SegmentationScores(
        accuracy, iou, precision, pixel_accuracy=(found.sum() / true.sum()).item(),
        class_accuracy=accuracy.nanmean().item(), mean_iou=iou.nanmean().item(),
        mean_precision=precision.nanmean().item())
