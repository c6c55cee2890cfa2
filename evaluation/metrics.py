"""``evaluate.py metrics``: a folder of translations against real images and true counterparts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from metrics.cache import default_folder
from metrics.inception import RESIZERS
from metrics.measures import METRICS
from metrics.report import Request, score, table, write_json
from util.device import choose_device

from .flags import add_bootstrap_flags, add_device_flags, add_json_flag, add_lpips_flags, add_vgg_flags, key_value

SUMMARY = "score a folder of translations"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("--outputs", type=Path, required=True, metavar="DIR", help="the translations; required")
    add("--real", type=Path, required=True, metavar="DIR",
        help="real images of the target domain; required")
    add("--inputs", type=Path, metavar="DIR",
        help="what was translated, under the same names as the outputs: scored too (default: left out)")
    add("--truth", type=Path, metavar="DIR",
        help="true counterparts, under the same names as the outputs, for scores of pairs (default: left out)")
    add("--paired", action="store_true",
        help="the real images are the true counterparts, one for each output (default: off)")
    add("--metrics", type=lambda text: tuple(text.split(",")), metavar="NAME,...",
        help=f"what to compute, of {', '.join(METRICS)} (default: all whose weights and counterparts are given or "
             "bundled)")
    add_vgg_flags(parser)
    add("--inception_weights", type=Path, metavar="FILE",
        help="weights of torch-fidelity's Inception, for fid, kid and inception_prdc (default: downloaded once)")
    add("--resize", choices=list(RESIZERS), default="clean",
        help="how images come to Inception's size: antialiased, or as in 2017 (default: %(default)s)")
    add_lpips_flags(parser)
    add_bootstrap_flags(parser)
    add("--cache_dir", type=Path, metavar="DIR", default=default_folder(),
        help="features of real images and inputs are kept there, by content; none: nowhere (default: %(default)s)")
    add_device_flags(parser)
    add_json_flag(parser)
    add("--record", type=key_value, nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="further entries for the JSON file; numbers are stored as numbers (default: none)")


def run(flags: argparse.Namespace) -> None:
    """Score, print, write."""
    scores = score(Request(
        outputs=flags.outputs, real=flags.real, inputs=flags.inputs, truth=flags.truth, paired=flags.paired,
        metrics=flags.metrics, layer=flags.layer, weights=flags.vgg_weights, resize=flags.resize,
        inception_weights=flags.inception_weights, lpips_net=flags.lpips_net, lpips_weights=flags.lpips_weights,
        device=choose_device(flags.gpu_ids), batch_size=flags.batch_size, bootstrap=flags.bootstrap, seed=flags.seed,
        cache=None if str(flags.cache_dir) == "none" else flags.cache_dir, recorded=dict(flags.record),
    ))
    print(table(scores))
    for warning in scores["warnings"]:
        print(f"evaluate.py: warning: {warning}", file=sys.stderr)
    if flags.json:
        write_json(flags.json, scores)
