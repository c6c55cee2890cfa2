"""How a command-line flag is declared: one dataclass field, its help text and its limits."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

TRUE_WORDS = ("true", "yes", "on", "1", "y", "t")
FALSE_WORDS = ("false", "no", "off", "0", "n", "f")
LARGEST = 2**63 - 1  # what a seed may be, and more than any count can use


def flag(
    default: Any,
    help: str,  # noqa: A002 - the word argparse uses
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """Declare a flag as a field of a frozen dataclass; its type is the field's annotation.

    Args:
        default: value when the flag is left out.
        help: what the flag does, in one line; the default is appended when help is printed.
        choices: the allowed values.
        minimum, above, maximum: the allowed range; ``above`` is exclusive.
        parse: converts the text when the annotation alone does not say how; raises ``ValueError``.
    """
    metadata = {
        "help": help, "choices": tuple(choices), "minimum": minimum, "above": above, "maximum": maximum,
        "parse": parse,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Flag:
    """A declared flag, ready for the parser."""

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]
    minimum: float | None
    above: float | None
    maximum: float | None
    parse: Callable[[str], Any] | None

    @property
    def base_type(self) -> Any:
        """The annotation without ``| None``."""
        if typing.get_origin(self.type) in (types.UnionType, typing.Union):
            return next(t for t in typing.get_args(self.type) if t is not type(None))
        return self.type

    def convert(self, text: str) -> Any:
        """Turn what the user typed into a value within the limits, or raise ``ValueError`` saying why not."""
        value = self.parse(text) if self.parse else self._convert_by_type(text)
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
        """A value as the user would type it for this flag."""
        return "inf" if value is None and self.parse is count_or_all else show(value)

    def _convert_by_type(self, text: str) -> Any:
        kind = self.base_type
        if kind is bool:
            return _parse_bool(text)
        if kind is int:
            return _parse_int(text)
        if kind is float:
            return _parse_float(text)
        return text


def show(value: Any) -> str:
    """A value as the user would type it."""
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value) or "none"
    return str(value)


def flags_of(group: type) -> list[Flag]:
    """The flags that a group (a frozen dataclass of `flag` fields) declares, in order."""
    hints = typing.get_type_hints(group)
    return [_flag_of(f, hints[f.name]) for f in fields(group)]


def comma_list(text: str) -> tuple[str, ...]:
    """``"4, 7,9"`` to ``("4", "7", "9")``; an empty list is an error."""
    items = tuple(item.strip() for item in text.split(",") if item.strip())
    if not items:
        raise ValueError("the list is empty")
    return items


def count_or_all(text: str) -> int | None:
    """A positive count, or ``None`` for all of them (typed ``inf`` or ``-1``)."""
    if text.strip().lower() in ("inf", "-1"):
        return None
    value = _parse_int(text)
    if value < 1:
        raise ValueError(f"{text} is neither a positive number nor 'inf' (or -1) for all")
    return value


def plain_name(text: str) -> str:
    """A part of a file's name: it leads to no other folder."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError(f"'{text}' may hold letters, digits, '_', '-' and '.' only")
    return text


def plain_name_or_none(text: str) -> str:
    """A `plain_name`, or nothing."""
    return plain_name(text) if text else ""


def _flag_of(f: Field[Any], hint: Any) -> Flag:
    if f.default is MISSING:
        raise TypeError(f"flag {f.name} has no default")
    return Flag(name=f.name, type=hint, default=f.default, **f.metadata)


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(f"'{text}' is neither true nor false")


def _parse_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not a finite number")
    return value


def _parse_int(text: str) -> int:
    """Whole numbers, also written ``256.0``: the published code declares some counts as floats."""
    try:
        value = int(text)  # exact, however large
    except ValueError:
        number = _parse_float(text)
        value = int(number)
        if value != number:
            raise ValueError(f"'{text}' is not a whole number") from None
    if abs(value) > LARGEST:
        raise ValueError(f"{text} is too large: the greatest value is {LARGEST}")
    return value
