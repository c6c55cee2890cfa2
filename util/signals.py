"""Signals that ask a training to stop: the training finishes its step and saves before it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from .distributed import World

CODES = {getattr(signal, name): code
         for name, code in (("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129), ("SIGUSR1", 75))
         if hasattr(signal, name)}  # Windows knows only the first two
"""Exit codes that schedulers understand; 75 is EX_TEMPFAIL: run the program again."""
ASKED = 1
"""Code of a stop that the program asks for itself, by `Signals.ask`; lower than those of signals."""
NOTICE = b"\nSIGINT: the training saves after this step and stops; once more, and it ends at once\n"


class Signals:
    """While ``with Signals(world) as signals`` runs, the signals of `CODES` end the process with their code.

    They end it immediately, except inside ``with signals.held()``. There they wait until the program calls `agreed`.
    Then all processes stop after the same step, whichever of them got the signal. A second SIGINT does not wait.
    In a thread other than the main one, where Python allows no handlers, signals are left to the program.

    Attributes:
        code: the exit code that the processes have agreed on; 0 before that.
    """

    def __init__(self, world: World) -> None:
        self.code = 0
        self._world = world
        self._held = False
        self._received = 0
        self._pending: Callable[[], int] = lambda: 0
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
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
        """Let signals wait for `agreed` inside the block; signals that are still pending at its end are dropped."""
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
        """True if a signal is pending."""
        return self._received != 0

    def ask(self) -> None:
        """Ask for a stop after this step, as a signal does; the code is `ASKED`."""
        self._received = self._received or ASKED

    def agreed(self) -> bool:
        """Return whether to stop now. All processes must call it once a step, and get the same answer.

        The processes exchange their signals while the next step runs. So no process waits, and all stop one step later.
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
    """Ignore the signals of `CODES` in a worker process; the whole process group may get them several times.

    The parent answers them, and needs its workers until the end of the step. It ends a worker that hangs with SIGKILL.
    """
    del worker
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = silent_about_connections


def silent_about_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print uncaught errors as Python does, except broken connections to a parent process that is ending."""
    if not issubclass(kind, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)
