"""The interface that every logger shares, and what the names of values say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

Warn = Callable[[str], None]
"""Takes one sentence for the user; the program decides how to show it."""

TOGETHER = ("losses", "gradient", "lr")  # groups of values that one chart compares; every other value has its own


class Sink:
    """Takes values and sample images. ``step`` counts the images seen over all resumed runs.

    Sinks inherit from this class: what one does not show, it ignores. A value's name may begin with its group, as in
    ``lr/G``; names without one are losses.

    Attributes:
        tries_again: whether it is worth asking again after a failure, as of files: then a sink may fail at any point.
    """

    tries_again = False

    def advance(self, images: int) -> None:
        """Take note that a step has trained on so many images."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take values by name; they may be NaN or infinite."""

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Take images by name: [C, H, W], or [B, C, H, W] of which the first; in [-1, 1], C = 1 or 3."""

    def message(self, text: str) -> None:
        """Take a sentence for the user."""

    def close(self) -> None:
        """Finish; nothing may be sent afterwards."""


class Guarded(Sink):
    """Another sink whose failures, of whatever kind, cost one warning and never the training.

    Args:
        sink: the other one.
        name: what the warning calls it.
        warn: takes the warning.
    """

    def __init__(self, sink: Sink, name: str, warn: Warn) -> None:
        self.sink, self.name = sink, name
        self._warn, self._told, self._dropped = warn, False, False

    def advance(self, images: int) -> None:
        """As `Sink`."""
        self._try(lambda: self.sink.advance(images))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """As `Sink`."""
        self._try(lambda: self.sink.scalars(step, values))

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """As `Sink`."""
        self._try(lambda: self.sink.images(step, images))

    def message(self, text: str) -> None:
        """As `Sink`."""
        self._try(lambda: self.sink.message(text))

    def close(self) -> None:
        """As `Sink`, also after a failure."""
        self._dropped = False
        self._try(self.sink.close)

    def _try(self, send: Callable[[], None]) -> None:
        if self._dropped:
            return
        try:
            send()
        except Exception as error:  # of any library, or of the disk
            self._dropped = not self.sink.tries_again
            if not self._told:
                self._told = True
                self._warn(f"the logger {self.name} has failed ({reason(error)}); the training goes on without it")


def reason(error: Exception) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def group_of(name: str) -> str:
    """``lr/G`` belongs to ``lr``; a loss, ``G``, to ``losses``."""
    group, slash, _ = name.partition("/")
    return group if slash else "speed" if name == "data_wait" else "losses"


def short(name: str) -> str:
    """A value's name without its group."""
    return name.partition("/")[2] or name


def chart_of(name: str) -> str:
    """Which chart shows a value: that of its group, or one of its own name."""
    group = group_of(name)
    return group if group in TOGETHER else name


def group_of_image(label: str) -> str:
    """``real_A_similarity`` is to be compared with others of its group, ``similarity``; ``real_A`` is a sample."""
    return "similarity" if label.endswith("_similarity") else "samples"


def in_groups(labels: Iterable[str]) -> list[list[str]]:
    """Images' labels, a list a group: on a page each begins a row, so that what is compared stands side by side."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(group_of_image(label), []).append(label)
    return list(groups.values())
