"""``evaluate.py cityscapes``: scores of the segmentation of photographs made from label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metrics.segmentation import segmentation_scores, total_confusion
from options import REQUIRED, flag
from util.device import choose_device
from util.errors import UserError
from util.image_folders import find_images
from util.images import load_normalized
from util.terminal import with_progress
from util.words import counted

from .figures import confusion_figure, save_figure
from .label_maps import ENDINGS, FORMATS, NAMES, read_labels
from .reports import require_place, write_json
from .scoring import program_conditions
from .segmentation_report import scores_json, scores_text
from .segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Score the segmentation of translations with the classes of Cityscapes."""

    labels: Path = flag(REQUIRED, "true label maps, at any depth")
    predictions: Path | None = flag(None, "label maps that a segmentation network made from the translations")
    images: Path | None = flag(None, "instead of --predictions: the translations, for --network")
    network: str | None = flag(None, "network that segments --images: a file of torch.export (.pt2) that maps "
                               "[1, 3, H, W] in [0, 1] to scores [1, 19, h, w], a program that must be trusted; or "
                               "torchvision/NAME")
    network_weights: Path | None = flag(None, "state dict of torchvision/NAME with 19 classes")
    labels_format: str = flag("auto", "format of --labels; auto takes three channels for colours, and one for the "
                              "format in its name", choices=FORMATS)
    predictions_format: str = flag("auto", "format of --predictions", choices=FORMATS)
    size: str = flag("labels", "compare at the size of labels or predictions; the others are resized by nearest "
                     "neighbour", choices=("labels", "predictions"))
    out: Path = flag(REQUIRED, "folder of cityscapes.json and confusion.png")
    gpu_ids: str = flag("auto", "device: a GPU's number, -1 for the CPU, auto for the best")


def run(flags: Flags) -> None:
    """Count, score, print, write."""
    found = flags.images or flags.predictions
    if found is None or (flags.images and flags.predictions) or (flags.images is None) != (flags.network is None):
        raise UserError("cityscapes needs either --predictions, or --images with a --network that segments them")
    if flags.network_weights and not str(flags.network).startswith("torchvision/"):
        raise UserError("--network_weights are those of --network torchvision/NAME")
    require_place(flags.out / "cityscapes.json")
    device = choose_device(flags.gpu_ids)
    matched, left_out = match(flags.labels, found, flags)
    counts = total_confusion(_label_maps(matched, flags, device), len(NAMES), flags.size)
    if counts.sum() == 0:
        raise UserError(f"--labels: no pixel in '{flags.labels}' has one of the {len(NAMES)} classes")
    scores = segmentation_scores(counts)
    left = f"; {counted(left_out, 'label map')} without prediction" if left_out else ""
    print(counted(len(matched), "image") + left)
    print(scores_text(scores, counts, NAMES))
    write_json(flags.out / "cityscapes.json", scores_json(scores, counts, NAMES) | {
        "images": len(matched), "labels_without_prediction": left_out, "size": flags.size,
        "labels_format": flags.labels_format, "predictions_format": flags.predictions_format,
        "network": flags.network, **program_conditions(device)})
    shares = counts / counts.sum(dim=1, keepdim=True)
    save_figure(confusion_figure(shares, NAMES, (*NAMES, "none")), flags.out / "confusion.png")


def match(labels: Path, predictions: Path, flags: Flags) -> tuple[list[tuple[Path, Path]], int]:
    """Pair predictions with label maps; returns the pairs (label map, prediction), and the number of other label maps.

    Two files are a pair if their names are equal without the endings of Cityscapes (``_gtFine_labelIds``,
    ``_leftImg8bit`` and so on). Of several label maps of a scene the one in the chosen format is used; with ``auto``,
    that of train ids or ids.

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
    """Select the files of a format by their names; all if there are none."""
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
    matched: Iterable[tuple[Path, Path]], flags: Flags, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over true and predicted train ids, each at its own size."""
    segment = Segmenter(flags.network, flags.network_weights, len(NAMES), device) if flags.network else None
    for label_map, path in with_progress(matched, "images segmented"):
        predicted = segment(load_normalized(path, 3)) if segment else read_labels(path, flags.predictions_format)
        yield read_labels(label_map, flags.labels_format), predicted
