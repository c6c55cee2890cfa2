"""Images that cannot be read: others stand in for them, until there are too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from util.images import BadImage
from util.words import counted

from .workers import LoadingError


class Unreadable:
    """Items that cannot be read. The next readable item of the same group stands in for one.

    That depends on nothing but the files, so every process and every resumed run comes to the same stand-ins, in
    whatever order it meets the items.

    Args:
        files: an item's files, for messages.
        group: the items that may stand in for one.
        most: how many unreadable items are tolerated; with 0 nothing stands in.

    Attributes:
        reasons: a sentence for each item that is known to be unreadable.
    """

    def __init__(self, files: Callable[[int], Sequence[Path]], group: Callable[[int], range], most: int) -> None:
        self.files, self.group, self.most = files, group, most
        self.reasons: dict[int, str] = {}

    def stand_in(self, item: int) -> int:
        """Return the item itself, or the one that takes its place.

        Raises:
            LoadingError: none of its group can be read.
        """
        group = self.group(item)
        for other in chain(range(item, group.stop), range(group.start, item)):
            if other not in self.reasons:
                return other
        folder = self.files(item)[0].parent
        raise LoadingError(f"{counted(len(group), 'image')} in {folder}, none of which can be read: "
                           f"{self.reasons[item]}")

    def note(self, item: int, reason: str) -> None:
        """Remember that ``item`` cannot be read.

        Raises:
            BadImage: none is tolerated.
            LoadingError: it is one too many.
        """
        if self.most == 0:
            raise BadImage(reason)
        self.reasons[item] = reason
        if len(self.reasons) > self.most:
            raise LoadingError(f"{len(self.reasons)} images cannot be read, which is more than --max_bad_images "
                               f"{self.most}; the last: {reason} (python -m data.check DATAROOT names them all)")
