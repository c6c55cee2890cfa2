"""The share of time spent waiting for data, on a clock that the test sets."""

from __future__ import annotations

import pytest

from data import DataTimer


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("data.timer.time", clock)
    return clock


def slowly(clock: Clock, seconds: float, count: int):
    for number in range(count):
        clock.now += seconds
        yield number


def test_share_is_the_time_until_batches_come_since_the_last_call(clock):
    timer = DataTimer()
    seen = []
    for batch in timer.over(slowly(clock, 1.0, 4)):
        seen.append(batch)
        clock.now += 3.0  # the step
        if batch == 1:
            assert timer.share() == 0.25
    assert seen == [0, 1, 2, 3]
    clock.now += 8.0  # a checkpoint
    for _ in timer.over(slowly(clock, 1.0, 1)):
        clock.now += 1.0
    assert timer.share() == 3 / 18
    assert timer.share() == 0.0, "no time has passed"


def test_an_error_of_the_batches_is_raised(clock):
    with pytest.raises(ZeroDivisionError):
        list(DataTimer().over(1 / 0 for _ in range(3)))
