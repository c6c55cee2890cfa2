"""Translations of several pages at once, which can be cancelled."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inference import Translator

LONG = 2**19  # pixels of an image whose translation is long
WAIT = 0.1  # seconds between two looks at whether a waiting job was cancelled

Check = Callable[[], None]
"""Raises `Cancelled` if the job was cancelled."""


class Cancelled(Exception):  # noqa: N818 - no error
    """The page no longer wants the translation."""


class Jobs:
    """Runs one long and one short translation at a time, so that a long one does not hold up the short ones."""

    def __init__(self) -> None:
        self._lanes = {True: threading.Lock(), False: threading.Lock()}
        self._current: dict[str, threading.Event] = {}

    @contextmanager
    def job(self, page: str, *, long: bool) -> Iterator[Check]:
        """Cancel the earlier job of a page, wait for the turn of the new one, and yield its `Check`.

        Raises:
            Cancelled: the job was cancelled.
        """
        self.cancel(page)
        cancelled = self._current[page] = threading.Event()

        def check() -> None:
            if cancelled.is_set():
                raise Cancelled

        lane = self._lanes[long]
        try:
            while not lane.acquire(timeout=WAIT):
                check()
            try:
                check()
                yield check
            finally:
                lane.release()
        finally:
            if self._current.get(page) is cancelled:
                del self._current[page]

    def cancel(self, page: str) -> None:
        """Cancel the job of a page, if it has one."""
        if cancelled := self._current.get(page):
            cancelled.set()


@contextmanager
def interruptible(translator: Translator, check: Check) -> Iterator[None]:
    """Call ``check`` before each layer of a translator's networks, inside the block."""
    hooks = [module.register_forward_pre_hook(lambda *_: check())
             for network in translator.networks.values() for module in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
