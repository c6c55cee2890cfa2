"""Progress in the terminal: a bar on a screen, plain lines in a file."""

import math
import operator
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from .loggers.sink import Sink, group_of

SMOOTHING = 0.8  # weight of the past in the losses of the bar: about five reports
DETAILS = ("gradient", "lr", "memory", "speed")  # groups of values that lines leave out
REPORT_EVERY = 60.0  # seconds between two lines of `with_progress`
Item = TypeVar("Item")


class MessageSink(Sink):
    """Messages on standard output."""

    def message(self, text: str) -> None:
        """Print a line."""
        print(printable(text), flush=True)


class TerminalSink(Sink):
    """Rate, remaining time and losses on standard output.

    On a screen: a line per report, and below it a bar with smoothed losses. In a file or a pipe: only the lines,
    without control characters.

    Args:
        total: images seen at the end of the run.
        initial: images seen before this process; the rate leaves them out.
    """

    def __init__(self, total: int, initial: int = 0) -> None:
        self.total, self.initial, self.seen = total, initial, initial
        self._start = time.monotonic()
        self._smoothed: dict[str, float] = {}
        self._rate: float | None = None  # learning rate of the last line
        self._bar = self._open_bar()

    def _open_bar(self) -> Any:
        if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            return None
        from tqdm import tqdm  # noqa: PLC0415 - only for screens

        return tqdm(
            total=self.total, initial=self.initial, file=sys.stdout, dynamic_ncols=True, miniters=1,
            bar_format="{percentage:3.0f}%|{bar:12}| {n_fmt}/{total_fmt}{postfix}",
        )

    def advance(self, images: int) -> None:
        """Count images, and update the bar."""
        self.seen += images
        if self._bar is not None:
            pace = self._pace(self.seen)
            room = shutil.get_terminal_size().columns - len(f"100%|{'':12}| {self.total}/{self.total}, {pace}  ")
            self._bar.set_postfix_str(f"{pace}  {fitting(self._smoothed, room)}".rstrip(), refresh=False)
            self._bar.update(images)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Print a line of values at ``step`` images seen, without `DETAILS`, but with a new learning rate of G."""
        rate = values.get("lr/G", self._rate)
        new_rate, self._rate = {} if rate is None or rate == self._rate else {"lr": rate}, rate
        values = {name: value for name, value in values.items()
                  if name == "data_wait" or group_of(name) not in DETAILS}
        for name, value in values.items():
            past = self._smoothed.get(name, value)
            # A value that is not finite must not hide later ones.
            self._smoothed[name] = SMOOTHING * past + (1 - SMOOTHING) * value if math.isfinite(past) else value
        self.message(f"{step}/{self.total}  {self._pace(step)}  {format_values({**values, **new_rate})}".rstrip())

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is None:
            print(printable(text), flush=True)
        else:
            self._bar.write(printable(text), file=sys.stdout)

    def close(self) -> None:
        """Leave the bar, and end its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _pace(self, step: int) -> str:
        """Return the rate since the start of this process, and the remaining time at this rate."""
        seconds = time.monotonic() - self._start
        rate = (step - self.initial) / seconds if seconds > 0 else 0.0
        left = format_seconds(max(self.total - step, 0) / rate) if rate > 0 else "?"
        return f"{rate:.3g} images/s, {left} left"


def printable(text: str) -> str:
    """Escape the characters that standard output cannot encode; file names may hold any."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def with_progress(items: Iterable[Item], what: str, total: int = 0) -> Iterator[Item]:
    """Yield the items, and show the progress on standard error: a bar on a screen, else a line a minute.

    Args:
        items: items that take time.
        what: first words of the line.
        total: number of items, if ``items`` has no length.
    """
    total = total or operator.length_hint(items)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from tqdm import tqdm  # noqa: PLC0415 - as above

        yield from tqdm(items, desc=what, total=total, delay=1, leave=False, file=sys.stderr, dynamic_ncols=True)
        return
    start = reported = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - reported >= REPORT_EVERY:
            left = format_seconds((now - start) / done * (total - done))
            print(f"{what}: {done}/{total}, {left} left", file=sys.stderr, flush=True)
            reported = now
        yield item


def format_seconds(seconds: float) -> str:
    """Format seconds as h:mm:ss, without days."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"


def format_values(values: Mapping[str, float]) -> str:
    """Format names and values to four digits, in one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def fitting(values: Mapping[str, float], width: int) -> str:
    """Format as many of the first values as fit into ``width`` characters, without cutting a number."""
    names = list(values)
    while names and len(line := format_values({name: values[name] for name in names})) >= width:
        names.pop()
    return line if names else ""
