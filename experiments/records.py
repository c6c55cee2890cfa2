"""Records of compared runs: their settings from the beginning, their scores at the end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from util.errors import UserError

MEASURES = {"frechet": "Fréchet", "line_iou": "line IoU", "colour_error": "colour error"}
SETTINGS = ("method", "seed", "flags", "data", "epochs", "size", "max_dataset_size", "extra")


def record(name: str, folder: Path) -> Path:
    """Return the file with the scores of a finished run."""
    return folder / f"{name}.json"


def refuse_other_settings(path: Path, asked: Mapping[str, str | int]) -> None:
    """Keep a run that is not what is asked for out of a table.

    Raises:
        UserError: the file is of a run with other `settings`.
    """
    found = read(path)
    for key in SETTINGS:
        had, wanted = (str(of.get(key, "")) for of in (found, asked))
        if had != wanted:
            raise UserError(f"{path} is of a run with {key} '{had}' instead of '{wanted}': ask for the same, or for "
                            "other --checkpoints_dir and --results_dir (and --records_dir)")


def read(path: Path) -> dict[str, Any]:
    """Read the record of a run.

    Raises:
        UserError: the file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, IsADirectoryError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it, and the run is completed again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged, it holds no settings: remove it, and the run is completed again")
    return found


def read_scores(path: Path) -> dict[str, Any]:
    """A finished run's scores.

    Raises:
        UserError: one that the table needs is missing.
    """
    scores = read(path)
    for key in (f"{measure}_{kind}" for measure in MEASURES for kind in ("inputs", "outputs")):
        if not isinstance(scores.get(key), int | float):
            raise UserError(f"{path} is damaged, it has no {key}: remove it, and the run is completed again")
    return scores
