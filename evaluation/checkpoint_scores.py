"""Scores of checkpoints, which are computed once for each content of a file and kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.in_memory import SCORED
from evaluation.pairing import program_conditions
from metrics.scores import MEASURES
from util.errors import UserError
from util.files import sha256
from util.filesets import fault
from util.state_dicts import network_path
from util.terminal import watched

from .experiments import Experiment
from .generator_scores import Examiner
from .translator import Translator

Entry = dict[str, Any]
"""A checkpoint's ``tag``, ``epochs`` and ``images`` (where known), ``sha256`` of its networks, and scores."""

TITLES = {name: MEASURES[name].heading for name in SCORED}


def score_checkpoints(
    experiment: Experiment, tags: Sequence[str], examiner: Examiner, known: Mapping[str, Entry],
    warn: Callable[[str], None], *, keep: Callable[[list[Entry]], None] = lambda entries: None,
) -> list[Entry]:
    """The scores of an experiment's checkpoints; one that is damaged is left out.

    Args:
        tags: the checkpoints.
        examiner: made for this experiment; its weights are changed.
        known: earlier entries, see `known_scores`.
        warn: takes a sentence about each one that is left out.
        keep: takes, after each new score, all that there is by then: a run that is broken off has not been in vain.

    Raises:
        UserError: all are damaged, or an image of the test set cannot be read.
    """
    entries: list[Entry] = []
    scored, failure = dict(known), ""
    for tag in watched(tags, "checkpoints scored"):
        try:
            digests = load_checkpoint(experiment, tag, examiner.translator)
            progress = experiment.progress(tag)
        except UserError as error:
            failure = str(error)
            warn(f"{failure}; it is left out")
            continue
        entry = scored.get(_key(digests))
        new = entry is None
        if entry is None:
            scores = examiner.scores() or {}
            entry = scored[_key(digests)] = {**scores, **program_conditions(examiner.translator.device)}
        entries.append({"tag": tag, **progress, "sha256": digests,
                        **{name: value for name, value in entry.items() if name not in PLACE}})
        if new:
            reached = {_key(of["sha256"]) for of in entries}
            keep([*entries, *(of for key, of in known.items() if key not in reached)])
    if not entries:
        raise UserError(failure or f"there is no checkpoint of the generator in {experiment.folder}; train it first")
    return entries


PLACE = ("tag", "epochs", "images", "sha256")
"""What of an entry is about the file's place, not its content."""


def load_checkpoint(experiment: Experiment, tag: str, translator: Translator) -> dict[str, str]:
    """Give a translator a checkpoint's weights; returns the SHA-256 of its networks' files.

    Raises:
        UserError: a file is missing, damaged, or of another architecture.
    """
    if broken := fault(experiment.folder, tag):
        raise UserError(broken)
    translator.load(experiment.folder, tag)
    return {name: sha256(network_path(experiment.folder, tag, name)) for name in translator.networks}


def _key(digests: Mapping[str, str]) -> str:
    return " ".join(digests.values())


def known_scores(path: Path, conditions: Mapping[str, Any]) -> dict[str, Entry]:
    """Entries of an earlier JSON file by their content, if they depend on the same ``conditions``; else none."""
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        if book["conditions"] != json.loads(json.dumps(conditions)):
            return {}
        return {_key(entry["sha256"]): entry for entry in book["checkpoints"] if "frechet" in entry}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # none, or no such file: it will be written anew


def best_of(entries: Sequence[Mapping[str, Any]], measure: str) -> int | None:
    """Which entry has the best value, the first of several; None where no entry has one."""
    values = [(entry[measure], number) for number, entry in enumerate(entries) if measure in entry]
    if not values:
        return None
    best = (max if MEASURES[measure].higher else min)(value for value, _ in values)
    return next(number for value, number in values if value == best)


def score_rows(
    entries: Sequence[Mapping[str, Any]], first: Sequence[str]
) -> tuple[list[str], list[list[str]], set[tuple[int, int]]]:
    """A table of entries: its columns, its cells, and which of them hold the best values.

    Args:
        first: what stands in the columns before the measures.
    """
    measures = [measure for measure in TITLES if any(measure in entry for entry in entries)]
    rows = [[*(str(entry.get(name, "")) for name in first),
             *(f"{entry[measure]:.4g}" if measure in entry else "" for measure in measures)] for entry in entries]
    marked = {(best, len(first) + column) for column, measure in enumerate(measures)
              if (best := best_of(entries, measure)) is not None}
    return [*first, *(TITLES[measure] for measure in measures)], rows, marked
