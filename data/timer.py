"""The share of a training's time that is spent waiting for data."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class DataTimer:
    """Measure the share of time that passes inside an iterator.

    A GPU runs behind the host: while the host waits, the device may still be busy. Then the share is an upper bound.
    """

    def __init__(self) -> None:
        self._waited, self._since = 0.0, time.perf_counter()

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield ``batches``; the time until each one comes is counted."""
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
        """Return the share of time since the last call, or since the beginning, in [0, 1]."""
        now = time.perf_counter()
        passed, waited = now - self._since, self._waited
        self._waited, self._since = 0.0, now
        return min(1.0, waited / passed) if passed > 0 else 0.0
