"""The terminal's share of the logs: a progress bar on a screen, plain lines in a file."""

from __future__ import annotations

import math
import operator
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from .loggers.sink import Sink, group_of

SMOOTHING = 0.8  # weight of the past in the bar's losses: about the last five reports
DETAILS = ("gradient", "lr", "memory", "speed")  # groups that a line has no room for; it has a rate of its own
REPORT_EVERY = 60.0  # seconds between two lines of `watched`
Item = TypeVar("Item")


class MessageSink(Sink):
    """Sentences for the user on standard output, and nothing else."""

    def message(self, text: str) -> None:
        """Print a line."""
        print(printable(text), flush=True)


class TerminalSink(Sink):
    """Progress with rate, time left and losses, on standard output.

    On a screen: a bar that shows smoothed losses, and above it a line for each report. In a file or a pipe:
    the lines alone, without control characters.

    Args:
        total: images the run will have seen at its end.
        initial: images seen before this process started; they do not count for the rate.
    """

    def __init__(self, total: int, initial: int = 0) -> None:
        self.total = total
        self.initial = initial
        self.seen = initial
        self._start = time.monotonic()
        self._smoothed: dict[str, float] = {}
        self._bar = self._open_bar()

    def _open_bar(self) -> Any:
        if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            return None
        from tqdm import tqdm  # noqa: PLC0415 - a run whose output goes to a file does without

        return tqdm(
            total=self.total, initial=self.initial, file=sys.stdout, dynamic_ncols=True, miniters=1,
            bar_format="{percentage:3.0f}%|{bar:12}| {n_fmt}/{total_fmt}{postfix}",
        )

    def advance(self, images: int) -> None:
        """Count images that were just trained on."""
        self.seen += images
        if self._bar is not None:
            pace = self._pace(self.seen)
            room = shutil.get_terminal_size().columns - len(f"100%|{'':12}| {self.total}/{self.total}, {pace}  ")
            self._bar.set_postfix_str(f"{pace}  {fitting(self._smoothed, room)}".rstrip(), refresh=False)
            self._bar.update(images)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Print one line of values at ``step`` images seen, without those that are for curves alone."""
        values = {name: value for name, value in values.items()
                  if name == "data_wait" or group_of(name) not in DETAILS}
        for name, value in values.items():
            past = self._smoothed.get(name, value)
            # One value that is not finite must not hide all that follow.
            self._smoothed[name] = SMOOTHING * past + (1 - SMOOTHING) * value if math.isfinite(past) else value
        self.message(f"{step}/{self.total}  {self._pace(step)}  {format_values(values)}".rstrip())

    def message(self, text: str) -> None:
        """Print a line; the bar stays below it."""
        if self._bar is None:
            print(printable(text), flush=True)
        else:
            self._bar.write(printable(text), file=sys.stdout)

    def close(self) -> None:
        """Leave the bar as it is and end its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _pace(self, step: int) -> str:
        """Rate since this process started, and the time that the rest takes at this rate."""
        seconds = time.monotonic() - self._start
        rate = (step - self.initial) / seconds if seconds > 0 else 0.0
        left = format_seconds(max(self.total - step, 0) / rate) if rate > 0 else "?"
        return f"{rate:.3g} images/s, {left} left"


def printable(text: str) -> str:
    """The text with escapes for what standard output cannot hold: file names may hold anything."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def watched(items: Iterable[Item], what: str, total: int = 0) -> Iterator[Item]:
    """The items, while standard error shows how many are done: by a bar on a screen, else by a line a minute.

    Args:
        items: each takes some time.
        what: the line's first words.
        total: how many there are, where ``items`` has no length.
    """
    total = total or operator.length_hint(items)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from tqdm import tqdm  # noqa: PLC0415 - as above

        yield from tqdm(items, desc=what, total=total, delay=1, leave=False, file=sys.stderr, dynamic_ncols=True)
        return
    start = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= REPORT_EVERY:
            left = format_seconds((now - start) / done * (total - done))
            print(f"{what}: {done}/{total}, {left} left", file=sys.stderr, flush=True)
            said = now
        yield item


def format_seconds(seconds: float) -> str:
    """Whole seconds as h:mm:ss; hours are not folded into days."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"


def format_values(values: Mapping[str, float]) -> str:
    """Names and values to four digits, in one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def fitting(values: Mapping[str, float], width: int) -> str:
    """As many of the first values as a line of ``width`` characters holds, for half a number is a wrong one."""
    names = list(values)
    while names and len(line := format_values({name: values[name] for name in names})) >= width:
        names.pop()
    return line if names else ""
