"""Declaration of a command-line flag: a field of a frozen dataclass, with its help, its limits and its conversion."""

import math
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any

TRUE_WORDS = ("true", "yes", "on", "1", "y", "t")
FALSE_WORDS = ("false", "no", "off", "0", "n", "f")
LARGEST = 2**63 - 1  # the largest seed, and more than any count needs
REQUIRED: Any = MISSING
"""Default of a flag that must be typed; its group needs ``@dataclass(frozen=True, kw_only=True)``."""


@dataclass(frozen=True)
class Flag:
    """A declared flag.

    Attributes:
        default: value without the flag, or `REQUIRED`.
        help: one line without the default, which the parser adds.
        choices: allowed values.
        minimum, above, maximum: allowed range; ``above`` is exclusive.
        parse: conversion of the text, if the annotation is not enough; raises ``ValueError``.
        several: the value is a tuple of words separated by spaces; a number fixes how many.
        positional: the value is typed without the name of the flag.
        alias: another name.
        action: ``extend`` adds up lists that are typed several times; otherwise the last one is taken.
        metavar: text for the value in help, if not the type.
        unset: text for None or an empty list in help.
        name: that of the field.
        kind: type of the value, or of each item of a list.
    """

    default: Any
    help: str
    choices: Sequence[str] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    parse: Callable[[str], Any] | None = None
    several: bool | int = False
    positional: bool = False
    alias: str = ""
    action: str = "store"
    metavar: str = ""
    unset: str = "none"
    name: str = ""
    kind: Any = str

    def convert(self, text: str) -> Any:
        """Convert a typed text.

        Raises:
            ValueError: the text is no value of the flag; says why.
        """
        value = (self.parse or CONVERSIONS.get(self.kind, self.kind))(text)
        if self.choices and value not in self.choices:
            raise ValueError(f"'{text}' is not one of {', '.join(self.choices)}")
        if isinstance(value, int | float):
            if self.minimum is not None and not value >= self.minimum:
                raise ValueError(f"{text} is too small: the least value is {self.minimum:g}")
            if self.above is not None and not value > self.above:
                raise ValueError(f"{text} is too small: it must be above {self.above:g}")
            if self.maximum is not None and not value <= self.maximum:
                raise ValueError(f"{text} is too large: the greatest value is {self.maximum:g}")
        return value

    def shown(self, value: Any) -> str:
        """Format a value as it is typed, or ``unset`` for None."""
        if value is None:
            return self.unset
        return " ".join(map(show, value)) or self.unset if self.several else show(value)


def flag(default: Any, help: str, **limits: Any) -> Any:  # noqa: A002 - the word of argparse
    """Declare a flag as a field of a frozen dataclass; the annotation of the field is its type.

    Args:
        default, help, limits: attributes of `Flag`.
    """
    return field(default=default, metadata={"flag": Flag(default, help, **limits)})


@cache
def flags_of(group: type) -> tuple[Flag, ...]:
    """List the flags of a group, a frozen dataclass of `flag` fields, in order of declaration."""
    hints = typing.get_type_hints(group)
    return tuple(replace(f.metadata["flag"], name=f.name, kind=_kind(hints[f.name])) for f in fields(group))


def show(value: Any) -> str:
    """Format a value as it is typed."""
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return str(value)


def distinct(value: Any) -> str:
    """Format a value as `show` does, but None as ``unset``: ``--normD none`` is not the same as no ``--normD``."""
    return "unset" if value is None else show(value)


def comma_list(text: str, choices: Sequence[str] = ()) -> tuple[str, ...]:
    """Convert ``"4, 7,9"`` to ``("4", "7", "9")``; refuse an empty list and items that are not in ``choices``."""
    items = tuple(item.strip() for item in text.split(",") if item.strip())
    if not items:
        raise ValueError("the list is empty")
    if unknown := [item for item in items if choices and item not in choices]:
        raise ValueError(f"'{unknown[0]}' is not one of {', '.join(choices)}")
    return items


def bands(text: str) -> tuple[int, ...]:
    """Convert ``"3,2,1"``: one or three numbers of channels from 1; an empty list or ``none`` is no choice."""
    if text.strip() in ("", "none"):
        return ()
    numbers = tuple(_whole_number(item) for item in text.split(","))
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise ValueError(f"'{text}' should be the numbers of three channels, such as 3,2,1, or of one, from 1")
    return numbers


def count_or_all(text: str) -> int | None:
    """Convert a positive count; ``inf`` and ``-1`` become None, for all."""
    if text.strip().lower() in ("inf", "-1"):
        return None
    value = _whole_number(text)
    if value < 1:
        raise ValueError(f"{text} is neither a positive number nor 'inf' (or -1) for all")
    return value


def value_range(text: str) -> tuple[float, float] | None:
    """Convert ``"-1024,3071"`` to two numbers, the lower first; ``none`` becomes None."""
    if text.strip().lower() == "none":
        return None
    ends = [_finite_number(part) for part in text.split(",")]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ValueError(f"'{text}' is no range: type two numbers, the lower first, as in 0,4095")
    low, high = (int(end) if end == int(end) else end for end in ends)
    return low, high


def plain_name(text: str) -> str:
    """Return a part of a file name; refuse text that leads to another folder."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError(f"'{text}' may hold letters, digits, '_', '-' and '.' only")
    return text


def regular_expression(text: str) -> str:
    """Return a regular expression; refuse text that is none."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"'{text}' is no regular expression ({error})") from None
    return text


def _kind(hint: Any) -> Any:
    """Return ``int`` for ``int``, ``int | None`` and ``tuple[int, ...]``."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise ValueError(f"'{text}' is neither true nor false")
    return word in TRUE_WORDS


def _finite_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not a finite number")
    return value


def _whole_number(text: str) -> int:
    """Convert ``256``, and ``256.0`` too: the published code declares some counts as floats."""
    try:
        value = int(text)  # exact, however large
    except ValueError:
        value = int(number := _finite_number(text))
        if value != number:
            raise ValueError(f"'{text}' is not a whole number") from None
    if abs(value) > LARGEST:
        raise ValueError(f"{text} is too large: the greatest value is {LARGEST}")
    return value


CONVERSIONS: dict[Any, Callable[[str], Any]] = {bool: _truth, int: _whole_number, float: _finite_number}
