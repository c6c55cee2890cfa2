"""The share of time spent waiting for data, on a clock that the test turns."""

from __future__ import annotations

import pytest

from data import DataTimer


class Clock:
    """Stands still unless it is turned."""

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


def test_share_is_the_time_until_batches_come_of_all_time_since_last_asked(clock):
    waiting = DataTimer()
    seen = []
    for batch in waiting.over(slowly(clock, 1.0, 4)):
        seen.append(batch)
        clock.now += 3.0  # the step
        if batch == 1:
            assert waiting.share() == 0.25
    assert seen == [0, 1, 2, 3]
    clock.now += 8.0  # a checkpoint
    assert waiting.share() == 2 / 16


def test_share_goes_on_over_several_iterations_and_starts_afresh_once_told(clock):
    waiting = DataTimer()
    for _ in range(2):
        for _ in waiting.over(slowly(clock, 1.0, 1)):
            clock.now += 1.0
    assert waiting.share() == 0.5
    clock.now += 1.0
    assert waiting.share() == 0.0
    assert waiting.share() == 0.0, "no time has passed"


def test_an_error_of_the_batches_comes_through(clock):
    def failing():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(DataTimer().over(failing()))
