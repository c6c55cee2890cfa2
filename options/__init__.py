"""Command lines: groups of flags, their parser, and the options of a run."""

from .common import DataFlags, DeviceFlags, NetworkFlags, RunFlags, SpeedFlags, has_crop, usable_cores
from .export import EXPORT, ExportFlags, HubFlags
from .flag import REQUIRED, flag
from .options import Options
from .parser import arguments, parse_flags, parse_known_flags
from .precedence import FlagOwner, Program, parse
from .recorded import recorded_flags
from .test import TEST, TestFlags
from .train import TRAIN, DisplayFlags, EvalFlags, LoadingFlags, TrainFlags

__all__ = [
    "EXPORT", "REQUIRED", "TEST", "TRAIN", "DataFlags", "DeviceFlags", "DisplayFlags", "EvalFlags", "ExportFlags",
    "FlagOwner", "HubFlags", "LoadingFlags", "NetworkFlags", "Options", "Program", "RunFlags", "SpeedFlags",
    "TestFlags", "TrainFlags", "arguments", "flag", "has_crop", "parse", "parse_flags", "parse_known_flags",
    "recorded_flags", "usable_cores",
]
