"""``evaluate.py cityscapes``: what a segmentation network recognises in photographs made of label maps."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.folder_scores import require_place, write_json
from evaluation.label_maps import CLASSES, ENDINGS, FORMATS, NAMES, read_labels
from evaluation.pairing import program_conditions, read_image
from evaluation.segmenter import Segmenter
from metrics.segmentation import SegmentationScores, confusion, resize_labels, segmentation_scores
from util.device import choose_device
from util.errors import UserError
from util.images import find_images
from util.terminal import watched
from util.words import counted

from .figures import confusion_figure, save_figure

SUMMARY = "score the segmentation of translations with the classes of Cityscapes"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("--labels", type=Path, required=True, metavar="DIR", help="the true label maps, at any depth; required")
    add("--predictions", type=Path, metavar="DIR",
        help="label maps that a segmentation network has made of the translations (default: none)")
    add("--images", type=Path, metavar="DIR", help="instead: the translations, for --network (default: none)")
    add("--network", metavar="NAME",
        help="segments --images: a file of torch.export (.pt2) that takes [1, 3, H, W] in [0, 1] to "
             "scores [1, 19, h, w], a program to be trusted; or torchvision/NAME (default: none)")
    add("--network_weights", type=Path, metavar="FILE",
        help="state dict of torchvision/NAME with 19 classes (default: none)")
    for name in ("labels", "predictions"):
        add(f"--{name}_format", choices=FORMATS, default="auto", metavar="NAME",
            help=f"how --{name} are stored: {', '.join(FORMATS)}; auto takes three channels for colours, and one for "
                 "what its name says (default: %(default)s)")
    add("--size", choices=("labels", "predictions"), default="labels", metavar="NAME",
        help="whose size counts, to which the others are resized by nearest neighbour: labels or predictions "
             "(default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="where cityscapes.json and confusion.png go; required")
    add("--gpu_ids", default="auto", metavar="ID",
        help="device: a GPU's number, -1 for the CPU, auto for the best (default: %(default)s)")


def run(flags: argparse.Namespace) -> None:
    """Count, score, print, write."""
    if (flags.predictions is None) == (flags.images is None) or (flags.images is None) != (flags.network is None):
        raise UserError("cityscapes needs either --predictions, or --images with a --network that segments them")
    if flags.network_weights and not str(flags.network).startswith("torchvision/"):
        raise UserError("--network_weights are those of --network torchvision/NAME")
    require_place(flags.out / "cityscapes.json")
    device = choose_device(flags.gpu_ids)
    matched, left_out = match(flags.labels, flags.images or flags.predictions, flags)
    counts = torch.zeros(len(CLASSES), len(CLASSES) + 1, dtype=torch.int64)
    for truth, predicted in _label_maps(matched, flags, device):
        height, width = (truth if flags.size == "labels" else predicted).shape
        alike = [resize_labels(labels, height, width) for labels in (truth, predicted)]
        counts += confusion(alike[0], alike[1], len(CLASSES))
    if counts.sum() == 0:
        raise UserError(f"--labels: no pixel in '{flags.labels}' has one of the {len(CLASSES)} classes")
    scores = segmentation_scores(counts)
    lonely = f"; {counted(left_out, 'label map')} without prediction" if left_out else ""
    print(counted(len(matched), "image") + lonely)
    print("\n".join([*class_table(scores, counts), "", *summary(scores), "", *matrix_table(counts)]))
    write_json(flags.out / "cityscapes.json", report(scores, counts) | {
        "images": len(matched), "labels_without_prediction": left_out, "size": flags.size,
        "labels_format": flags.labels_format, "predictions_format": flags.predictions_format,
        "network": flags.network, **program_conditions(device)})
    shares = counts / counts.sum(dim=1, keepdim=True)
    save_figure(confusion_figure(shares, NAMES, (*NAMES, "none")), flags.out / "confusion.png")


def match(labels: Path, predictions: Path, flags: argparse.Namespace) -> tuple[list[tuple[Path, Path]], int]:
    """Each prediction with its label map, and the number of label maps that no prediction belongs to.

    They belong together if their names are the same without the endings that Cityscapes gives
    (``_gtFine_labelIds``, ``_leftImg8bit`` and so on). Of the several label maps of a scene those in the format
    count, with ``auto`` those of (train) ids.

    Raises:
        UserError: a folder is missing or empty, two files have one name, or a prediction has no label map.
    """
    flag = "--images" if flags.images else "--predictions"
    formats = {"labels": flags.labels_format, flag[2:]: "auto" if flags.images else flags.predictions_format}
    truth = _by_scene(_stored_as(find_images(labels, "--labels"), formats["labels"]), "--labels")
    found = _by_scene(_stored_as(find_images(predictions, flag), formats[flag[2:]]), flag)
    for scene, path in found.items():
        if scene not in truth:
            raise UserError(f"{flag}: '{path}' has no label map in '{labels}': add one named {scene}")
    return [(truth[scene], path) for scene, path in found.items()], len(truth) - len(found)


def _stored_as(paths: list[Path], wanted: str) -> list[Path]:
    """The files whose names say that they hold the format; where there are none, all."""
    for ending, stored in ENDINGS.items():
        if wanted in ("auto", stored) and (chosen := [path for path in paths if path.stem.endswith(ending)]):
            return chosen
    return paths


def _by_scene(paths: Iterable[Path], flag: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        scene = path.stem.partition("_gtFine_")[0].removesuffix("_leftImg8bit")
        if scene in found:
            raise UserError(f"{flag}: '{found[scene]}' and '{path}' are of one scene: keep one of them")
        found[scene] = path
    return found


def _label_maps(
    matched: Iterable[tuple[Path, Path]], flags: argparse.Namespace, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of train ids, true and predicted, each at its own size."""
    segment = Segmenter(flags.network, flags.network_weights, device) if flags.network else None
    for label_map, path in watched(matched, "images segmented"):
        predicted = segment(read_image(path)) if segment else read_labels(path, flags.predictions_format)
        yield read_labels(label_map, flags.labels_format), predicted


def report(scores: SegmentationScores, counts: Tensor) -> dict[str, Any]:
    """The scores for a JSON file; classes without a score have null."""
    return {
        "pixel_accuracy": scores.pixel_accuracy, "class_accuracy": scores.class_accuracy, "mean_iou": scores.mean_iou,
        "mAP": scores.mean_iou, "mAP_definition": "mean IoU, as the code of DRN calls it",
        "mean_precision": _number(scores.mean_precision),
        "classes": {name: {"iou": _number(iou), "accuracy": _number(accuracy), "precision": _number(precision)}
                    for name, iou, accuracy, precision in _of_classes(scores)},
        "confusion": counts.tolist(), "confusion_columns": [*NAMES, "none"],
    }


def summary(scores: SegmentationScores) -> list[str]:
    """Lines of the scores over all classes, in percent."""
    return [f"{name:<44}{100 * value:7.2f}" for name, value in (
        ("pixel accuracy", scores.pixel_accuracy), ("class accuracy", scores.class_accuracy),
        ("mean IoU (what DRN and the papers call mAP)", scores.mean_iou), ("mean precision", scores.mean_precision))]


def class_table(scores: SegmentationScores, counts: Tensor) -> list[str]:
    """Lines of the classes' scores in percent; a dash where nothing defines one."""
    shares = counts.sum(dim=1) / counts.sum()
    lines = [f"{'class':<16}{'IoU':>8}{'accuracy':>10}{'precision':>11}{'of pixels':>11}"]
    for (name, *values), share in zip(_of_classes(scores), shares.tolist(), strict=True):
        cells = ["-" if math.isnan(value) else f"{100 * value:.2f}" for value in values]
        lines.append(f"{name:<16}{cells[0]:>8}{cells[1]:>10}{cells[2]:>11}{100 * share:11.2f}")
    return lines


def matrix_table(counts: Tensor) -> list[str]:
    """Lines of the confusion matrix: of a true class's pixels (row) the percentages predicted as each class."""
    shares = 100 * counts / counts.sum(dim=1, keepdim=True)
    head = "true \\ predicted" + "".join(f"{name[:4]:>5}" for name in (*(n.replace(" ", "") for n in NAMES), "none"))
    rows = zip(NAMES, shares.tolist(), strict=True)
    return [head, *(f"{name:<16}" + "".join("    -" if math.isnan(s) else f"{s:5.0f}" for s in row)
                    for name, row in rows)]


def _of_classes(scores: SegmentationScores) -> Iterator[tuple[str, float, float, float]]:
    """Name, IoU, accuracy and precision of each class."""
    return zip(NAMES, scores.iou.tolist(), scores.accuracy.tolist(), scores.precision.tolist(), strict=True)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
