"""Records of compared runs: their settings from the beginning, their scores at the end."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from util.errors import UserError

SETTINGS = ("method", "seed", "flags", "data", "epochs", "size", "max_dataset_size", "extra")


def record(name: str, folder: Path) -> Path:
    """Return the file with the scores of a finished run."""
    return folder / f"{name}.json"


def refuse_other_settings(path: Path, asked: Mapping[str, str | int]) -> None:
    """Refuse a run with other settings than those asked for, in a table.

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


def read_scores(path: Path, measures: Iterable[str]) -> dict[str, Any]:
    """Read a finished run's scores.

    Raises:
        UserError: one that the table needs is missing.
    """
    scores = read(path)
    for key in (f"{measure}_{kind}" for measure in measures for kind in ("inputs", "outputs")):
        if not isinstance(scores.get(key), int | float):
            raise UserError(f"{path} is damaged, it has no {key}: remove it, and the run is completed again")
    return scores


def training_costs(log: Path) -> dict[str, float | int]:
    """Summarise the log of a training (loss_log.jsonl): updates, the median seconds of a step, the most memory.

    Only the reports know of time and memory; a training without reports has neither.
    """
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    reports = [json.loads(line) for line in text.splitlines()]
    speeds = [report["speed/images_per_second"] for report in reports if report.get("speed/images_per_second")]
    memory = [report[key] for report in reports for key in report if key.startswith("memory/")]
    found: dict[str, float | int] = {"updates": max((report["step"] for report in reports), default=0)}
    if speeds:
        found["seconds_a_step"] = 1 / median(speeds)
    if memory:
        found["memory_GB"] = max(memory)
    return found
