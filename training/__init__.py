"""Training: the step, the state of a run, checkpoints, schedulers, and the monitor; `train` and `build` for Python."""

from .from_python import build, train
from .report import Report

__all__ = ["Report", "build", "train"]
