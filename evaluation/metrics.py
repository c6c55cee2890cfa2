"""``evaluate.py metrics``: a folder of translations against real images and true counterparts."""

from __future__ import annotations

import argparse
from pathlib import Path

from metrics.report import Request, score, table, write_json
from util.device import choose_device

from .flags import add_device_flags, add_json_flag, add_vgg_flags, key_value

SUMMARY = "score a folder of translations"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("--outputs", type=Path, required=True, metavar="DIR", help="the translations; required")
    add("--real", type=Path, required=True, metavar="DIR",
        help="real images of the target domain, for the Fréchet distance; required")
    add("--inputs", type=Path, metavar="DIR",
        help="what was translated, under the same names as the outputs: scored too (default: left out)")
    add("--truth", type=Path, metavar="DIR",
        help="true counterparts, under the same names as the outputs: line IoU and colour error (default: left out)")
    add_vgg_flags(parser)
    add_device_flags(parser)
    add_json_flag(parser)
    add("--record", type=key_value, nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="further entries for the JSON file; numbers are stored as numbers (default: none)")


def run(flags: argparse.Namespace) -> None:
    """Score, print, write."""
    scores = score(Request(
        outputs=flags.outputs, real=flags.real, inputs=flags.inputs, truth=flags.truth, layer=flags.layer,
        weights=flags.vgg_weights, device=choose_device(flags.gpu_ids), batch_size=flags.batch_size,
        recorded=dict(flags.record),
    ))
    print(table(scores))
    if flags.json:
        write_json(flags.json, scores)
