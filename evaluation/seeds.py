"""Mean and spread of experiments that differ only in their seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from options.flag import distinct

from .checkpoint_scores import HEADINGS
from .experiments import Experiment


def over_seeds(
    experiments: Sequence[Experiment], entries: Sequence[Mapping[str, Any]], ignored: Collection[str]
) -> list[dict[str, Any]]:
    """Aggregate the scores of experiments whose flags are equal but for the seed, after as many images.

    Args:
        experiments: with their flags.
        entries: the scores of a checkpoint of each.
        ignored: flags that may differ, beside the seed.

    Returns:
        For each group of such experiments with two or more seeds, their names in ``experiments``, and for each score
        ``mean`` and ``std``, the sample standard deviation.
    """
    groups: dict[Any, list[int]] = {}
    for number, (experiment, entry) in enumerate(zip(experiments, entries, strict=True)):
        flags = frozenset((name, distinct(value)) for name, value in experiment.flags.items()
                          if name != "seed" and name not in ignored)
        groups.setdefault((flags, entry.get("images")), []).append(number)
    return [{"experiments": [experiments[number].name for number in numbers], "scores": {
        score: {"mean": mean(values), "std": stdev(values)} for score in HEADINGS
        if len(values := [entries[number][score] for number in numbers if score in entries[number]]) == len(numbers)}}
        for numbers in groups.values() if len({experiments[number].flags.get("seed") for number in numbers}) > 1]


def seed_rows(groups: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Format the result of `over_seeds` for a table: columns, and rows of cells."""
    scores = [score for score in HEADINGS if any(score in group["scores"] for group in groups)]
    rows = [[", ".join(group["experiments"]), *(
        "{mean:.4g} ± {std:.2g}".format(**group["scores"][score]) if score in group["scores"] else ""
        for score in scores)] for group in groups]
    return ["mean ± standard deviation over seeds", *(HEADINGS[score] for score in scores)], rows
