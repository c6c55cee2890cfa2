"""Standard streams that may fail: closed terminals, readers that have ended, full disks, closed descriptors."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, cast


class Unfailing:
    """A text stream that drops text that ``stream`` cannot write, and reports the first failure; otherwise like it.

    Every write is tried, since a full disk may have room again.
    """

    def __init__(self, stream: TextIO, report: Callable[[Exception], object] = lambda error: None) -> None:
        self._stream, self._report, self._reported = stream, report, False

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines, or drop them."""
        self._try(lambda: self._stream.writelines(lines))

    def flush(self) -> None:
        """Flush the stream, if it lets itself be flushed."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            if not self._reported:
                self._reported = True
                self._report(error)


def open_standard_streams() -> None:
    """Connect standard streams that are not open (``>&-``) with the null device.

    Otherwise the next file that the program opens, a checkpoint for instance, gets the number 1 or 2, and libraries
    write their messages into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number, this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - never closed


def outlive_stderr() -> None:
    """Let no failure of standard error reach the program: it has nowhere to be reported."""
    sys.stderr = cast(TextIO, Unfailing(sys.stderr))


def outlive_stdout(program: str) -> None:
    """Let no failure of standard output reach the program; a warning on standard error reports the first one."""
    def report(error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(f"{program}: warning: standard output cannot be written ({reason}); the program goes on "
                         "without it\n")

    sys.stdout = cast(TextIO, Unfailing(sys.stdout, report))
