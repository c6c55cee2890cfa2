"""Scores of an experiment's checkpoints, kept as JSON and computed once for each content of their files."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metrics.scores import SCORES
from util.errors import UserError
from util.files import sha256
from util.state_dicts import weights_path
from util.terminal import with_progress

from .checkpoint_pictures import CheckpointPictures
from .experiments import Experiment
from .generator_scores import GENERATOR_SCORES, GeneratorScorer
from .reports import warn
from .scoring import flat, program_conditions
from .set_translator import SetTranslator

Entry = dict[str, Any]
"""A checkpoint: ``tag``, ``epochs`` and ``images`` if known, ``sha256`` of its networks, scores (``frechet``, say, and
``frechet_interval``), and ``shown``, see `CheckpointPictures.of`."""

PLACE = ("tag", "epochs", "images", "sha256")
"""Keys of an entry that describe the file, not its scores."""

HEADINGS = {name: SCORES[name].heading for name in GENERATOR_SCORES}


def score_checkpoints(
    experiment: Experiment, tags: Sequence[str], scorer: GeneratorScorer, known: Mapping[str, Entry], *,
    keep: Callable[[list[Entry]], None] = lambda entries: None, pictures: CheckpointPictures | None = None,
) -> list[Entry]:
    """Score checkpoints; a damaged one is left out with a warning.

    Args:
        experiment, tags: the checkpoints.
        scorer: made for this experiment; its weights are replaced.
        known: earlier entries, see `known_scores`.
        keep: called after each new score with all entries so far, so that an interrupted run loses nothing.
        pictures: shows each checkpoint.

    Raises:
        UserError: all are damaged, or an image of the test set cannot be read.
    """
    entries: list[Entry] = []
    scored, failure = dict(known), ""
    for tag in with_progress(tags, "checkpoints scored"):
        try:
            digests = load_checkpoint(experiment, tag, scorer.translator)
            progress = experiment.progress(tag)
        except UserError as error:
            failure = str(error)
            warn(f"{failure}; it is left out")
            continue
        key = _key(digests)
        new = key not in scored
        if new:
            scored[key] = {**flat(scorer.estimates() or {}), **program_conditions(scorer.translator.device)}
        if pictures:
            scored[key] = {**scored[key], "shown": pictures.of(key, scored[key].get("shown", {}))}
        entries.append({"tag": tag, **progress, "sha256": digests,
                        **{name: value for name, value in scored[key].items() if name not in PLACE}})
        if new:
            reached = {_key(entry["sha256"]) for entry in entries}
            keep([*entries, *(entry for other, entry in known.items() if other not in reached)])
    if not entries:
        raise UserError(failure or f"there is no checkpoint of the generator in {experiment.folder}; train it first")
    return entries


def load_checkpoint(experiment: Experiment, tag: str, translator: SetTranslator) -> dict[str, str]:
    """Load a checkpoint's weights into a translator; returns the SHA-256 of its networks' files.

    Raises:
        UserError: a file is missing, damaged, or of another architecture.
    """
    translator.load(experiment.folder, tag)
    return {name: sha256(weights_path(experiment.folder, tag, name)) for name in translator.networks}


def _key(digests: Mapping[str, str]) -> str:
    return " ".join(digests.values())


def known_scores(path: Path, conditions: Mapping[str, Any]) -> dict[str, Entry]:
    """Read the entries of an earlier JSON file, by the content of their checkpoints.

    Empty if there is none, if it is damaged, or if its scores depend on other ``conditions``.
    """
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        if book["conditions"] != json.loads(json.dumps(conditions)):
            return {}
        return {_key(entry["sha256"]): entry for entry in book["checkpoints"] if "frechet" in entry}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def best_of(entries: Sequence[Mapping[str, Any]], score: str) -> int | None:
    """Find the entry with the best value, the first of equal ones; None if no entry has the score."""
    found = [number for number, entry in enumerate(entries) if score in entry]
    sign = -1 if SCORES[score].higher else 1
    return min(found, key=lambda number: sign * entries[number][score], default=None)


def ties_of(entries: Sequence[Mapping[str, Any]], score: str) -> list[int]:
    """Find the entries that tie with the best one: their intervals overlap, or, without intervals, they are equal."""
    best = best_of(entries, score)
    if best is None:
        return []
    low, high = _interval(entries[best], score)
    return [number for number, entry in enumerate(entries) if number != best and score in entry
            and _interval(entry, score)[0] <= high and _interval(entry, score)[1] >= low]


class ScoreTable(NamedTuple):
    """Entries for a table."""

    columns: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]
    """(row, column) of the best value of each score."""
    tied: set[tuple[int, int]]
    """(row, column) of the values that tie with it."""


def score_rows(entries: Sequence[Mapping[str, Any]], first: Sequence[str], *, intervals: bool = False) -> ScoreTable:
    """Format entries for a table, with their intervals if asked for; the columns before the scores are ``first``."""
    scores = [name for name in HEADINGS if any(name in entry for entry in entries)]

    def cell(entry: Mapping[str, Any], name: str) -> str:
        if name not in entry:
            return ""
        low, high = _interval(entry, name)
        return f"{entry[name]:.4g}" + f" ({low:.4g} to {high:.4g})" * (intervals and f"{name}_interval" in entry)

    rows = [[*(str(entry.get(name, "")) for name in first), *(cell(entry, name) for name in scores)]
            for entry in entries]
    best = {(row, len(first) + column) for column, name in enumerate(scores)
            if (row := best_of(entries, name)) is not None}
    tied = {(row, len(first) + column) for column, name in enumerate(scores) for row in ties_of(entries, name)}
    return ScoreTable([*first, *(HEADINGS[name] for name in scores)], rows, best, tied)


def _interval(entry: Mapping[str, Any], score: str) -> tuple[float, float]:
    low, high = entry.get(f"{score}_interval") or (entry[score], entry[score])
    return low, high


def score_curve(entries: Sequence[Mapping[str, Any]], score: str, axis: str) -> list[tuple[float, float]]:
    """List a score over ``axis``, ``images`` or ``epochs``, of the entries that have both."""
    return sorted({(float(entry[axis]), float(entry[score])) for entry in entries if axis in entry and score in entry})
