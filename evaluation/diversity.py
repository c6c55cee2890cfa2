"""``evaluate.py diversity``: translations of the same images in several styles."""

from __future__ import annotations

import argparse
from pathlib import Path

from metrics.diversity import score_styles
from metrics.report import write_json
from util.device import choose_device

from .flags import add_device_flags, add_json_flag, add_vgg_flags

SUMMARY = "compare translations of the same images in several styles"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, metavar="DIR",
                        help="the translations, a folder for each style, under the same names; required")
    add_vgg_flags(parser)
    add_device_flags(parser)
    add_json_flag(parser)


def run(flags: argparse.Namespace) -> None:
    """Score, print, write."""
    scores = score_styles(flags.outputs, layer=flags.layer, weights=flags.vgg_weights,
                          device=choose_device(flags.gpu_ids), batch_size=flags.batch_size)
    print(f"mean distance between two styles of an image     {scores['distance_styles']:10.4g}\n"
          f"mean distance between two images in one style    {scores['distance_images']:10.4g}\n"
          f"quotient (higher is more diverse)                {scores['style_diversity']:10.4g}")
    if flags.json:
        write_json(flags.json, scores)
