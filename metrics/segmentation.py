"""Scores of predicted label maps against true ones, all from one matrix of counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = 255
"""The label of pixels that belong to no class."""


def resize_labels(labels: Tensor, height: int, width: int) -> Tensor:
    """Label map [H, W] at another size: each pixel takes the label under its own centre (``nearest-exact``).

    Row y of ``height`` rows is row floor((y + 1/2) H / height), columns alike.
    """
    if labels.shape == (height, width):
        return labels
    return F.interpolate(labels[None, None].double(), (height, width), mode="nearest-exact")[0, 0].to(labels.dtype)


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How many pixels of each true class are predicted as what.

    Pixels whose true label is `IGNORED` count nowhere.

    Args:
        truth, predicted: integer labels of one shape, 0 to ``classes`` - 1 or `IGNORED`.
        classes: how many there are.

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


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1] of a `confusion` matrix; NaN in the tensors, each [classes], where nothing defines them.

    With TP, FN and FP the pixels of a class that are found, those that are not, and those of other classes that are
    taken for it: a prediction of `IGNORED` is an FN of the true class, and an FP of none.
    """

    accuracy: Tensor
    """TP / (TP + FN), the recall; NaN for classes that are nowhere true."""
    iou: Tensor
    """TP / (TP + FN + FP); NaN for classes that are neither true nor predicted anywhere."""
    precision: Tensor
    """TP / (TP + FP); NaN for classes that are nowhere predicted."""
    pixel_accuracy: float
    """All TP by all pixels."""
    class_accuracy: float
    """Mean of ``accuracy`` over the classes that have one."""
    mean_iou: float
    """Mean of ``iou`` over the classes that have one."""
    mean_precision: float
    """Mean of ``precision`` over the classes that have one."""


def segmentation_scores(counts: Tensor) -> SegmentationScores:
    """The scores of a matrix of `confusion`.

    Raises:
        ValueError: it counts no pixel.
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
