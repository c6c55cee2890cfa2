"""Command lines: flag groups, the parser, and the typed options that it returns."""

from .common import DataFlags, NetworkFlags, RunFlags, SpeedFlags, has_crop
from .flag import flag
from .options import Options
from .parser import OwnsFlags, Program, parse
from .test import TEST, TestFlags
from .train import TRAIN, DisplayFlags, EvalFlags, LoadingFlags, TrainFlags

__all__ = [
    "TEST", "TRAIN", "DataFlags", "DisplayFlags", "EvalFlags", "LoadingFlags", "NetworkFlags", "Options", "OwnsFlags",
    "Program", "RunFlags", "SpeedFlags", "TestFlags", "TrainFlags", "flag", "has_crop", "parse",
]
