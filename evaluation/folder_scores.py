"""Scores of a folder of translations, beside those of the images they were made from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.pairing import in_styles, partners
from evaluation.request import Request
from evaluation.scoring import Scorer
from metrics.bootstrap import Score
from metrics.scores import MEASURES, SET_METRICS
from util.errors import UserError
from util.files import replacing
from util.images import find_images
from util.words import counted

__all__ = ["Request", "score", "table", "write_json"]

COLUMNS = ("inputs", "outputs")


def score(request: Request) -> dict[str, Any]:
    """Score the outputs, and the inputs that they were made from.

    Returns:
        ``MEASURE_outputs`` and ``MEASURE_inputs`` for the `MEASURES` of the metrics, their confidence intervals as
        ``MEASURE_outputs_interval``, a list of two, what the numbers depend on, and ``warnings``, sentences that the
        reader of the numbers should know. Inputs without an output are left out: both columns are of the same images.

    Raises:
        UserError: a folder missing, empty or too small, an image without its partner or of another size, an unknown
            metric, weights or packages that are not there.
    """
    files, real, truth = _find(request)
    scorer = Scorer(request, real)
    folders = {**files, "real": real, **({"truth": truth} if truth else {})}
    conditions = {f"images_{name}": len(images) for name, images in folders.items()} | scorer.conditions
    if request.styles:
        conditions["styles"] = 1 + len(request.styles)
    keys = [f"{measure}_{column}{suffix}" for measure in MEASURES for column in COLUMNS for suffix in ("", "_interval")]
    if taken := sorted(request.recorded.keys() & {*keys, *conditions, "warnings"}):
        raise UserError(f"--record {taken[0]}=... would replace a result of that name; choose another key")
    found: dict[str, Any] = {}
    if truth is not None:  # first, because it is quick: a size that differs is found at once
        for column, images in files.items():
            found |= _flat(scorer.pairs(images, truth), column)
    for column, images in files.items():
        found |= _flat(scorer.sets(images, keep=column == "inputs"), column)
    return {key: found[key] for key in keys if key in found} | conditions | {
        "warnings": list(scorer.warnings.values()), **request.recorded}


def table(scores: Mapping[str, Any]) -> str:
    """The scores as lines of aligned columns, with their intervals; a dash where there is none."""
    rows: list[tuple[str, ...]] = [("", *COLUMNS)]
    for name, measure in MEASURES.items():
        cells = [_cell(scores, f"{name}_{column}") for column in COLUMNS]
        if cells != ["-", "-"]:
            rows.append((measure.heading, *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows)


def require_place(path: Path) -> None:
    """Tell at once, not after the work, that `write_json` will fail.

    Raises:
        UserError: there is a folder of this name, or nothing can be written where it should go.
    """
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"'{path}' cannot be written there; choose another file")


def write_json(path: Path, scores: Mapping[str, Any]) -> None:
    """Write the scores as a JSON object, whole or not at all; missing folders are made.

    Raises:
        UserError: the file cannot be written there.
    """
    text = json.dumps(scores, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with replacing(path) as partial:
            # File names in it may hold bytes that are no text: JSON escapes them in the same way.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"'{path}' cannot be written ({error.strerror}); choose another file") from None


def _find(request: Request) -> tuple[dict[str, list[Path]], list[Path], list[Path] | None]:
    """By column the images to be scored, the real images, and the true counterparts if there are any."""
    files = {"outputs": _in_turns([request.outputs, *request.styles])}
    if request.inputs:
        files["inputs"] = partners(files["outputs"], request.inputs, "--inputs")
    real = find_images(request.real, "--real", subfolders=False)
    if request.paired and len(files["outputs"]) != len(real):
        raise UserError(f"--paired: '{request.outputs}' holds {counted(len(files['outputs']), 'image')} and "
                        f"'{request.real}' {len(real)}; they should be pairs of the same names")
    folder, flag = (request.real, "--paired") if request.paired else (request.truth, "--truth")
    truth = partners(files["outputs"], folder, flag) if folder else None
    if set(request.chosen) & set(SET_METRICS):
        for flag, images in (("--outputs", files["outputs"]), ("--real", real)):
            if len(images) < 2:
                raise UserError(f"{flag}: '{images[0].parent}' holds a single image; scores of whole folders need at "
                                "least two")
    return files, real, truth


def _in_turns(folders: Sequence[Path]) -> list[Path]:
    """The images of the first folder; image n from folder n modulo their number."""
    styles = in_styles(folders, "--outputs")
    return [styles[number % len(styles)][number] for number in range(len(styles[0]))]


def _flat(scores: Mapping[str, Score], column: str) -> dict[str, Any]:
    """The entries of the result for the scores of a column."""
    entries: dict[str, Any] = {}
    for name, (value, interval) in scores.items():
        entries[f"{name}_{column}"] = value
        if interval:
            entries[f"{name}_{column}_interval"] = list(interval)
    return entries


def _cell(scores: Mapping[str, Any], key: str) -> str:
    """A value to four digits and its interval to three; a dash where there is none."""
    if key not in scores:
        return "-"
    interval = scores.get(f"{key}_interval")
    return f"{scores[key]:.4g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")
