"""Reports of a training to a function in Python, which may stop the training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from models import Model
from util.errors import JobError
from util.loggers import Sink
from util.loggers.sink import SCORE, group_of, reason
from util.signals import Signals

from .run import Run


@dataclass(frozen=True)
class Report:
    """Values that a training reports every ``--print_freq`` images, and after each score of ``--eval_freq``.

    Attributes:
        images: images seen, over all resumed runs.
        total: images seen at the end of the training.
        epoch: number of the current epoch, from 1.
        values: latest value of everything that loggers get, by name: losses, scores, and ``lr/G`` and so on.
        model: the model after its last step. Do not change it.
    """

    images: int
    total: int
    epoch: int
    values: Mapping[str, float]
    model: Model

    @property
    def losses(self) -> dict[str, float]:
        """Latest losses by name: means between two reports."""
        return {name: value for name, value in self.values.items() if group_of(name) == "losses"}

    @property
    def scores(self) -> dict[str, float]:
        """Latest scores of ``--eval_freq``, by name: ``frechet`` and so on; empty before the first."""
        return {name.removeprefix(SCORE): value for name, value in self.values.items() if name.startswith(SCORE)}

    def pictures(self) -> dict[str, Tensor]:
        """Draw the images of the last step by name, such as ``real_A`` and ``fake_B``: [B, 1 or 3, H, W] in [-1, 1]."""
        visuals = self.model.visuals()
        return visuals | self.model.drawn(visuals)


OnReport: TypeAlias = Callable[[Report], Any]
"""Takes a report; returns True to stop the training."""


class ReportSink(Sink):
    """Calls a function for each report. If it returns True or fails, the training saves and stops.

    Args:
        call: the function; None: do nothing.
        run: the training.
        total: images seen at its end.
        signals: asked for the stop.
    """

    def __init__(self, call: OnReport | None, run: Run, total: int, signals: Signals) -> None:
        self._error: Exception | None = None
        self._stopped = False  # of several processes, all stop one step later
        self._call, self._run, self._total, self._signals = call, run, total, signals
        self._values: dict[str, float] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values, and call the function."""
        self._values |= values
        report = Report(step, self._total, self._run.progress.epoch, dict(self._values), self._run.model)
        if not self._call or self._stopped or not report.losses:  # no losses: a score that a signal had put off
            return
        try:
            answer = self._call(report)
            if answer not in (None, False, True):
                raise TypeError(f"on_report returned {type(answer).__name__}: return True to stop the training, or "
                                "nothing")
        except Exception as error:
            self._error, answer = error, True
        if answer:
            self._stopped = True
            self._signals.ask()

    def raise_error(self) -> None:
        """Raise the error of the function, if it has failed in the first process. All processes must call it.

        Raises:
            Exception: the error; in other processes a `JobError`.
        """
        if self._call and (failure := self._run.world.same(self._error and reason(self._error))):
            raise self._error or JobError(f"on_report has failed in the first process: {failure}", said=True)
