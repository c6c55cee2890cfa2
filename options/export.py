"""Flags of ``export.py``."""

import re
from dataclasses import dataclass
from pathlib import Path

from util.errors import UserError

from .flag import flag, flags_of
from .options import Options
from .test import TestProgram


def hub_name(text: str) -> str:
    """Convert the name of a model on the Hugging Face Hub."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise ValueError(f"'{text}' is not of the form OWNER/NAME")
    return text


@dataclass(frozen=True)
class ExportFlags:
    """The file or folder to write."""

    format: str = flag("onnx", "onnx; pt2: a file of torch.export; hub: a folder to share, with a model card",
                       choices=("onnx", "pt2", "hub"))
    output: str = flag("", "file to write, or folder for hub; without it, checkpoints_dir/name/EPOCH_net_G.onnx or "
                       ".pt2, or hub/name")
    uint8: bool = flag(False, "for onnx and pt2: images are [B, H, W, C] from 0 to 255, scaled inside the graph; "
                       "otherwise [B, C, H, W] of float32 in [-1, 1]")


@dataclass(frozen=True)
class HubFlags:
    """Folder to share (--format hub)."""

    half: bool = flag(False, "write the weights as float16: half the size, and translations that differ a little")
    license: str = flag("", "licence of the weights, as the Hub names it: mit, cc-by-4.0, ...")
    dataset: str = flag("", "name of the training images; without it, the name of their folder")
    push: str = flag("", "also upload the folder as this model of the Hugging Face Hub: OWNER/NAME", parse=hub_name)


class ExportProgram(TestProgram):
    """``export.py``."""

    name = "export.py"
    description = ("Write a trained generator for other programs, or to share it. The flags of test.py choose the "
                   "generator; those about images, pages and speed are accepted and have no effect, but --dataroot "
                   "and --results_dir give a model card its pictures and scores.")
    flags = (*TestProgram.flags, ExportFlags, HubFlags)

    @classmethod
    def check(cls, options: Options) -> None:
        flags = options[ExportFlags]
        of_others = ("uint8", "style_image") if flags.format == "hub" else [f.name for f in flags_of(HubFlags)]
        if wrong := [name for name in of_others if name in options.typed]:
            raise UserError(f"--{wrong[0]} has no meaning for --format {flags.format}: leave it out")
        if flags.format != "hub" and flags.output and Path(flags.output).suffix != f".{flags.format}":
            raise UserError(f"--output {flags.output} should end in .{flags.format}, which is what --format writes")


EXPORT = ExportProgram()
