"""The table of a comparison, from the records of its runs."""

from collections.abc import Collection, Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.report import cell
from util.errors import UserError

from .comparison import CompareFlags, settings
from .methods import Study
from .records import read_scores, record, refuse_other_settings

Row = dict[str, str | int | float | None]


def rows_of(flags: CompareFlags, failed: Collection[str] = ()) -> list[Row]:
    """Return for each method the means over its seeds, and their extremes, after the untranslated inputs and the truth.

    Runs that ``failed`` are left out: the record of one may be of other settings.

    Raises:
        UserError: no run is finished, or the record of one is of other settings or damaged.
    """
    study, found = flags.study, {}
    for method in flags.methods:
        paths = {seed: record(f"{method}-{seed}", flags.records) for seed in flags.seeds
                 if f"{method}-{seed}" not in failed}
        runs = {seed: path for seed, path in paths.items() if path.exists()}
        for seed, path in runs.items():
            refuse_other_settings(path, settings(method, seed, flags))
        if runs:
            found[method] = [read_scores(path, study.measures) for path in runs.values()]
    if not found:
        raise UserError(f"{flags.records} has no record of a run that is asked for: name another --records_dir, "
                        "or run this without --recorded")
    first = next(scores for of in found.values() for scores in of)
    kinds = {"untranslated inputs": "inputs", **({"true photographs": "truth"} if study.judged else {})}
    return [*({**summary(title, [first], kind, study), "seeds": None} for title, kind in kinds.items()),
            *(summary(method, of, "outputs", study) for method, of in found.items())]


def summary(title: str, runs: Sequence[dict[str, Any]], kind: str, study: Study) -> Row:
    """Return mean, least and greatest of each measure over the runs, and the least of each cost of a method.

    Other programs on the machine only add to a cost.
    """
    row: Row = {"method": title, "seeds": len(runs)}
    for key, name in study.measures.items():
        values = [scores[f"{key}_{kind}"] for scores in runs if f"{key}_{kind}" in scores]
        row |= dict(zip((name, f"least {name}", f"greatest {name}"),
                        (mean(values), min(values), max(values)) if values else (None, None, None), strict=True))
    for key, name in study.costs.items():
        values = [scores[key] for scores in runs if key in scores and kind == "outputs"]
        row[name] = min(values, default=None)
    return row


def in_print(row: Mapping[str, str | int | float | None]) -> Row:
    """Format a row for people: after each mean, in brackets, the extremes where they differ."""
    columns: Row = {}
    for name, value in row.items():
        if f"least {name}" in row:
            least, greatest = (cell(row[f"{extreme} {name}"]) for extreme in ("least", "greatest"))
            columns[name] = f"{cell(value)} ({least} to {greatest})" if least != greatest else cell(value)
        elif not name.startswith(("least ", "greatest ")):
            columns[name] = value
    return columns
