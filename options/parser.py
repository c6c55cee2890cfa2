"""From the command line to `Options`: a selector for model and data set, then one strict parse."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, NoReturn, Protocol

from util.errors import UserError

from .flag import Flag, flags_of, show
from .options import Options
from .recorded import recorded_flags, unusable


class OwnsFlags(Protocol):
    """What a model or a data set tells the parser."""

    flags: ClassVar[tuple[type, ...]]
    """Flag groups of its own."""
    test_flags: ClassVar[tuple[type, ...]]
    """Those that only testing has."""
    inherited: ClassVar[tuple[str, ...]]
    """Flags of its own whose default in testing is what the experiment was trained with."""

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        """Defaults of shared flags that it overrides."""

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        """From what the user typed, values of flags that were left out."""

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other."""


class OwnsNetworks(OwnsFlags, Protocol):
    """What a model tells the parser beside its flags."""

    @classmethod
    def recognized(cls, values: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any], Mapping[str, Any]] | None:
        """What the checkpoint that ``values`` name says of its architecture, where no options file does.

        Returns:
            The file, flags that no other value would fit, and flags that fit as a whole, as others would; None:
            nothing.
        """


@dataclass(frozen=True)
class Program:
    """One program's command line."""

    name: str
    description: str
    groups: tuple[type, ...]
    training: bool
    defaults: Mapping[str, Any] = field(default_factory=dict)
    inherited: tuple[str, ...] = ()
    """Flags whose default is what the experiment was trained with (its ``train_opt.json``)."""
    implied: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda typed: {}
    """From what the user typed, values of flags that were left out."""
    settled: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: {}
    """From all values, those that follow from others."""


class Parser(argparse.ArgumentParser):
    """Raises `UserError` where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


class HelpFormatter(argparse.HelpFormatter):
    """Room for this project's long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def parse(
    program: Program,
    models: Mapping[str, type[OwnsNetworks]],
    datasets: Mapping[str, type[OwnsFlags]],
    argv: Sequence[str] | None = None,
    trained: Mapping[str, Any] | None = None,
) -> Options:
    """Parse and check the command line of ``program``.

    Args:
        program: which program.
        models, datasets: the registries that ``--model`` and ``--dataset_mode`` choose from.
        argv: the arguments, by default the process's own.
        trained: flags of the training that the program inherits from, by default those that the experiment recorded.

    Raises:
        UserError: an unknown flag, a value out of range, or flags that do not fit each other.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    base = {f.name: f for group in program.groups for f in flags_of(group)}

    model = _select(argv, "model", program.defaults.get("model", base["model"].default), models)
    overrides = {**program.defaults, **models[model].defaults(program.training), "model": model}
    mode_default = overrides.get("dataset_mode", base["dataset_mode"].default)
    dataset = _select(argv, "dataset_mode", mode_default, datasets)
    overrides |= {**datasets[dataset].defaults(program.training), "dataset_mode": dataset}

    owners = (models[model], datasets[dataset])
    groups = (*program.groups, *(group for owner in owners for group in owner.flags))
    if not program.training:
        groups += tuple(group for owner in owners for group in owner.test_flags)
    table = _table(groups)
    if unknown := sorted(set(overrides) - set(table)):
        raise KeyError(f"--model {model} or --dataset_mode {dataset} overrides unknown flags: {unknown}")
    defaults = {name: overrides.get(name, f.default) for name, f in table.items()}

    typed = _parse_strictly(program, groups, defaults, argv, {"model": models, "dataset_mode": datasets})
    values = {**defaults, **program.implied(typed)}
    for owner in owners:
        values |= owner.implied(typed)
    values |= typed
    if values["suffix"]:
        values["name"] += "_" + _fill_in(values["suffix"], values)
    _check_name(values["name"])
    inherited = set() if program.training else {*program.inherited, *(n for owner in owners for n in owner.inherited)}
    recorded, notes = _recorded(inherited, table, values, trained), list[str]()
    found = recorded
    if inherited and found is None:
        found, notes = _recognized(models[model], typed, values)
    values |= {name: value for name, value in (found or {}).items() if name not in typed}
    values |= program.settled(values)
    options = Options([group(**{f.name: values[f.name] for f in flags_of(group)}) for group in groups], defaults, notes,
                      typed=typed, recorded=recorded)
    for owner in owners:
        owner.check(options)
    return options


def _table(groups: Sequence[type]) -> dict[str, Flag]:
    table: dict[str, Flag] = {}
    for group in groups:
        for f in flags_of(group):
            if f.name in table:
                raise KeyError(f"flag --{f.name} is declared twice")
            table[f.name] = f
    return table


def _select(argv: Sequence[str], name: str, default: str, registry: Mapping[str, object]) -> str:
    """Read one flag and nothing else; its value decides which further flags there are."""
    selector = Parser(add_help=False, allow_abbrev=False)
    selector.add_argument(f"--{name}", default=default)
    choice = str(getattr(selector.parse_known_args(argv)[0], name))
    if choice not in registry:
        hint = CALLED.get(choice.lower(), "")
        close = [hint] if hint.split(" ")[0] in registry else difflib.get_close_matches(choice.lower(), registry, n=1)
        suggestion = f"did you mean --{name} {close[0]}? " if close else ""
        raise UserError(f"--{name} {choice} is unknown; {suggestion}choose one of: {', '.join(sorted(registry))}")
    return choice


def _parse_strictly(
    program: Program, groups: Sequence[type], defaults: Mapping[str, Any], argv: Sequence[str],
    registries: Mapping[str, Mapping[str, object]],
) -> dict[str, Any]:
    parser = Parser(
        prog=program.name, description=program.description, allow_abbrev=False,
        formatter_class=HelpFormatter, argument_default=argparse.SUPPRESS, usage="%(prog)s [--flag value ...]",
    )
    for group in groups:
        section = parser.add_argument_group((group.__doc__ or group.__name__).splitlines()[0].rstrip("."))
        for f in flags_of(group):
            _add(section, f, defaults[f.name], registries.get(f.name, ()))
    namespace, rest = parser.parse_known_args(argv)
    if rest:
        raise UserError(_unknown(rest[0], list(defaults)))
    typed = vars(namespace)
    if empty := [name for name, value in typed.items() if isinstance(value, list)]:  # Python before 3.13 loses a '--'
        raise UserError(f"--{empty[0]}: '--' is not a value")
    return typed


def _add(section: argparse._ArgumentGroup, f: Flag, default: Any, names: Collection[str]) -> None:
    def convert(text: str) -> Any:
        try:
            return f.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    listed = f": {', '.join(names)}" if names else ""
    text = f"{f.help}{listed} (default: {f.shown(default)})".replace("%", "%%")
    if f.base_type is bool:
        section.add_argument(f"--{f.name}", type=convert, nargs="?", const=True, metavar="BOOL", help=text)
    else:
        metavar = "{" + ",".join(f.choices) + "}" if f.choices else getattr(f.base_type, "__name__", "text").upper()
        section.add_argument(f"--{f.name}", type=convert, metavar=metavar, help=text)


FORMER = {
    "batchSize": "batch_size", "loadSize": "load_size", "fineSize": "crop_size", "nThreads": "num_threads",
    "niter": "n_epochs", "niter_decay": "n_epochs_decay", "how_many": "num_test", "ntest": "num_test",
    "which_direction": "direction", "which_epoch": "epoch", "which_model_netG": "netG", "which_model_netD": "netD",
    "resize_or_crop": "preprocess", "identity": "lambda_identity", "normG": "norm", "normD": "norm",
    "no_lsgan": "gan_mode vanilla", "use_dropout": "no_dropout false",
    "use_wandb": "loggers terminal,json,html,wandb",
}
"""What older code of this family calls a flag, and what to type instead."""


CALLED = {
    "fsesim": "sc", "lsesim": "sc --learned_attn --augment", "fastcut": "cut --CUT_mode FastCUT",
    "cyclegan": "cycle_gan", "munit": "munit_sc",
}
"""What users of the paper and of its peers type as a model's name, and what to type instead."""


def _unknown(argument: str, names: Sequence[str]) -> str:
    if not argument.startswith("--"):
        return f"'{argument}' is not a flag; flags start with -- (see --help)"
    name = argument[2:].split("=", maxsplit=1)[0]
    former = FORMER.get(name, "")
    close = [former] if former.split(" ")[0] in names else difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean --{close[0]}?" if close else "--help lists the flags of this model and data set"
    return f"--{name} is not a flag of this program with this model and data set; {hint}"


def _recorded(
    inherited: Collection[str], table: Mapping[str, Flag], values: Mapping[str, Any], trained: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Inherited flags as in ``trained``, by default the experiment's own options file; None where there is none."""
    folder = Path(values["checkpoints_dir"]) / values["name"]
    if (recorded := recorded_flags(folder) if trained is None else trained) is None:
        return None
    try:
        return {name: table[name].convert(show(recorded[name])) for name in inherited if name in recorded}
    except ValueError as error:
        raise unusable(folder, error) from None


def _recognized(
    model: type[OwnsNetworks], typed: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Flags that the checkpoint itself tells, and a note about them."""
    if (found := model.recognized(values)) is None:
        return {}, []
    path, certain, likely = found
    for name in typed.keys() & certain.keys():
        if typed[name] != certain[name]:
            raise UserError(f"--{name} {show(typed[name])} contradicts {path}, whose weights are those of --{name} "
                            f"{show(certain[name])}: leave the flag out")
    flags = {**certain, **({} if typed.keys() & likely.keys() else likely)}
    shown = " ".join(f"--{name} {show(value)}" for name, value in flags.items())
    return flags, [f"There is no train_opt.json beside {path}. Its weights say: {shown}"]


def _fill_in(suffix: str, values: Mapping[str, Any]) -> str:
    """``{netG}`` to ``resnet_9blocks``; plain look-up, so that a suffix cannot reach anything else."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UserError(f"--suffix: '{match[1]}' is not a flag")
        return show(values[match[1]])

    return re.sub(r"\{(\w+)\}", value_of, suffix)


def _check_name(name: str) -> None:
    """A name leads nowhere but into --checkpoints_dir, on any system."""
    path = PureWindowsPath(name)  # splits at both kinds of slashes
    if not path.parts or path.anchor or ".." in path.parts or not name.isprintable():
        raise UserError(f"--name {name!r} must name a folder inside --checkpoints_dir")
