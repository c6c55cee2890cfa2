"""Flags of ``export.py``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .flag import flag
from .test import TEST


@dataclass(frozen=True)
class ExportFlags:
    """What is written."""

    format: str = flag("onnx", "onnx, or pt2: a file of torch.export", choices=("onnx", "pt2"))
    output: str = flag("", "the file; left out, checkpoints_dir/name/EPOCH_net_G.onnx or .pt2")
    uint8: bool = flag(False, "images in and out are [B, H, W, C] of 0 to 255, scaled inside the graph; otherwise "
                       "[B, C, H, W] of float32 in [-1, 1]")


EXPORT = replace(
    TEST, name="export.py", groups=(*TEST.groups, ExportFlags),
    description="Write a trained generator as a file for other programs. The flags that choose the generator are "
    "test.py's; those about images, pages and speed are accepted and have no effect.")
