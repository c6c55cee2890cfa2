"""``evaluate.py judge``: scores of a network that was trained on true pairs of ``datasets/atlas2satellite``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metrics.frechet import frechet_distance
from metrics.segmentation import merge_classes, segmentation_scores, total_confusion
from models.networks.segmentation_unet import SegmentationUNet
from options import REQUIRED, DeviceFlags, flag
from util.device import choose_device
from util.errors import UserError
from util.files import sha256
from util.image_folders import find_images
from util.images import load_normalized
from util.state_dicts import load_into
from util.terminal import with_progress

from .flags import RecordFlags
from .pairing import partners
from .relief_labels import NAMES, WATER, relief_labels
from .reports import aligned, require_place, write_json
from .scoring import program_conditions
from .segmentation_report import scores_json, scores_text

WEIGHTS = Path(__file__).resolve().parent / "weights" / "atlas2satellite_judge.safetensors"
PAIRS = Path(__file__).resolve().parents[1] / "datasets" / "atlas2satellite"
SCORES = {"pixel_accuracy": "pixel accuracy", "class_accuracy": "class accuracy", "mean_iou": "mean IoU",
          "water_iou": "water IoU", "judge_frechet": "Fréchet distance to the truth"}
COLUMNS = ("inputs", "outputs", "truth")


@dataclass(frozen=True, kw_only=True)
class Flags(DeviceFlags, RecordFlags):
    """Let a segmentation network judge photographs that were made from the sheets of an atlas."""

    outputs: Path = flag(REQUIRED, "the translations")
    labels: Path = flag(PAIRS / "testA", "their inputs, sheets of the atlas, under the same names: their colours give "
                        "the true labels")
    truth: Path = flag(PAIRS / "testB", "the true photographs, under the same names")
    weights: Path = flag(WEIGHTS, "weights of the network")


def run(flags: Flags) -> None:
    """Score, print, write."""
    if flags.json:
        require_place(flags.json)
    device = choose_device(flags.gpu_ids)
    results = {*(f"{score}_{column}" for score in SCORES for column in COLUMNS), *conditions(flags.weights, device),
               "segmentation", "images"}
    if taken := sorted(dict(flags.record).keys() & results):
        raise UserError(f"--record {taken[0]}=... would replace a result of that name; choose another key")
    scores = judge_folder(flags.outputs, flags.labels, flags.truth, weights=flags.weights, device=device)
    counts = torch.tensor(scores["segmentation"]["outputs"]["confusion"])
    print(scores_text(segmentation_scores(counts), counts, NAMES), judge_table(scores), sep="\n\n")
    if flags.json:
        write_json(flags.json, scores | dict(flags.record))


def judge_folder(
    outputs: Path, labels: Path = PAIRS / "testA", truth: Path = PAIRS / "testB", *, weights: Path = WEIGHTS,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Score a folder of translations, beside their inputs and the true photographs.

    Args:
        outputs: the translations.
        labels: their inputs, under the same names.
        truth: the true photographs, under the same names.
        weights: of the network.
        device: of the network.

    Returns:
        The keys of `SCORES` with ``_outputs``, ``_inputs`` and ``_truth``; ``segmentation``: for each of these columns
        the scores by class and the confusion matrix; and the conditions.

    Raises:
        UserError: a folder is missing or empty, an image lacks its partner, there is only one image, or the weights
            are missing or of another network.
    """
    files = find_images(outputs, "--outputs")
    if len(files) < 2:
        raise UserError(f"--outputs: '{outputs}' holds a single image; the Fréchet distance needs at least two")
    sheets = partners(files, outputs, labels, "--labels")
    columns = dict(zip(COLUMNS, (sheets, files, partners(files, outputs, truth, "--truth")), strict=True))
    network = load_judge(weights).to(device)
    true_labels = [relief_labels(load_normalized(sheet, 3)) for sheet in with_progress(sheets, "sheets labelled")]
    judged = {name: [judge_image(network, path, device) for path in with_progress(paths, f"{name} segmented")]
              for name, paths in columns.items()}
    features = {name: torch.stack([of for _, of in images]) for name, images in judged.items()}
    found: dict[str, Any] = {"segmentation": {}}
    for name, images in judged.items():
        counts = total_confusion(zip(true_labels, (labels for labels, _ in images), strict=True), len(NAMES))
        scores = segmentation_scores(counts)
        found |= {f"pixel_accuracy_{name}": scores.pixel_accuracy, f"class_accuracy_{name}": scores.class_accuracy,
                  f"mean_iou_{name}": scores.mean_iou, f"water_iou_{name}": water_iou(counts)}
        if name != "truth":
            found[f"judge_frechet_{name}"] = frechet_distance(features[name], features["truth"])
        found["segmentation"][name] = scores_json(scores, counts, NAMES)
    return found | {"images": len(files), **conditions(weights, device)}


def conditions(weights: Path, device: torch.device | str) -> dict[str, Any]:
    """List the conditions of the scores, except the images.

    Raises:
        UserError: there are no weights.
    """
    require_weights(weights)
    return {"judge_weights_sha256": sha256(weights), **program_conditions(device)}


def judge_table(scores: Mapping[str, Any]) -> str:
    """Format the scores of all columns."""
    rows = [["", *COLUMNS]]
    for key, title in SCORES.items():
        rows.append([title, *(f"{scores[f'{key}_{name}']:.4g}" if f"{key}_{name}" in scores else "-"
                              for name in COLUMNS)])
    return aligned(rows, left=1)


def load_judge(weights: Path = WEIGHTS) -> SegmentationUNet:
    """Load the network from a .safetensors file.

    Raises:
        UserError: the file is missing or damaged, or holds weights of another network.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - only where such a file is read

    require_weights(weights)
    try:
        state = load_file(weights)
    except Exception as error:  # the reader raises many kinds
        raise UserError(f"--weights: {weights} is no readable .safetensors file ({type(error).__name__}); name one "
                        "that experiments/train_judge.py has written") from error
    network = SegmentationUNet(len(NAMES))
    try:
        load_into(network, {key: value.float() if value.is_floating_point() else value for key, value in state.items()},
                  weights)
    except UserError as error:
        raise UserError(f"--weights: {weights} holds another network; name a file that experiments/train_judge.py has "
                        "written") from error
    return network.eval()


def require_weights(weights: Path) -> None:
    """Refuse a missing file of weights.

    Raises:
        UserError: it is missing.
    """
    if not weights.is_file():
        raise UserError(f"--weights: there is no file {weights}; name one that experiments/train_judge.py has written")


@torch.no_grad()
def judge_image(network: SegmentationUNet, path: Path, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Segment an image file.

    Returns:
        Its labels [H, W], and the deepest features of the network, averaged over the positions: [D].
    """
    maps = network.features(load_normalized(path, 3)[None].to(device))
    return network.classifier(maps[-1])[0].argmax(dim=0).cpu(), maps[0].mean(dim=(2, 3))[0].cpu()


def water_iou(counts: Tensor) -> float:
    """Compute the IoU of water, the seas together against land, from a confusion matrix; 0 if neither is found."""
    merged = merge_classes(counts, [int(index >= WATER) for index in range(len(NAMES))])
    return float(segmentation_scores(merged).iou[0].nan_to_num())
