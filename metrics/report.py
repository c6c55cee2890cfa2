"""Scores of a folder of translations, beside those of the images they were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from metrics.features import feature_conditions, vgg_features
from metrics.frechet import frechet_distance, gaussian
from metrics.images import partners, program_conditions, read_image
from metrics.paired import LINE_THRESHOLD, colour_error, line_iou
from util.errors import UserError
from util.files import replacing
from util.images import find_images

MEASURES = {
    "frechet": "Fréchet distance (lower is better)",
    "line_iou": "line IoU (higher is better)",
    "colour_error": "colour error (lower is better)",
}
"""The measures, by the name that starts their keys, as the table calls them."""


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how."""

    outputs: Path
    """Folder of translations."""
    real: Path
    """Folder of real images of the target domain, for the Fréchet distance."""
    inputs: Path | None = None
    """Folder of what was translated, under the same names: scored too, for comparison."""
    truth: Path | None = None
    """Folder of true counterparts, under the same names: without it there are no paired scores."""
    layer: str = "relu4_3"
    weights: str = "bundled"
    device: torch.device | str = "cpu"
    batch_size: int = 16
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Further entries for the result, such as how the outputs were made."""


def score(request: Request) -> dict[str, Any]:
    """Score the outputs, and the inputs that they were made from.

    Returns:
        ``MEASURE_outputs`` and ``MEASURE_inputs`` for the `MEASURES` that the folders given allow, and what
        the numbers depend on. Inputs without an output are left out, so both columns are of the same images.

    Raises:
        UserError: a folder missing, empty or too small, an image without its partner or of another size.
    """
    files = {"outputs": find_images(request.outputs, "--outputs", subfolders=False)}
    if request.inputs:
        files["inputs"] = partners(files["outputs"], request.inputs, "--inputs")
    truth = partners(files["outputs"], request.truth, "--truth") if request.truth else None
    real = find_images(request.real, "--real", subfolders=False)
    for flag, images in (("--outputs", files["outputs"]), ("--real", real)):
        if len(images) < 2:
            folder = images[0].parent
            raise UserError(f"{flag}: '{folder}' holds a single image; the Fréchet distance needs at least two")

    scores: dict[str, float] = {}
    if truth is not None:  # first, because it is quick: a size that differs is found at once
        for column, images in files.items():
            scores |= {f"{name}_{column}": value for name, value in _paired_scores(images, truth).items()}
    target = _gaussian(real, request)
    conditions = _conditions(request, len(files["outputs"]), len(real))
    if taken := sorted(request.recorded.keys() & {*_score_keys(), *conditions}):
        raise UserError(f"--record {taken[0]}=... would replace a result of that name; choose another key")
    for column, images in files.items():
        scores[f"frechet_{column}"] = frechet_distance(*_gaussian(images, request), *target)
    return {key: scores[key] for key in _score_keys() if key in scores} | conditions | dict(request.recorded)


def table(scores: Mapping[str, Any]) -> str:
    """The scores as lines of aligned columns; a dash where there is none."""
    rows: list[tuple[str, ...]] = [("", "inputs", "outputs")]
    for name, title in MEASURES.items():
        cells = [scores.get(f"{name}_{column}") for column in ("inputs", "outputs")]
        rows.append((title, *("-" if cell is None else f"{cell:.4g}" for cell in cells)))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{title:<{width}}  {left:>10}  {right:>10}" for title, left, right in rows)


def write_json(path: Path, scores: Mapping[str, Any]) -> None:
    """Write the scores as a JSON object, whole or not at all; missing folders are made.

    Raises:
        UserError: the file cannot be written there.
    """
    text = json.dumps(scores, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be written ({error.strerror}); choose another file") from None


def _score_keys() -> list[str]:
    return [f"{name}_{column}" for name in MEASURES for column in ("inputs", "outputs")]


def _gaussian(images: Sequence[Path], request: Request) -> tuple[torch.Tensor, torch.Tensor]:
    features = vgg_features(
        images, layer=request.layer, weights=request.weights, device=request.device,
        batch_size=request.batch_size,
    )
    return gaussian(features)


def _paired_scores(images: Sequence[Path], truth: Sequence[Path]) -> dict[str, float]:
    """Means over the images of the scores of each against its truth."""
    ious, errors = [], []
    for path, true_path in zip(images, truth, strict=True):
        image, true_image = read_image(path), read_image(true_path)
        if image.shape != true_image.shape:
            sizes = [f"{t.shape[2]}x{t.shape[1]}" for t in (image, true_image)]
            raise UserError(
                f"'{path}' has {sizes[0]} pixels, its partner '{true_path}' {sizes[1]}; make them alike"
            )
        ious.append(line_iou(image, true_image).item())
        errors.append(colour_error(image, true_image).item())
    return {"line_iou": sum(ious) / len(ious), "colour_error": sum(errors) / len(errors)}


def _conditions(request: Request, outputs: int, real: int) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "images_outputs": outputs,
        "images_real": real,
        **feature_conditions(request.layer, request.weights),
        "line_threshold": LINE_THRESHOLD,
        **program_conditions(request.device),
    }
