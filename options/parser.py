"""The parser of every program: from groups of flags and a command line to typed values or one sentence."""

import argparse
import difflib
import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from util.errors import UserError

from .flag import REQUIRED, Flag, flags_of, show

Group = TypeVar("Group")

FORMER = {
    "batchSize": "batch_size", "loadSize": "load_size", "fineSize": "crop_size", "nThreads": "num_threads",
    "niter": "n_epochs", "niter_decay": "n_epochs_decay", "how_many": "num_test", "ntest": "num_test",
    "which_direction": "direction", "which_epoch": "epoch", "which_model_netG": "netG", "which_model_netD": "netD",
    "resize_or_crop": "preprocess", "identity": "lambda_identity", "normG": "norm",
    "no_lsgan": "gan_mode vanilla", "use_dropout": "no_dropout false",
    "use_wandb": "loggers terminal,json,html,wandb",
}
"""Flags of older code of this family, and their replacements."""


class Parser(argparse.ArgumentParser):
    """A parser that raises `UserError` where argparse ends the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


def parse_flags(group: type[Group], prog: str, argv: Sequence[str] | None = None) -> Group:
    """Parse the command line of a program with one group of flags.

    Args:
        group: the flags. Its docstring and those of the groups that it extends are the headings of the help.
        prog: the program.
        argv: the arguments; None: those of the process.

    Raises:
        UserError: an unknown flag, or a value that is missing or out of range.
    """
    flags, rest = parse_known_flags(group, prog, argv)
    if rest:
        raise unknown(rest[0], [group], prog)
    return flags


def parse_known_flags(group: type[Group], prog: str, argv: Sequence[str] | None = None) -> tuple[Group, list[str]]:
    """Parse as `parse_flags` does, but return unknown flags instead of refusing them."""
    typed, rest = read(prog, [group], sys.argv[1:] if argv is None else argv)
    return group(**typed), rest


def read(
    prog: str, groups: Sequence[type], argv: Sequence[str], *, description: str | None = None,
    defaults: Mapping[str, Any] | None = None, registries: Mapping[str, Collection[str]] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Read the flags of some groups.

    Args:
        prog, description: name and summary of the program, for its help.
        groups: the groups of flags.
        argv: the arguments.
        defaults: defaults to show instead of those in the declarations.
        registries: names to list in the help of a flag.

    Returns:
        The typed flags with their values, and the arguments that are unknown.

    Raises:
        UserError: a value is missing or out of range.
    """
    positional = [f.name.upper() for group in groups for f in flags_of(group) if f.positional]
    parser = Parser(
        prog=prog, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS,
        usage=" ".join(["%(prog)s", *positional, "[--flag value ...]"]),
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110))
    for heading, flags in (section for group in groups for section in _sections(group)):
        section = parser.add_argument_group(heading)
        for f in flags:
            _add(section, f, (defaults or {}).get(f.name, f.default), (registries or {}).get(f.name, ()),
                 bare=bool(positional))
    namespace, rest = parser.parse_known_args(join_negative_lists(argv))
    typed = vars(namespace)
    if empty := [name for name, value in typed.items() if value == []]:  # Python before 3.13 loses a '--'
        raise UserError(f"--{empty[0]}: '--' is not a value")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}, rest


def join_negative_lists(argv: Sequence[str]) -> list[str]:
    """Write ``--range_A -1024,3071`` as ``--range_A=-1024,3071``: argparse would take the numbers for a flag."""
    joined: list[str] = []
    for argument in argv:
        if joined and re.fullmatch(r"--\w+", joined[-1]) and re.match(r"-[\d.][^,]*,", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def arguments(values: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a command line that give flags these values, by name.

    Raises:
        UserError: a value is None.
    """
    if missing := [name for name, value in values.items() if value is None]:
        raise UserError(f"{missing[0]}=None: leave the flag out for its default, or give it a value (inf for all)")
    return [f"--{name}={show(value)}" for name, value in values.items()]


def unknown(argument: str, groups: Sequence[type], program: str) -> UserError:
    """Return the error for an argument that is no flag of ``program``, with a suggestion."""
    if not argument.startswith("--"):
        return UserError(f"'{argument}' is not a flag; flags start with -- (see --help)")
    name, names = argument[2:].split("=", maxsplit=1)[0], [f.name for group in groups for f in flags_of(group)]
    former = FORMER.get(name, "")
    close = [former] if former.split(" ")[0] in names else difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean --{close[0]}?" if close else "--help lists its flags"
    return UserError(f"--{name} is not a flag of {program}; {hint}")


def _sections(group: type) -> Iterator[tuple[str, list[Flag]]]:
    """Yield heading and flags of a group, then of the groups that it extends."""
    left = flags_of(group)
    for kind in group.__mro__[:-1]:
        own = inspect.get_annotations(kind)
        yield (kind.__doc__ or kind.__name__).splitlines()[0].rstrip("."), [f for f in left if f.name in own]
        left = tuple(f for f in left if f.name not in own)


def _add(section: argparse._ArgumentGroup, f: Flag, default: Any, names: Collection[str], *, bare: bool) -> None:
    """Add a flag.

    Args:
        section: the section of the help.
        f: the flag.
        default: the default to show.
        names: names to list in the help.
        bare: true/false flags take no value, since a positional argument may follow.
    """
    def convert(text: str) -> Any:
        try:
            return f.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    listed = f": {', '.join(names)}" if names else ""
    note = "required" if default is REQUIRED else f"default: {f.shown(default) or f.unset}"
    how: dict[str, Any] = {"help": f"{f.help}{listed} ({note})".replace("%", "%%"), "action": f.action}
    if f.kind is bool and bare:
        how["action"] = "store_true"
    elif f.kind is bool:
        how |= {"type": convert, "nargs": "?", "const": True, "metavar": "BOOL"}
    else:
        choices = "{" + ",".join(f.choices) + "}" if f.choices else ""
        how |= {"type": convert, "metavar": f.metavar or choices or f.kind.__name__.upper()}
    if f.several:
        how["nargs"] = "+" if f.several is True else f.several
    if f.positional:
        optional = {} if f.several or default is REQUIRED else {"nargs": "?"}
        section.add_argument(f.name, **how | optional | {"metavar": f.name.upper()})
    else:
        alias = [f"--{f.alias}"] if f.alias else []
        section.add_argument(f"--{f.name}", *alias, dest=f.name, required=default is REQUIRED, **how)
