"""``evaluate.py epochs``: scores of every checkpoint of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from options import REQUIRED, flag
from util.device import choose_device
from util.files import move_aside
from util.pages import Grid, fill_page
from util.plots import line_chart
from util.state_dicts import AVERAGE
from util.words import counted

from .checkpoint_pictures import CheckpointPictures, checkpoint_grid, choose_images
from .checkpoint_scores import HEADINGS, Entry, best_of, known_scores, score_checkpoints, score_curve, score_rows
from .experiments import Experiment, experiment_options
from .flags import BootstrapFlags, ExperimentFlags, PictureFlags, VGGFlags
from .generator_scores import GeneratorScorer
from .reports import aligned, require_place, warn, write_json

FIRST = ("tag", "epochs", "images")


@dataclass(frozen=True, kw_only=True)
class Flags(ExperimentFlags, VGGFlags, BootstrapFlags, PictureFlags):
    """Score every checkpoint of an experiment."""

    name: str = flag(REQUIRED, "the experiment")


def run(flags: Flags) -> None:
    """Score, print, write."""
    experiment = Experiment.find(flags.checkpoints_dir, flags.name)
    options = experiment_options(flags, experiment, flags.dataroot)
    scorer = GeneratorScorer(options, choose_device(flags.gpu_ids), layer=flags.layer, weights=flags.vgg_weights,
                             bootstrap=flags.bootstrap, seed=flags.seed)
    file = scores_file(flags, experiment)
    require_place(file)
    known = known_scores(file, scorer.conditions)
    chosen = choose_images(scorer.translator, flags)
    if not known and file.exists():
        print(f"the earlier scores are of other conditions, and are now in {move_aside(file.parent)}")
    pictures = CheckpointPictures(scorer.translator, file.parent, chosen, experiment.name)

    def keep(entries: Sequence[Mapping[str, Any]]) -> None:
        write_json(file, {"name": experiment.name, "best": entries[best_of(entries, "frechet") or 0]["tag"],
                          "conditions": scorer.conditions, "checkpoints": entries})

    tags = experiment.tags(next(iter(scorer.translator.networks)))
    entries = score_checkpoints(experiment, tags, scorer, known, keep=keep, pictures=pictures)
    keep(entries)
    best = entries[best_of(entries, "frechet") or 0]
    print(score_text(entries, FIRST))
    print(f"best: {best['tag']}, Fréchet distance {best['frechet']:.4g}")
    page = file.with_name("index.html")
    columns = {column_label(entry, best): entry["shown"] for entry in entries}
    grid = checkpoint_grid(file.parent, list(pictures.names.values()), columns, 192,
                           marked=[column_label(best, best)],
                           notes={column_label(entry, best): counted_images(entry) for entry in entries})
    write_html(page, experiment, entries, conditions_text(scorer.conditions), grid)
    print(page)


def column_label(entry: Entry, best: Entry) -> str:
    """Return the label of a checkpoint: ``epoch 20 (best)``."""
    return f"{'epoch ' * entry['tag'].isdecimal()}{entry['tag']}{' (best)' * (entry is best)}"


def counted_images(entry: Entry) -> str:
    """Return the number of images that a checkpoint has seen, for people; empty if it is unknown."""
    return f"{entry['images']:,} images seen" if "images" in entry else ""


def scores_file(flags: ExperimentFlags, experiment: Experiment) -> Path:
    """Return the JSON file of an experiment's scores."""
    kind = f"{flags.phase}_epochs{AVERAGE if flags.use_ema else ''}"
    return Path(flags.results_dir) / experiment.name / kind / "epochs.json"


def score_text(entries: Sequence[Mapping[str, Any]], first: Sequence[str]) -> str:
    """Format a table for the terminal; a star marks the best value of each column, and an equals sign its ties."""
    table = score_rows(entries, first)
    rows = [[cell + "*" * ((row, column) in table.best) + "=" * ((row, column) in table.tied)
             for column, cell in enumerate(cells)] for row, cells in enumerate(table.rows)]
    return aligned([table.columns, *rows]) + f"\n* best{', = tie: the intervals overlap' * bool(table.tied)}"


def conditions_text(conditions: Mapping[str, Any]) -> str:
    """Summarise the conditions of the scores in a line."""
    translations, real = counted(conditions["images_outputs"], "translation"), conditions["images_real"]
    return (f"{translations} against {counted(real, 'real image')}; VGG16 {conditions['feature_layer']}, "
            f"{conditions['vgg_weights']} weights")


def write_html(path: Path, experiment: Experiment, entries: Sequence[Entry], note: str, grid: Grid) -> None:
    """Write the page; without matplotlib it has no curves."""
    axis = "images" if any("images" in entry for entry in entries) else "epochs"
    best = entries[best_of(entries, "frechet") or 0].get(axis)
    drawings = []
    try:
        drawings = [line_chart({title: points}, title=title, marked=best,
                               x_label="images seen" if axis == "images" else "epochs")
                    for score, title in HEADINGS.items() if (points := score_curve(entries, score, axis))]
    except ImportError as error:
        warn(f"no curves: the package {error.name} is not installed (pip install {error.name})")
    fill_page(path, "epochs.html", "epochs", [experiment.folder], title=f"{experiment.name}: checkpoints", note=note,
              grid=grid, scores=score_rows(entries, FIRST, intervals=True), drawings=drawings)
