"""Flags of ``python -m experiments.compare``, and the settings of a run by them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.report import BenchmarkFlags, writable
from options import flag, parse_flags
from util.errors import UserError

from .methods import STUDIES, Study
from .records import SETTINGS

OWNED = ("dataroot", "name", "suffix", "checkpoints_dir", "gpu_ids", "max_dataset_size", "model", "seed", "n_epochs",
         "n_epochs_decay", "continue_train")  # flags of train.py that are not for --extra


def extra(text: str) -> str:
    """Check flags of train.py; refuse those that this program sets itself."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{error} in {text}") from error
    if owned := [word for word in words if word.partition("=")[0] in {f"--{name}" for name in OWNED}]:
        raise ValueError(f"{owned[0]} is what experiments.compare sets itself: leave it out")
    return shlex.join(words)


@dataclass(frozen=True)
class CompareFlags(BenchmarkFlags):
    """Train every method on the same images, equally long, and compare."""

    rounds: int = flag(10, "timed rounds", minimum=1)
    data: str = flag("lineart2color", "data set, which decides on the methods, their flags and the scores",
                     choices=tuple(STUDIES))
    methods: tuple[str, ...] = flag((), "; ".join(
        f"on {name} some of {', '.join(study.methods)}" for name, study in STUDIES.items()),
        several=True, metavar="METHOD", unset="those of docs/results.md")
    seeds: tuple[int, ...] = flag((1, 2), "seeds of the trainings", minimum=0, several=True)
    epochs: tuple[int, ...] = flag((2, 2), "epochs with the initial learning rate, and while it falls to zero",
                                   minimum=0, several=2)
    dataroot: Path | None = flag(None, "folder of the data set", unset="datasets/ and --data")
    size: int = flag(128, "side that images are scaled to", minimum=1)
    max_dataset_size: int | None = flag(None, "images of each folder", minimum=1, unset="all")
    extra: str = flag("", "further flags of train.py, in one word", parse=extra)
    checkpoints_dir: Path = flag(Path("checkpoints/compare"), "folder of the experiments")
    results_dir: Path = flag(Path("results/compare"), "folder of the translations")
    records_dir: Path | None = flag(None, "folder of scores of finished runs, a file each", unset="--results_dir")
    picture: Path | None = flag(None, "draw some inputs, what the first seed of each method makes of them, and the "
                                "truths", parse=writable)
    recorded: bool = flag(False, "train nothing: print the table of the runs that are finished")
    keep_going: bool = flag(False, "after a run that fails go on with the others, and end with an error")
    measure: bool = flag(False, "also time a step of each method, in turns, and measure its memory: keep the machine "
                         "quiet")

    @property
    def records(self) -> Path:
        """Return the folder of scores."""
        return self.records_dir or self.results_dir

    @property
    def study(self) -> Study:
        """Return the methods to compare on the data set."""
        return STUDIES[self.data]

    @property
    def images(self) -> Path:
        """Return the folder of the data set."""
        return self.dataroot or Path("datasets", self.data)

    def training(self, method: str) -> str:
        """Return the flags of a method's training, but for its data, its length and its seed."""
        return f"{self.study.common} {self.study.methods[method]} {self.extra}"


def command_line(argv: Sequence[str] | None) -> CompareFlags:
    """Parse the flags; a method or a seed that is named twice counts once.

    Raises:
        UserError: a method is not one of the data set's.
    """
    flags = parse_flags(CompareFlags, "python -m experiments.compare", argv)
    methods = tuple(dict.fromkeys(flags.methods or flags.study.default))
    if unknown := [method for method in methods if method not in flags.study.methods]:
        raise UserError(f"--methods: '{unknown[0]}' is not one of {', '.join(flags.study.methods)}, the methods on "
                        f"{flags.data}")
    return replace(flags, methods=methods, seeds=tuple(dict.fromkeys(flags.seeds)))


def settings(method: str, seed: int, flags: CompareFlags) -> dict[str, str | int]:
    """Return the settings of a run by name, of `SETTINGS`."""
    constant, decay = flags.epochs
    values = (method, seed, f"{flags.study.common} {flags.study.methods[method]}", flags.images.resolve().name,
              f"{constant}+{decay}", flags.size, flags.max_dataset_size, flags.extra)
    return {key: value for key, value in zip(SETTINGS, values, strict=True) if value not in (None, "")}
