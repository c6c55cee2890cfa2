"""How a long pass tells how far it has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Watch(Protocol):
    """`util.terminal.watched`, or `unwatched`."""

    def __call__(self, items: Sequence[Item], what: str, /) -> Iterable[Item]:
        """The items, one after the other; ``what`` says what becomes of them."""


def unwatched(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items; nobody waits for them."""
    del what
    return items
