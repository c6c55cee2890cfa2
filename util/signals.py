"""Signals that ask a training to stop: it finishes its step and saves before it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from .distributed import World

CODES = {getattr(signal, name): code
         for name, code in (("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129), ("SIGUSR1", 75))
         if hasattr(signal, name)}  # Windows knows the first two alone
"""Exit codes that schedulers understand: ended, interrupted, terminal closed, and 75 (EX_TEMPFAIL): run me again."""
NOTICE = b"\nSIGINT: the training saves after this step and stops; once more, and it ends at once\n"


class Signals:
    """While ``with Signals(world) as signals`` runs, the signals of `CODES` end the process with their code.

    At once, but inside ``with signals.held()``: there they wait until the program asks with `agreed`, on which all
    processes stop after the same step, whichever of them has got the signal. A second SIGINT does not wait.

    Attributes:
        code: the exit code that the processes have agreed on; 0 as long as there is none.
    """

    def __init__(self, world: World) -> None:
        self.code = 0
        self._world = world
        self._held = False
        self._received = 0
        self._pending: Callable[[], int] = lambda: 0
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        # What the parent had this process ignore (nohup, a shell's background job) stays ignored.
        self._handlers = {s: signal.getsignal(s) for s in CODES if signal.getsignal(s) is not signal.SIG_IGN}
        for number in self._handlers:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block signals wait for `agreed`; what it has not told by then is forgotten."""
        self._held = True
        try:
            yield
            self._pending()  # no process may leave while the others still ask it
        except BaseException:
            # When a job breaks down torchrun ends its processes at once, and they have yet to say why.
            self._held = self._world.size > 1
            raise
        self._held = False

    @property
    def received(self) -> bool:
        """Whether a signal is pending."""
        return self._received != 0

    def agreed(self) -> bool:
        """Whether to stop now. All processes must call it once a step and get the same answer.

        Processes find their answer together while the next step runs, so that asking costs no waiting, and a signal
        counts one step later.
        """
        answer = self._world.start_max(self._received)
        if self._world.size == 1:
            self._pending = answer
        self.code, self._pending = self._pending(), answer
        return self.code != 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        again = number == signal.SIGINT and self._received == CODES[signal.SIGINT]
        if again or not self._held:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(CODES[signal.Signals(number)])
        self._received = CODES[signal.Signals(number)]
        if number == signal.SIGINT and self._world.is_first:
            with suppress(OSError):  # Ctrl-C ends tee as well, and a terminal may be closed
                os.write(2, NOTICE)  # Python's own files cannot be written to in mid-write


def leave_to_parent(worker: int) -> None:
    """Ignore the signals of `CODES` in a process that loads data, however often they come to the whole group.

    The parent answers them, and needs its workers until the step is done. It ends a worker that hangs with SIGKILL.
    """
    del worker
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = silent_about_connections


def silent_about_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell uncaught errors as Python does, but not those of threads that still serve a parent which is leaving."""
    if not issubclass(kind, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)
