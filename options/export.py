"""Flags of ``export.py``."""

from dataclasses import dataclass

from .flag import flag
from .test import TestProgram


@dataclass(frozen=True)
class ExportFlags:
    """The exported file."""

    format: str = flag("onnx", "onnx, or pt2: a file of torch.export", choices=("onnx", "pt2"))
    output: str = flag("", "file to write; without it, checkpoints_dir/name/EPOCH_net_G.onnx or .pt2")
    uint8: bool = flag(False, "images are [B, H, W, C] from 0 to 255, scaled inside the graph; otherwise "
                       "[B, C, H, W] of float32 in [-1, 1]")


class ExportProgram(TestProgram):
    """``export.py``."""

    name = "export.py"
    description = ("Write a trained generator as a file for other programs. The flags of test.py choose the generator; "
                   "those about images, pages and speed are accepted and have no effect.")
    flags = (*TestProgram.flags, ExportFlags)


EXPORT = ExportProgram()
