"""Scores of folders of translations, beside those of their inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.scores import SCORES, SET_METRICS
from util.errors import UserError
from util.image_folders import find_images
from util.words import counted

from .pairing import in_styles, partners, require_equal_sizes
from .reading import AS_STORED, PictureReader
from .reports import aligned
from .scoring import ScoreOptions, Scorer, flat

COLUMNS = ("inputs", "outputs")


@dataclass(frozen=True)
class Folders:
    """The folders of ``evaluate.py metrics``."""

    outputs: Sequence[Path]
    """Translations, a folder for each style. Image n is scored in style n modulo their number."""
    real: Path
    """Real images of the target domain."""
    inputs: Path | None = None
    """Inputs of the translations, under the same names."""
    truth: Path | None = None
    """True counterparts, under the same names."""
    paired: bool = False
    """The real images are the true counterparts."""
    read_input: PictureReader = AS_STORED
    read_output: PictureReader = AS_STORED
    """Also reads real images and true counterparts."""


def score_folders(folders: Folders, options: ScoreOptions, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Score the outputs, and their inputs if they are given; add the ``recorded`` entries.

    Returns:
        ``SCORE_outputs`` and ``SCORE_inputs``, their intervals as ``SCORE_outputs_interval`` [low, high], the
        conditions of the scores, and ``warnings``, sentences for the user. Inputs without an output are left out.

    Raises:
        UserError: a folder is missing, empty or too small, an image lacks its partner or differs from it in size, a
            metric is unknown, weights or packages are missing, or ``recorded`` has the key of a result.
    """
    metrics = options.chosen(truth=bool(folders.truth or folders.paired))
    columns, real, truth = _find(folders, sets=any(name in SET_METRICS for name in metrics))
    scorer = Scorer(metrics, options)
    counts = {**columns, "real": real} | ({"truth": truth} if truth else {})
    conditions = {f"images_{name}": len(images) for name, images in counts.items()} | scorer.conditions
    if len(folders.outputs) > 1:
        conditions["styles"] = len(folders.outputs)
    keys = [f"{name}_{column}{suffix}" for name in SCORES for column in COLUMNS for suffix in ("", "_interval")]
    if taken := sorted(recorded.keys() & {*keys, *conditions, "warnings"}):
        raise UserError(f"--record {taken[0]}=... would replace a result of that name; choose another key")
    measured = {column: scorer.measure_files(
        images, f"{column} measured", truth, cached=column == "inputs", truth_reader=folders.read_output,
        reader=folders.read_input if column == "inputs" else folders.read_output) for column, images in columns.items()}
    features = scorer.measure_files(real, "real images measured", cached=True, reader=folders.read_output).features
    found: dict[str, Any] = {}
    for column, images in measured.items():
        found |= flat({f"{name}_{column}": of for name, of in scorer.scores(images, features).items()})
    return {key: found[key] for key in keys if key in found} | conditions | {
        "warnings": list(scorer.warnings.values()), **recorded}


def score_table(scores: Mapping[str, Any]) -> str:
    """Format the scores with their intervals."""
    rows = [["", *COLUMNS]]
    for name, kind in SCORES.items():
        cells = [_cell(scores, f"{name}_{column}") for column in COLUMNS]
        if cells != ["-", "-"]:
            rows.append([kind.heading, *cells])
    return aligned(rows, left=1)


def _find(folders: Folders, *, sets: bool) -> tuple[dict[str, list[Path]], list[Path], list[Path] | None]:
    """List the images to be scored by column, the real images, and the true counterparts if they are known."""
    styles = in_styles(folders.outputs)
    outputs = [styles[number % len(styles)][number] for number in range(len(styles[0]))]
    columns = {"outputs": outputs}
    if folders.inputs:
        columns["inputs"] = partners(styles[0], folders.outputs[0], folders.inputs, "--inputs")
    real = find_images(folders.real, "--real")
    if folders.paired and len(outputs) != len(real):
        raise UserError(f"--paired: '{folders.outputs[0]}' holds {counted(len(outputs), 'image')} and "
                        f"'{folders.real}' {len(real)}; they should be pairs of the same names")
    folder, flag = (folders.real, "--paired") if folders.paired else (folders.truth, "--truth")
    truth = partners(styles[0], folders.outputs[0], folder, flag) if folder else None
    for flag, images in (("--outputs", outputs), ("--real", real)):
        if sets and len(images) < 2:
            raise UserError(f"{flag}: '{images[0].parent}' holds a single image; scores of whole folders need at "
                            "least two")
    if truth:
        for images in columns.values():
            require_equal_sizes(images, truth)
    return columns, real, truth


def _cell(scores: Mapping[str, Any], key: str) -> str:
    """Format a value to four digits and its interval to three; a dash if there is none."""
    if key not in scores:
        return "-"
    interval = scores.get(f"{key}_interval")
    return f"{scores[key]:.4g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")
