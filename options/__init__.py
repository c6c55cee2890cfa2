"""Command lines: flag groups, the parser, and the typed options that it returns."""

from .common import DataFlags, NetworkFlags, RunFlags, SpeedFlags, has_crop, usable_cores
from .export import EXPORT, ExportFlags
from .flag import flag
from .options import Options
from .parser import OwnsFlags, Program, parse
from .recorded import recorded_flags
from .test import TEST, TestFlags
from .train import TRAIN, DisplayFlags, EvalFlags, LoadingFlags, TrainFlags

__all__ = [
    "EXPORT", "TEST", "TRAIN", "DataFlags", "DisplayFlags", "EvalFlags", "ExportFlags", "LoadingFlags", "NetworkFlags",
    "Options", "OwnsFlags", "Program", "RunFlags", "SpeedFlags", "TestFlags", "TrainFlags", "flag", "has_crop", "parse",
    "recorded_flags", "usable_cores",
]
