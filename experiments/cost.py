"""A figure of scores over the seconds of training, from the records of `experiments.compare`.

    python -m experiments.cost --records_dirs docs/records/atlas docs/records/atlas_1200 --picture cost.png \\
        --methods sc-FSeSim-recipe sc-LSeSim-recipe cut-recipe

The curve of a method has a point for each number of updates: the mean over the seeds, with their range. The seconds are
the updates times the time of a step, of which each record has the median, and the least of the seeds counts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from evaluation.figures import Figure, new_figure, save_figure
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program

from .records import read_scores

MEASURES = {"pixel_accuracy": "pixel accuracy (higher is better)", "frechet": "VGG16's Fréchet (lower is better)"}
COSTS = ("updates", "seconds_a_step")
Runs = Sequence[Mapping[str, Any]]
"""The records of a method's trainings of one length, with different seeds."""


@dataclass(frozen=True, kw_only=True)
class CostFlags:
    """Draw the scores of recorded trainings over the seconds that they took."""

    records_dirs: tuple[Path, ...] = flag(REQUIRED, "folders of records", several=True)
    methods: tuple[str, ...] = flag(REQUIRED, "methods", several=True, metavar="METHOD")
    picture: Path = flag(REQUIRED, "PNG file to write")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the records, and draw."""
    flags = parse_flags(CostFlags, "python -m experiments.cost", argv)
    save_figure(draw({method: lengths(method, flags.records_dirs) for method in flags.methods}), flags.picture)


def lengths(method: str, folders: Sequence[Path]) -> list[Runs]:
    """Return the records of a method, by the length of the training, shortest first.

    Raises:
        UserError: there is none, or one lacks a score or a cost.
    """
    found = defaultdict(list)
    for path in (path for folder in folders for path in sorted(folder.glob(f"{method}-*.json"))):
        scores = read_scores(path, MEASURES)
        if scores.get("method") == method:  # and not another, whose name begins with it
            if missing := [key for key in COSTS if key not in scores]:
                raise UserError(f"{path} has no {missing[0]}: repeat this training with experiments.compare")
            found[scores["updates"]].append(scores)
    if not found:
        raise UserError(f"--methods: {method} has no record in {', '.join(map(str, folders))}")
    return [found[updates] for updates in sorted(found)]


def seconds(runs: Runs) -> float:
    """Return the seconds of a training: other programs on the machine only add to them."""
    return float(runs[0]["updates"] * min(run["seconds_a_step"] for run in runs))


def draw(methods: Mapping[str, Sequence[Runs]]) -> Figure:
    """Draw a plot for each of `MEASURES`, with a curve for each method."""
    figure = new_figure(4.6 * len(MEASURES), 4)
    for axes, (key, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        for method, of_lengths in methods.items():
            scores = [[run[f"{key}_outputs"] for run in runs] for runs in of_lengths]
            means = [mean(of) for of in scores]
            ranges = [[middle - min(of) for middle, of in zip(means, scores, strict=True)],
                      [max(of) - middle for middle, of in zip(means, scores, strict=True)]]
            axes.errorbar([seconds(runs) for runs in of_lengths], means, yerr=ranges, label=method, marker="o",
                          markersize=4, capsize=2, linewidth=1.2)
        truth = {run[f"{key}_truth"] for runs in next(iter(methods.values())) for run in runs if f"{key}_truth" in run}
        for value in truth:
            axes.axhline(value, color="0.5", linestyle=":", label="true photographs")
        axes.set(title=title, xlabel="seconds of training", xlim=(0, None))
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=4, fontsize="small")
    return figure


if __name__ == "__main__":
    run_program("experiments.cost", main)
