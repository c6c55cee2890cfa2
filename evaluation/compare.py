"""``evaluate.py compare``: several experiments on one page."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from options import REQUIRED, DisplayFlags, LoadingFlags, flag, recorded_flags
from options.flag import distinct, plain_name, show
from util.device import choose_device
from util.errors import UserError
from util.files import move_aside
from util.loggers.curves import Curves
from util.loggers.html_page import FIRST as FIRST_GROUPS
from util.loggers.json_lines import LOG, read_values
from util.loggers.sink import group_of
from util.pages import fill_page
from util.plots import Points, line_chart
from util.starts import local_time, read_starts
from util.words import listed

from .checkpoint_pictures import CheckpointPictures, checkpoint_grid, choose_images
from .checkpoint_scores import HEADINGS, Entry, known_scores, score_checkpoints, score_curve, score_rows
from .epochs import conditions_text, score_text, scores_file
from .experiments import Experiment, experiment_options
from .flags import BootstrapFlags, CheckpointFlags, PictureFlags, VGGFlags
from .generator_scores import GeneratorScorer
from .image_scores import STRUCTURE
from .reports import aligned, require_place, warn, write_json
from .seeds import over_seeds, seed_rows

FIRST = ("experiment", "tag", "epochs", "images")
PARTS = ("images", "small")
"""Folders of a comparison; earlier ones have numbers."""
SILENT = {
    "name", "suffix", "checkpoints_dir", "gpu_ids", "verbose", "num_threads", "continue_train", "epoch", "load_iter",
    *(of.name for of in (*fields(DisplayFlags), *fields(LoadingFlags)))}
"""Flags that do not belong to the method: places of files, display, saving, and loading."""


@dataclass
class Compared:
    """An experiment on the page."""

    experiment: Experiment
    entry: Entry
    """The scores of the checkpoint."""
    earlier: list[Entry]
    """The scores of other checkpoints, as far as ``evaluate.py epochs`` has computed them."""
    conditions: dict[str, Any]
    names: list[str]
    """Of the test images on the page."""


@dataclass(frozen=True, kw_only=True)
class Flags(CheckpointFlags, VGGFlags, BootstrapFlags, PictureFlags):
    """Show several experiments side by side, on a page."""

    names: tuple[str, ...] = flag(REQUIRED, "the experiments, at least two", positional=True, several=True)
    name: str = flag("compare", "name of the result, a folder in results_dir", parse=plain_name)


def run(flags: Flags) -> None:
    """Score, print, write."""
    if len(set(flags.names)) < max(2, len(flags.names)):
        raise UserError(f"'{' '.join(flags.names)}' are not several experiments: name at least two, each once")
    experiments = [Experiment.find(flags.checkpoints_dir, name) for name in flags.names]
    if len({show(experiment.flags.get("direction", "AtoB")) for experiment in experiments}) > 1:
        raise UserError("--direction differs between these experiments: they translate to different domains and "
                        "cannot be compared")
    root = flags.dataroot or Path(str(experiments[0].flags.get("dataroot", "")))
    if recorded_flags(flags.checkpoints_dir / flags.name) is not None:
        raise UserError(f"--name {flags.name} is an experiment, whose own results belong into "
                        f"{flags.results_dir / flags.name}: choose another name for the comparison")
    folder = flags.results_dir / flags.name
    require_place(folder / "compare.json")
    if others := sorted(path for path in folder.glob("*/")
                        if path.is_dir() and path.name not in PARTS and not path.name.isdecimal()):
        raise UserError(f"--name {flags.name}: {others[0]} is no part of an earlier comparison, and would be moved "
                        "aside with it: choose another name for the comparison")
    if earlier := move_aside(folder):
        print(f"the earlier comparison is now in {earlier}")
    compared = [compare(flags, experiment, root, folder) for experiment in experiments]
    differences = differing_flags(experiments)
    entries = [{"experiment": of.experiment.name, **of.entry} for of in compared]
    seeds = over_seeds(experiments, entries, SILENT)
    write_json(folder / "compare.json", {
        "experiments": entries, "conditions": [of.conditions for of in compared], "differences": differences,
        "seeds": seeds, "starts": [read_starts(of.folder) for of in experiments]})
    print(score_text(entries, FIRST))
    if seeds:
        columns, rows = seed_rows(seeds)
        print(f"\n{aligned([columns, *rows], left=1)}")
    write_html(folder / "index.html", compared, differences, seeds)
    print(folder / "index.html")


def compare(flags: Flags, experiment: Experiment, root: Path, folder: Path) -> Compared:
    """Score an experiment's checkpoint, and write some of its translations into the folder."""
    options = experiment_options(flags, experiment, root)
    scorer = GeneratorScorer(options, choose_device(flags.gpu_ids), layer=flags.layer, weights=flags.vgg_weights,
                             bootstrap=flags.bootstrap, seed=flags.seed)
    known = known_scores(scores_file(flags, experiment), scorer.conditions)
    pictures = CheckpointPictures(scorer.translator, folder, choose_images(scorer.translator, flags), experiment.name)
    entry, = score_checkpoints(experiment, [flags.epoch], scorer, known, pictures=pictures)
    return Compared(experiment, entry, list(known.values()), scorer.conditions, list(pictures.names.values()))


def differing_flags(experiments: Sequence[Experiment]) -> dict[str, list[str | None]]:
    """List the flags of the method that differ, with each experiment's value as typed, or None if it lacks the flag.

    A flag of only one of the models does not differ.
    """
    names = dict.fromkeys(name for experiment in experiments for name in experiment.flags if name not in SILENT)
    values = {name: [distinct(of.flags[name]) if name in of.flags else None for of in experiments] for name in names}
    return {name: of for name, of in values.items() if len({*of} - {None}) > 1}


def start_texts(experiments: Sequence[Experiment]) -> list[tuple[str, str, str]]:
    """Format the starts of the trainings for people: experiment, time and versions, and command line."""
    def text(start: Mapping[str, Any]) -> str:
        commit = f"commit {str(start['commit'])[:12]}{' with changes' * bool(start.get('dirty'))}" if start.get(
            "commit") else ""
        torch = f"torch {start['torch']}" if start.get("torch") else ""
        return ", ".join(filter(None, [local_time(start), commit, torch, str(start.get("device", ""))]))

    return [(of.name, text(start), str(start.get("command", "")))
            for of in experiments for start in read_starts(of.folder)]


def write_html(
    path: Path, compared: Sequence[Compared], differences: Mapping[str, Sequence[str | None]],
    seeds: Sequence[Mapping[str, Any]],
) -> None:
    """Write the page; without matplotlib it has no curves."""
    experiments = [of.experiment for of in compared]
    names = [of.name for of in experiments]
    cells = [[f"--{flag}", *("—" if value is None else value for value in values)]
             for flag, values in differences.items()]
    grid = checkpoint_grid(path.parent, compared[0].names, {of.experiment.name: of.entry["shown"] for of in compared},
                           256, best=STRUCTURE)
    of_scores: list[str] = []
    of_losses: list[str] = []
    others: list[str] = []
    try:
        of_scores = score_charts(compared)
        of_losses, others = (log_charts(compared, first=first) for first in (True, False))
    except ImportError as error:
        warn(f"no curves: the package {error.name} is not installed (pip install {error.name})")
    fill_page(
        path, "compare.html", f"comparison of {listed(names)}", [of.folder for of in experiments],
        title=" / ".join(names), note=conditions_text(compared[0].conditions), grid=grid,
        scores=score_rows([{"experiment": of.experiment.name, **of.entry} for of in compared], FIRST, intervals=True),
        seeds=seed_rows(seeds) if seeds else None, differences=(["flag", *names], cells) if cells else None,
        score_charts=of_scores, loss_charts=of_losses, other_charts=others, starts=start_texts(experiments))


def score_charts(compared: Sequence[Compared]) -> list[str]:
    """Plot each score over the checkpoints of ``evaluate.py epochs``."""
    curves: dict[str, dict[str, Points]] = {
        title: {of.experiment.name: points for of in compared if (points := score_curve(of.earlier, score, "images"))}
        for score, title in HEADINGS.items()}
    names = [of.experiment.name for of in compared]
    return [line_chart(of, title=title, x_label="images seen", order=names) for title, of in curves.items() if of]


def log_charts(compared: Sequence[Compared], *, first: bool) -> list[str]:
    """Plot each value of the trainings' logs: those that the training page shows first, or the others.

    Values that no log has twice are left out.
    """
    logs = {of.experiment.name: logged_curves(of.experiment.folder / LOG) for of in compared}
    names = dict.fromkeys(name for log in logs.values() for name in log if (group_of(name) in FIRST_GROUPS) == first)
    curves = {name: {experiment: log[name] for experiment, log in logs.items() if name in log} for name in names}
    return [line_chart(of, title=name, x_label="images seen", order=list(logs))
            for name, of in curves.items() if any(len(points) > 1 for points in of.values())]


def logged_curves(path: Path) -> dict[str, Points]:
    """Read the curves of a log by name, over the images seen; empty if there is no such file."""
    curves = Curves()
    for step, values in read_values(path, sys.maxsize):
        curves.add(step, values)
    return curves.points()
