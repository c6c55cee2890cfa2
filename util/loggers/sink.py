"""The interface of all loggers, and the groups of values and images by their names."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

Warn = Callable[[str], None]
"""Shows one sentence to the user."""

TOGETHER = ("losses", "gradient", "lr")  # groups of values that share one chart; every other value has its own


class Sink:
    """Base class of loggers, which ignores everything. ``step`` counts the images seen over all resumed runs.

    The name of a value may begin with its group, as in ``lr/G``; names without a group are losses.

    Attributes:
        tries_again: keep using the sink after a failure, as for files; then it may fail at any point.
    """

    tries_again = False

    def advance(self, images: int) -> None:
        """Count the images of a step."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name; they may be NaN or infinite."""

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Log images by name: [C, H, W], or the first of [B, C, H, W]; in [-1, 1], C = 1 or 3."""

    def message(self, text: str) -> None:
        """Show a sentence to the user."""

    def close(self) -> None:
        """Finish; nothing may be sent afterwards."""


class Guarded(Sink):
    """A sink whose failures, of whatever kind, cost one warning that names it and never end the training."""

    def __init__(self, sink: Sink, name: str, warn: Warn) -> None:
        self.sink, self.name, self._warn = sink, name, warn
        self._warned = self._dropped = False

    def advance(self, images: int) -> None:
        self._try(self.sink.advance, images)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._try(self.sink.scalars, step, values)

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        self._try(self.sink.images, step, images)

    def message(self, text: str) -> None:
        self._try(self.sink.message, text)

    def close(self) -> None:
        self._dropped = False  # close after a failure, too
        self._try(self.sink.close)

    def _try(self, send: Callable[..., None], *arguments: Any) -> None:
        if self._dropped:
            return
        try:
            send(*arguments)
        except Exception as error:  # of any library, or of the disk
            self._dropped = not self.sink.tries_again
            if not self._warned:
                self._warned = True
                self._warn(f"the logger {self.name} has failed ({reason(error)}); the training continues without it")


def reason(error: Exception) -> str:
    """Return the text of an exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def group_of(name: str) -> str:
    """Return the group of a value: ``lr`` for ``lr/G``, ``losses`` for ``G``."""
    group, slash, _ = name.partition("/")
    return group if slash else "speed" if name == "data_wait" else "losses"


def short(name: str) -> str:
    """Return the name of a value without its group."""
    return name.partition("/")[2] or name


def chart_of(name: str) -> str:
    """Return the chart that shows a value: its group's, or its own."""
    group = group_of(name)
    return group if group in TOGETHER else name


def group_of_image(label: str) -> str:
    """Return ``similarity`` for ``real_A_similarity``, ``samples`` for ``real_A``."""
    return "similarity" if label.endswith("_similarity") else "samples"


def in_groups(labels: Iterable[str]) -> list[list[str]]:
    """Return the labels of each group of images; each group begins a row, so that similar images are neighbours."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(group_of_image(label), []).append(label)
    return list(groups.values())
