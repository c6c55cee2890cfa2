"""Records of compared runs: their settings from the beginning, their scores at the end."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from util.errors import UserError

from .methods import COMMON, KNOWN

MEASURES = {"frechet": "Fréchet", "line_iou": "line IoU", "colour_error": "colour error"}
SETTINGS = ("method", "seed", "flags", "data", "epochs", "size", "max_dataset_size", "extra")


def record(name: str, flags: Namespace) -> Path:
    """The file with the scores of a run that is finished."""
    return Path(flags.records_dir, f"{name}.json")


def settings(method: str, seed: int, flags: Namespace) -> dict[str, str | int]:
    """Of `SETTINGS` those that are given."""
    constant, decay = flags.epochs
    values = (method, seed, f"{COMMON} {KNOWN[method]}", flags.dataroot.resolve().name, f"{constant}+{decay}",
              flags.size, flags.max_dataset_size, flags.extra)
    return {key: value for key, value in zip(SETTINGS, values, strict=True) if value not in (None, "")}


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
