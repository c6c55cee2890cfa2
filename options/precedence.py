"""Sources of the values of flags, in order of precedence, for the programs that have a model and a data set."""

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar

from util.errors import UserError

from .common import DataFlags, RunFlags, stylegan2_size
from .flag import Flag, flags_of, show
from .options import Options
from .parser import Parser, read, unknown
from .recorded import recorded_flags, unusable

Values = Mapping[str, Any]
CALLED = {
    "fsesim": "sc", "lsesim": "sc --learned_attn --augment", "fastcut": "cut --CUT_mode FastCUT",
    "cyclegan": "cycle_gan", "gcgan": "gc_gan", "distancegan": "distance_gan", "unsb": "sb",
}
"""Names that the paper and its peers give a model, and the flags to type instead."""


class FlagOwner:
    """Base of models and data sets: the flags that they add, and the defaults that they change.

    Attributes:
        flags: groups of flags.
        test_flags: groups that only testing has.
        inherited: flags whose default in testing is their value in the training.
    """

    flags: ClassVar[tuple[type, ...]] = ()
    test_flags: ClassVar[tuple[type, ...]] = ()
    inherited: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def defaults(cls, training: bool) -> Values:
        """Return other defaults for flags."""
        del training
        return {}

    @classmethod
    def implied(cls, typed: Values) -> Values:
        """Return values of other flags that the typed ones imply."""
        del typed
        return {}

    @classmethod
    def recognized(cls, values: Values) -> tuple[Path, Values, Values] | None:
        """Read the architecture from the weights of the checkpoint that ``values`` name.

        Returns:
            The file, flags that no other value would fit, and flags that fit together, as others would; or None.
        """
        del values
        return None

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` for options that do not fit each other."""
        del options


class Program(FlagOwner):
    """The command line of ``train.py``, ``test.py`` or ``export.py``; ``name`` and ``description`` are for its help."""

    name: str
    description: str
    training: bool


@dataclass
class Sources:
    """Everything that values come from.

    Attributes:
        program, model, dataset: the owners of the flags in ``table``.
        trained: flags of the training that the program inherits from; None: those in the folder of the experiment.
        typed: values of the typed flags.
        recorded: the inherited flags in ``trained``; None without a record.
        notes: sentences for the user.
    """

    program: Program
    model: type[FlagOwner]
    dataset: type[FlagOwner]
    table: Mapping[str, Flag]
    trained: Values | None
    typed: Values = field(default_factory=dict)
    recorded: Values | None = None
    notes: list[str] = field(default_factory=list)


def _recorded(of: Sources, values: Values) -> Values:
    """Return the inherited flags of the training.

    Raises:
        UserError: they are damaged, or another ``--norm`` is typed, with which the weights would fit, too.
    """
    folder = Path(values["checkpoints_dir"]) / values["name"]
    inherited = () if of.program.training else (*of.program.inherited, *of.model.inherited, *of.dataset.inherited)
    if (recorded := recorded_flags(folder) if of.trained is None else of.trained) is None:
        return {}
    try:
        of.recorded = {name: of.table[name].convert(show(recorded[name])) for name in inherited if name in recorded}
    except ValueError as error:
        raise unusable(folder, error) from None
    if (norm := of.typed.get("norm")) != (trained := of.recorded.get("norm")) and None not in (norm, trained):
        raise UserError(f"--norm {norm} contradicts {folder}, which was trained with --norm {trained}: leave the flag "
                        "out")
    return {name: value for name, value in of.recorded.items() if name not in of.typed}


def _recognized(of: Sources, values: Values) -> Values:
    """Return the flags that the weights of the checkpoint determine, and note them.

    Raises:
        UserError: they contradict a typed flag.
    """
    if of.program.training or of.recorded is not None or (found := of.model.recognized(values)) is None:
        return {}
    path, certain, likely = found
    for name in of.typed.keys() & certain.keys():
        if of.typed[name] != certain[name]:
            raise UserError(f"--{name} {show(of.typed[name])} contradicts {path}, whose weights are those of --{name} "
                            f"{show(certain[name])}: leave the flag out")
    flags = {**certain, **({} if of.typed.keys() & likely.keys() else likely)}
    shown = " ".join(f"--{name} {show(value)}" for name, value in flags.items())
    of.notes.append(f"There is no train_opt.json beside {path}. Its weights say: {shown}")
    return flags


def _full_name(values: Values) -> str:
    """Append ``--suffix`` to ``--name``, with ``{netG}`` replaced by the value of that flag.

    Raises:
        UserError: the suffix names no flag, or the name leads out of ``--checkpoints_dir`` on some system.
    """
    def value_of(match: re.Match[str]) -> str:  # not str.format, with which a suffix could reach attributes
        if match[1] not in values:
            raise UserError(f"--suffix: '{match[1]}' is not a flag")
        return show(values[match[1]])

    suffix = "_" + re.sub(r"\{(\w+)\}", value_of, values["suffix"])
    name: str = values["name"] + suffix * bool(values["suffix"])
    path = PureWindowsPath(name)  # splits at both kinds of slashes
    if not path.parts or path.anchor or ".." in path.parts or not name.isprintable():
        raise UserError(f"--name {name!r} must name a folder inside --checkpoints_dir")
    return name


Layer = tuple[str, Callable[[Sources, Values], Values]]
"""A source, and a function from the sources and the values so far to its own values."""

DEFAULTS: tuple[Layer, ...] = (
    ("the declaration of the flag", lambda of, _: {name: f.default for name, f in of.table.items()}),
    ("the program", lambda of, _: of.program.defaults(of.program.training)),
    ("the model", lambda of, _: of.model.defaults(of.program.training)),
    ("the data set", lambda of, _: of.dataset.defaults(of.program.training)),
)
"""Sources of the defaults that help shows; a later one overrides those before it."""

PRECEDENCE: tuple[Layer, ...] = (
    *DEFAULTS,
    ("typed flags that imply others in the program", lambda of, _: of.program.implied(of.typed)),
    ("typed flags that imply others in the model", lambda of, _: of.model.implied(of.typed)),
    ("typed flags that imply others in the data set", lambda of, _: of.dataset.implied(of.typed)),
    ("the command line", lambda of, _: of.typed),
    ("--suffix", lambda _, values: {"name": _full_name(values)}),
    ("train_opt.json, for inherited flags that are not typed", _recorded),
    ("weights without train_opt.json", _recognized),
    ("sizes of images, for --stylegan2_size 0", lambda _, values: stylegan2_size(values)),
)
"""Sources of all values; a later one overrides those before it."""


def parse(
    program: Program,
    models: Mapping[str, type[FlagOwner]],
    datasets: Mapping[str, type[FlagOwner]],
    argv: Sequence[str] | None = None,
    trained: Values | None = None,
) -> Options:
    """Parse and check the command line of a program that has a model and a data set.

    Args:
        program: the program.
        models, datasets: registries for ``--model`` and ``--dataset_mode``.
        argv: the arguments; None: those of the process.
        trained: flags of the training that the program inherits from; None: those that the experiment recorded.

    Raises:
        UserError: an unknown flag, a value out of range, or flags that do not fit each other.
    """
    argv, training = sys.argv[1:] if argv is None else argv, program.training
    overrides = {"model": RunFlags.model, "dataset_mode": DataFlags.dataset_mode, **program.defaults(training)}
    model = _select(argv, "model", overrides["model"], models)
    overrides |= models[model].defaults(training)
    mode = _select(argv, "dataset_mode", overrides["dataset_mode"], datasets)
    owners = program, models[model], datasets[mode]
    groups = [group for owner in owners for group in owner.flags]
    groups += [group for owner in owners for group in owner.test_flags if not training]
    sources = Sources(*owners, _table(groups), trained)

    defaults = _resolve(DEFAULTS, sources)
    if extra := sorted(defaults.keys() - sources.table.keys()):
        raise KeyError(f"--model {model} or --dataset_mode {mode} overrides unknown flags: {extra}")
    sources.typed, rest = read(program.name, groups, argv, description=program.description, defaults=defaults,
                               registries={"model": models, "dataset_mode": datasets})
    if rest:
        raise unknown(rest[0], groups, "this program with this model and data set")
    values = _resolve(PRECEDENCE, sources)
    options = Options([group(**{f.name: values[f.name] for f in flags_of(group)}) for group in groups], defaults,
                      sources.notes, typed=sources.typed, recorded=sources.recorded, argv=argv)
    for owner in owners:
        owner.check(options)
    return options


def _resolve(layers: Sequence[Layer], sources: Sources) -> dict[str, Any]:
    """Return the value of every flag from the last layer that has one."""
    values: dict[str, Any] = {}
    for _, layer in layers:
        values |= layer(sources, values)
    return values


def _table(groups: Sequence[type]) -> dict[str, Flag]:
    table: dict[str, Flag] = {}
    for f in (f for group in groups for f in flags_of(group)):
        if f.name in table:
            raise KeyError(f"flag --{f.name} is declared twice")
        table[f.name] = f
    return table


def _select(argv: Sequence[str], name: str, default: str, registry: Mapping[str, object]) -> str:
    """Read the flag that decides which further flags there are."""
    selector = Parser(add_help=False, allow_abbrev=False)
    selector.add_argument(f"--{name}", default=default)
    choice = str(getattr(selector.parse_known_args(argv)[0], name))
    if choice not in registry:
        hint = CALLED.get(choice.lower(), "")
        close = [hint] if hint.split(" ")[0] in registry else difflib.get_close_matches(choice.lower(), registry, n=1)
        suggestion = f"did you mean --{name} {close[0]}? " if close else ""
        raise UserError(f"--{name} {choice} is unknown; {suggestion}choose one of: {', '.join(sorted(registry))}")
    return choice
