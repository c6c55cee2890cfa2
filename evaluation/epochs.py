"""``evaluate.py epochs``: every checkpoint of an experiment, and which one is best."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.folder_scores import require_place, write_json
from util.device import choose_device
from util.files import move_aside
from util.pages import charts, new_page, text_table, write_page
from util.plots import line_chart
from util.state_dicts import AVERAGE
from util.words import counted

from .checkpoint_scores import TITLES, best_of, known_scores, score_checkpoints, score_rows
from .experiments import Experiment, add_experiment_flags, experiment_options
from .flags import add_device_flags, add_vgg_flags
from .generator_scores import Examiner

SUMMARY = "score every checkpoint of an experiment"
FIRST = ("tag", "epochs", "images")
AXES = {"images": "images seen", "epochs": "epochs"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--name", required=True, metavar="NAME", help="the experiment; required")
    add_experiment_flags(parser)
    add_vgg_flags(parser)
    add_device_flags(parser)


def run(flags: argparse.Namespace) -> None:
    """Score, print, write."""
    experiment = Experiment.find(flags.checkpoints_dir, flags.name)
    options = experiment_options(flags, experiment, flags.dataroot)
    examiner = Examiner(options, choose_device(flags.gpu_ids), layer=flags.layer, weights=flags.vgg_weights)
    book = book_of(flags, experiment)
    require_place(book)
    known = known_scores(book, examiner.conditions)
    if not known and (earlier := move_aside(book)):
        print(f"the earlier scores are of other conditions, and are now in {earlier}")
    network = next(iter(examiner.translator.networks))

    def keep(entries: Sequence[Mapping[str, Any]]) -> None:
        write_json(book, {"name": experiment.name, "best": entries[best_of(entries, "frechet") or 0]["tag"],
                          "conditions": examiner.conditions, "checkpoints": entries})

    entries = score_checkpoints(experiment, experiment.tags(network), examiner, known, warn, keep=keep)
    keep(entries)
    best = best_of(entries, "frechet") or 0
    print(text_of(entries))
    print(f"best: {entries[best]['tag']}, Fréchet distance {entries[best]['frechet']:.4g}")
    if page := write_html(book.parent, f"{experiment.name}: checkpoints", entries, note_of(examiner.conditions)):
        print(page)


def book_of(flags: argparse.Namespace, experiment: Experiment) -> Path:
    """Where the scores of an experiment's checkpoints are kept."""
    kind = f"{flags.phase}_epochs{AVERAGE if flags.use_ema else ''}"
    return Path(flags.results_dir) / experiment.name / kind / "epochs.json"


def text_of(entries: Sequence[Mapping[str, Any]], first: Sequence[str] = FIRST) -> str:
    """A table for the terminal; the best value of each column has a star."""
    columns, rows, marked = score_rows(entries, first)
    cells = [columns, *([text + "*" * ((row, column) in marked) for column, text in enumerate(line)]
                        for row, line in enumerate(rows))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells)


def note_of(conditions: Mapping[str, Any]) -> str:
    """What the scores depend on, in a line."""
    translations, real = counted(conditions["images_outputs"], "translation"), conditions["images_real"]
    return (f"{translations} against {counted(real, 'real image')}; VGG16 {conditions['feature_layer']}, "
            f"{conditions['vgg_weights']} weights")


def write_html(folder: Path, title: str, entries: Sequence[Mapping[str, Any]], note: str) -> Path | None:
    """Write ``folder/index.html``, or as much of it as the packages that are there can; returns its path."""
    try:
        page = new_page(title, note, image_width=256)
    except ImportError:
        warn("no page: the package dominate is not installed (pip install dominate)")
        return None
    columns, rows, marked = score_rows(entries, FIRST)
    page.add(text_table("Scores; the best of each column stands out", columns, rows, marked))
    axis = axis_of(entries)
    best = entries[best_of(entries, "frechet") or 0].get(axis)
    try:
        drawings = [line_chart({title: points}, title=title, x_label=AXES[axis], marked=best)
                    for measure, title in TITLES.items() if (points := points_of(entries, measure, axis))]
        page.add(charts("Over the training; the line marks the least Fréchet distance", drawings))
    except ImportError:
        warn("no curves: the package matplotlib is not installed (pip install matplotlib)")
    write_page(page, folder / "index.html")
    return folder / "index.html"


def axis_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """What curves are drawn over: images, unless no entry knows them."""
    return "images" if any("images" in entry for entry in entries) else "epochs"


def points_of(entries: Sequence[Mapping[str, Any]], measure: str, axis: str) -> list[tuple[float, float]]:
    """A measure over ``axis``, of the entries that have both."""
    return sorted({(float(entry[axis]), float(entry[measure])) for entry in entries
                   if axis in entry and measure in entry})


def warn(text: str) -> None:
    """Tell the user about something that is left out."""
    print(f"warning: {text}", file=sys.stderr)
