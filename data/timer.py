"""How much of a run's time goes into waiting for its data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class DataTimer:
    """Measures which share of the time passes inside an iterator.

    On a GPU, which runs behind the host, the host may wait while the device is still busy: the share is then an
    upper bound of what the data costs.
    """

    def __init__(self) -> None:
        self._waited, self._since = 0.0, time.perf_counter()

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each one comes counts as waiting."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - start
            yield batch

    def share(self) -> float:
        """Waiting, as a share of the time since the last call or the beginning; from 0 to 1."""
        now = time.perf_counter()
        passed, waited = now - self._since, self._waited
        self._waited, self._since = 0.0, now
        return min(1.0, waited / passed) if passed > 0 else 0.0
