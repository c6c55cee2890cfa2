"""Images that cannot be read: named once, counted, and replaced by others, until there are too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from util.errors import UserError
from util.words import counted


class Unreadable:
    """Items that cannot be read, and which items stand in for them: the next readable one of the same group.

    That depends on nothing but the files, so every process and every resumed run comes to the same stand-ins, in
    whatever order it meets the items.

    Args:
        files: an item's files, for messages.
        group: the items that may stand in for one.
        most: how many unreadable items are tolerated.
    """

    def __init__(self, files: Callable[[int], Sequence[Path]], group: Callable[[int], range], most: int) -> None:
        self.files, self.group, self.most = files, group, most
        self.reasons: dict[int, str] = {}
        self._news: list[int] = []

    def stand_in(self, item: int) -> int:
        """The item itself, or the one that takes its place.

        Raises:
            UserError: none of its group can be read.
        """
        group = self.group(item)
        for step in range(len(group)):
            other = group[(item - group.start + step) % len(group)]
            if other not in self.reasons:
                return other
        folder = self.files(item)[0].parent
        raise UserError(f"{counted(len(group), 'image')} in {folder}, none of which can be read: {self.reasons[item]}")

    def note(self, item: int, reason: str) -> None:
        """Take down that ``item`` cannot be read.

        Raises:
            UserError: it is one too many.
        """
        self.reasons[item] = reason
        self._news.append(item)
        refuse_too_many(list(self.reasons.values()), self.most)

    def news(self) -> list[tuple[str, str]]:
        """What was noted since the last call: why an item cannot be read, and the file that takes its place."""
        found = [(self.reasons[item], str(self.files(self.stand_in(item))[0])) for item in self._news]
        self._news = []
        return found


def refuse_too_many(reasons: Sequence[str], most: int) -> None:
    """Raise `UserError` if there are more than ``most`` sentences about unreadable images."""
    if len(reasons) <= most:
        return
    if most == 0:
        raise UserError(reasons[0])
    raise UserError(f"{len(reasons)} images cannot be read, which is more than --max_bad_images {most}; the last: "
                    f"{reasons[-1]} (python -m data.check DATAROOT names them all)")
