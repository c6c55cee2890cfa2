"""The interface of all loggers, and the groups of values and images by their names."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

Warn = Callable[[str], None]
"""Shows one sentence to the user."""

SAMPLES, TRAINING = "samples", "training"
"""Groups of images: the same test images at each report; the images of the last step."""
SCORE = "eval_"
"""Start of the names of scores."""
TOGETHER = ("losses", "gradient", "lr")  # groups of values that share one chart; every other value has its own


@dataclass(frozen=True)
class LoggedRun:
    """The training that loggers show."""

    folder: Path
    name: str
    total: int
    """Images seen at its end."""
    seen: int
    """Images seen up to the checkpoint that it continues from; 0 for a new training."""
    flags: Mapping[str, Any]
    """All flags by name."""
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value and default of the flags that differ from their defaults."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """For people: the data, the device and so on, by name."""
    epoch: int = 0
    """Images of an epoch; 0: unknown."""


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
        """Log images by name: [C, H, W], or the first of [B, C, H, W]; in [-1, 1], C = 1 or 3.

        Names are ``samples/NAME/LABEL``, the same images at each report, and ``training/LABEL``, those of the last
        step.
        """

    def takes_images(self) -> bool:
        """Return whether the sink logs images, which need not be drawn otherwise."""
        return type(self).images is not Sink.images

    def message(self, text: str) -> None:
        """Show a sentence to the user."""

    def ended(self, outcome: str) -> None:
        """Show how the training ended; only `close` follows."""

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

    def takes_images(self) -> bool:
        return not self._dropped and self.sink.takes_images()

    def message(self, text: str) -> None:
        self._try(self.sink.message, text)

    def ended(self, outcome: str) -> None:
        self._try(self.sink.ended, outcome)

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


def reason(error: BaseException) -> str:
    """Return the text of an exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def group_of(name: str) -> str:
    """Return the group of a value: ``lr`` for ``lr/G``, ``scores`` for ``eval_frechet``, ``losses`` for ``G``."""
    group, slash, _ = name.partition("/")
    if not slash:
        group = "speed" if name == "data_wait" else "scores" if name.startswith(SCORE) else "losses"
    return group


def short(name: str) -> str:
    """Return the name of a value without its group."""
    return name.partition("/")[2] or name


def chart_of(name: str) -> str:
    """Return the chart that shows a value: its group's, or its own."""
    group = group_of(name)
    return group if group in TOGETHER else name


def row_and_label(name: str) -> tuple[str, str]:
    """Split the name of an image: ``samples/NAME``, where NAME may have slashes, or ``training``, and the label."""
    group, _, rest = name.partition("/")
    sample, _, label = rest.rpartition("/")
    return (f"{group}/{sample}", label) if group == SAMPLES else (group, rest)


def rows_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of images by their row, so that similar images are neighbours."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(row_and_label(name)[0], []).append(name)
    return rows
