"""``evaluate.py compare``: several experiments on one page."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from options import REQUIRED, DisplayFlags, LoadingFlags, flag, recorded_flags
from options.flag import plain_name, show
from util.device import choose_device
from util.errors import UserError
from util.files import move_aside
from util.loggers.curves import Curves
from util.loggers.json_lines import read_values
from util.loggers.registry import LOG
from util.pages import charts, image_rows, new_page, text_table, write_page
from util.plots import Points, line_chart
from util.starts import read_starts

from .checkpoint_scores import HEADINGS, Entry, known_scores, score_checkpoints, score_curve, score_rows
from .epochs import conditions_text, score_text, scores_file
from .experiments import Experiment, experiment_options
from .flags import CheckpointFlags, VGGFlags
from .generator_scores import GeneratorScorer
from .reports import aligned, require_place, warn, write_json
from .seeds import over_seeds, seed_rows
from .set_translator import SetTranslator, Translated

FIRST = ("experiment", "tag", "epochs", "images")
START_COLUMNS = ("experiment", "start", "commit", "torch", "device", "command")
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
    pictures: list[tuple[str, dict[str, str]]]
    """Names of some test images, and their files by label, relative to the page."""


@dataclass(frozen=True, kw_only=True)
class Flags(CheckpointFlags, VGGFlags):
    """Show several experiments side by side, on a page."""

    names: tuple[str, ...] = flag(REQUIRED, "the experiments, at least two", positional=True, several=True)
    num_images: int = flag(8, "number of test images on the page", minimum=1)
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
    if others := sorted(path for path in folder.glob("*/") if path.is_dir() and not path.name.isdecimal()):
        raise UserError(f"--name {flags.name}: {others[0]} is no part of an earlier comparison, and would be moved "
                        "aside with it: choose another name for the comparison")
    if earlier := move_aside(folder):
        print(f"the earlier comparison is now in {earlier}")
    compared = [compare(flags, experiment, root, folder, number) for number, experiment in enumerate(experiments)]
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
    try:
        write_html(folder / "index.html", compared, differences, seeds)
        print(folder / "index.html")
    except ImportError as error:
        warn(f"no page: the package {error.name} is not installed (pip install {error.name})")


def compare(
    flags: Flags, experiment: Experiment, root: Path, folder: Path, number: int
) -> Compared:
    """Score an experiment's checkpoint, and write some of its translations to ``folder/NUMBER``."""
    options = experiment_options(flags, experiment, root)
    scorer = GeneratorScorer(options, choose_device(flags.gpu_ids), layer=flags.layer, weights=flags.vgg_weights)
    known = known_scores(scores_file(flags, experiment), scorer.conditions)
    entry, = score_checkpoints(experiment, [flags.epoch], scorer, known)
    shown = some_translations(scorer.translator, flags.num_images, with_inputs=number == 0)
    pictures = [(Path(translated.path).name, {label: f"{number}/{file}" for label, file in files.items()})
                for translated, files in scorer.translator.save(shown, folder / str(number))]
    return Compared(experiment, entry, list(known.values()), scorer.conditions, pictures)


def some_translations(translator: SetTranslator, count: int, *, with_inputs: bool) -> Iterator[Translated]:
    """Translate the first ``count`` images; leave out inputs and truths unless ``with_inputs``."""
    for translated in itertools.islice(translator.translations(), count):
        images = {label: image for label, image in translated.images.items()
                  if with_inputs or label not in ("real_A", "real_B")}
        yield replace(translated, images=images)


def differing_flags(experiments: Sequence[Experiment]) -> dict[str, list[str | None]]:
    """List the flags of the method that differ, with each experiment's value as typed, or None if it lacks the flag.

    A flag of only one of the models does not differ.
    """
    names = dict.fromkeys(name for experiment in experiments for name in experiment.flags if name not in SILENT)
    values = {name: [show(of.flags[name]) if name in of.flags else None for of in experiments] for name in names}
    return {name: of for name, of in values.items() if len({*of} - {None}) > 1}


def start_rows(experiments: Sequence[Experiment]) -> list[list[str]]:
    """Format the starts of the trainings for a table: `START_COLUMNS`."""
    def cells(start: Mapping[str, Any]) -> list[str]:
        commit = str(start.get("commit") or "—")[:12] + " with changes" * bool(start.get("dirty"))
        return [str(start.get("time", "")), commit, *(str(start.get(name, "")) for name in ("torch", "device")),
                str(start.get("command", ""))]

    return [[of.name, *cells(start)] for of in experiments for start in read_starts(of.folder)]


def write_html(
    path: Path, compared: Sequence[Compared], differences: Mapping[str, Sequence[str | None]],
    seeds: Sequence[Mapping[str, Any]],
) -> None:
    """Write the page.

    Raises:
        ImportError: dominate or matplotlib is not installed.
    """
    names = [of.experiment.name for of in compared]
    page = new_page(" / ".join(names), conditions_text(compared[0].conditions), image_width=192)
    columns, rows, marked = score_rows([{"experiment": of.experiment.name, **of.entry} for of in compared], FIRST)
    page.add(text_table("Scores; the best of each column stands out", columns, rows, marked))
    if seeds:
        page.add(text_table("Experiments that differ in their seed alone", *seed_rows(seeds)))
    if differences:
        cells = [[f"--{flag}", *("—" if value is None else value for value in values)]
                 for flag, values in differences.items()]
        page.add(text_table("Flags that differ; — where a model has no such flag", ["flag", *names], cells))
    for number, (name, pictures) in enumerate(compared[0].pictures):
        outputs = {of.experiment.name: of.pictures[number][1] for of in compared if number < len(of.pictures)}
        row = {"input": pictures["real_A"]} | {
            label: next(file for key, file in files.items() if key.startswith("fake_B"))
            for label, files in outputs.items()}
        page.add(image_rows(name, row | ({"truth": pictures["real_B"]} if "real_B" in pictures else {})))
    if scores := score_charts(compared):
        page.add(charts("Scores of the checkpoints", scores))
    if losses := loss_charts(compared):
        page.add(charts("Training", losses))
    if starts := start_rows([of.experiment for of in compared]):
        page.add(text_table("Starts of the trainings", START_COLUMNS, starts))
    write_page(page, path)


def score_charts(compared: Sequence[Compared]) -> list[str]:
    """Plot each score over the checkpoints of ``evaluate.py epochs``."""
    curves: dict[str, dict[str, Points]] = {
        title: {of.experiment.name: points for of in compared if (points := score_curve(of.earlier, score, "images"))}
        for score, title in HEADINGS.items()}
    names = [of.experiment.name for of in compared]
    return [line_chart(of, title=title, x_label="images seen", order=names) for title, of in curves.items() if of]


def loss_charts(compared: Sequence[Compared]) -> list[str]:
    """Plot each value of the trainings' logs."""
    logs = {of.experiment.name: logged_curves(of.experiment.folder / LOG) for of in compared}
    names = dict.fromkeys(name for log in logs.values() for name in log if name != "data_wait")
    return [line_chart({experiment: log[name] for experiment, log in logs.items() if name in log}, title=name,
                       x_label="images seen", order=list(logs)) for name in names]


def logged_curves(path: Path) -> dict[str, Points]:
    """Read the curves of a log by name, over the images seen; empty if there is no such file."""
    curves = Curves()
    for step, values in read_values(path, sys.maxsize):
        curves.add(step, values)
    return curves.points()
