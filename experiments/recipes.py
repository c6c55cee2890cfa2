"""The table of single trainings on ``datasets/atlas2satellite``, from records; and a record of a new one.

    python -m experiments.recipes --records_dir docs/records/recipes --markdown
    python -m experiments.recipes --records_dir docs/records/recipes --add my_recipe --title "what is special" \\
        --experiment checkpoints/NAME --scores results/NAME/judge.json results/NAME/metrics.json

The scores are files that ``evaluate.py judge`` and ``evaluate.py metrics`` have written with --json.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import BenchmarkFlags, cell, describe_machine, table, use_device, write_json
from options import REQUIRED, flag, parse_flags
from options.flag import plain_name
from util.errors import UserError, run_program
from util.files import replacing

from .records import read, training_costs

MEASURES = {"pixel_accuracy": "pixel accuracy", "mean_iou": "mean IoU", "water_iou": "water IoU",
            "judge_frechet": "judge's Fréchet", "frechet": "VGG16's Fréchet"}
WRITTEN = ("command", "seed", "time", "torch", "device", "commit")  # of a start of a training, in runs.jsonl


@dataclass(frozen=True, kw_only=True)
class RecipeFlags(BenchmarkFlags):
    """Print the table of recorded trainings, or add one."""

    records_dir: Path = flag(REQUIRED, "folder of the records, a file each")
    add: str | None = flag(None, "name of a new record", parse=plain_name)
    title: str = flag("", "its name in the table")
    experiment: Path | None = flag(None, "for --add: folder of the training's checkpoints")
    scores: tuple[Path, ...] = flag((), "for --add: files with its scores", several=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Add a record, if that is asked for, and print the table."""
    flags = parse_flags(RecipeFlags, "python -m experiments.recipes", argv)
    if flags.add:
        add(flags)
    records = sorted(map(read, flags.records_dir.glob("*.json")), key=lambda record: int(record["row"]))
    if not records:
        raise UserError(f"--records_dir: {flags.records_dir} has no record; write one with --add")
    rows = rows_of(records)
    print(table(rows, markdown=flags.markdown))
    if flags.json:
        write_json(flags.json, {"rows": rows})


def add(flags: RecipeFlags) -> None:
    """Write a record: how the training was started last, how long it took, and its scores.

    Raises:
        UserError: it exists already, or something that belongs to it is missing.
    """
    path = flags.records_dir / f"{flags.add}.json"
    if path.exists():
        raise UserError(f"--add: {path} exists already; choose another name, or remove it")
    if not flags.title or not flags.experiment or not flags.scores:
        raise UserError("--add needs --title, --experiment and --scores")
    started = flags.experiment / "runs.jsonl"
    if not started.is_file():
        raise UserError(f"--experiment: there is no {started}; name a folder that train.py has written")
    last = json.loads(started.read_text(encoding="utf-8").splitlines()[-1])
    scores = {key: value for of in map(read, flags.scores) for key, value in of.items() if is_score(key)}
    if missing := [key for key in MEASURES if f"{key}_outputs" not in scores]:
        raise UserError(f"--scores: no file has {missing[0]}_outputs; name those of evaluate.py judge and of "
                        "evaluate.py metrics")
    row = 1 + max((int(read(other)["row"]) for other in flags.records_dir.glob("*.json")), default=0)
    found = {"row": row, "title": flags.title, **{key: last.get(key) for key in WRITTEN},
             "command": without_folder(last["command"]),
             "machine": describe_machine(use_device("cpu")), **training_costs(flags.experiment / "loss_log.jsonl"),
             **scores}
    with replacing(path) as temporary:
        write_json(temporary, found)


def without_folder(command: str) -> str:
    """Remove --checkpoints_dir from a command, which says nothing about a training."""
    words = shlex.split(command)
    return shlex.join(word for word, before in zip(words, ["", *words], strict=False)
                      if "--checkpoints_dir" not in (word, before))


def is_score(key: str) -> bool:
    """Tell whether a result is a score of the outputs, of the inputs or of the truth."""
    return key.endswith(("_outputs", "_inputs", "_truth")) and not key.startswith("images_")


def rows_of(records: Sequence[dict[str, Any]]) -> list[dict[str, str | int | float | None]]:
    """Return a row for each record, after those of the inputs and of the true photographs."""
    rows: list[dict[str, str | int | float | None]] = []
    for title, kind in ("untranslated sheets", "inputs"), ("true photographs", "truth"):
        scores = next((record for record in records if f"pixel_accuracy_{kind}" in record), {})
        rows.append(row(title, None, scores, kind))
    return [*rows, *(row(record["title"], record["updates"], record, "outputs") for record in records)]


def row(title: str, updates: int | None, scores: dict[str, Any], kind: str) -> dict[str, str | int | float | None]:
    """Return the scores under the titles of their columns."""
    return {"training": title, "updates": "-" if updates is None else f"{updates:,}",
            **{name: cell(scores.get(f"{key}_{kind}")) for key, name in MEASURES.items()}}


if __name__ == "__main__":
    run_program("experiments.recipes", main)
