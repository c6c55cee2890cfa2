"""Score translated images.

    python evaluate.py metrics --outputs DIR --real DIR [--truth DIR] ...      # against real images
    python evaluate.py diversity --outputs DIR DIR ...                         # styles against each other
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metrics.diversity import score_styles
from metrics.report import Request, score, table, write_json
from options.parser import HelpFormatter, Parser
from util.device import choose_device
from util.errors import run_program


class Command(NamedTuple):
    """A subcommand: what it does, its flags, and its work."""

    summary: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def _metrics_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--outputs", type=Path, required=True, metavar="DIR", help="the translations; required")
    add("--real", type=Path, required=True, metavar="DIR",
        help="real images of the target domain, for the Fréchet distance; required")
    add("--inputs", type=Path, metavar="DIR",
        help="what was translated, under the same names as the outputs: scored too (default: left out)")
    add("--truth", type=Path, metavar="DIR",
        help="true counterparts, under the same names as the outputs: line IoU and colour error (default: left out)")
    _shared_flags(parser)
    add("--record", type=_record, nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="further entries for the JSON file; numbers are stored as numbers (default: none)")


def _diversity_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, metavar="DIR",
                        help="the translations, a folder for each style, under the same names; required")
    _shared_flags(parser)


def _shared_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--layer", default="relu4_3", metavar="NAME",
        help="VGG16 layer whose features are compared (default: %(default)s)")
    add("--vgg_weights", default="bundled", metavar="NAME",
        help="VGG16 weights: bundled, imagenet or a file (default: %(default)s)")
    add("--batch_size", type=_positive, default=16, metavar="INT", help="images in a batch (default: %(default)s)")
    add("--gpu_ids", default="auto", metavar="ID",
        help="device: a GPU's number, -1 for the CPU, auto for the best there is (default: %(default)s)")
    add("--json", type=Path, metavar="FILE",
        help="also write the scores, and what they depend on, to this file (default: no file)")


def _run_metrics(flags: argparse.Namespace) -> None:
    request = Request(
        outputs=flags.outputs, real=flags.real, inputs=flags.inputs, truth=flags.truth, layer=flags.layer,
        weights=flags.vgg_weights, device=choose_device(flags.gpu_ids), batch_size=flags.batch_size,
        recorded=dict(flags.record),
    )
    scores = score(request)
    print(table(scores))
    if flags.json:
        write_json(flags.json, scores)


def _run_diversity(flags: argparse.Namespace) -> None:
    scores = score_styles(flags.outputs, layer=flags.layer, weights=flags.vgg_weights,
                          device=choose_device(flags.gpu_ids), batch_size=flags.batch_size)
    print(f"mean distance between two styles of an image     {scores['distance_styles']:10.4g}\n"
          f"mean distance between two images in one style    {scores['distance_images']:10.4g}\n"
          f"quotient (higher is more diverse)                {scores['style_diversity']:10.4g}")
    if flags.json:
        write_json(flags.json, scores)


COMMANDS = {
    "metrics": Command("score a folder of translations", _metrics_flags, _run_metrics),
    "diversity": Command("compare translations of the same images in several styles", _diversity_flags, _run_diversity),
}


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def _record(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``; a value that JSON reads as a finite number is one."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form KEY=VALUE")
    try:
        number = json.loads(value)
    except ValueError:
        return key, value
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    return key, number if is_number else value


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The subcommand and its flags, checked one by one."""
    parser = Parser(prog="evaluate.py", description=__doc__.partition(".")[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_flags(commands.add_parser(
            name, help=command.summary, description=command.summary.capitalize() + ".", allow_abbrev=False,
            formatter_class=HelpFormatter,
        ))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand that the command line names."""
    flags = parse(argv)
    COMMANDS[flags.command].run(flags)


if __name__ == "__main__":
    run_program("evaluate.py", lambda: main(sys.argv[1:]))
