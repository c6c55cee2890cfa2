"""Score translated images.

    python evaluate.py metrics --outputs DIR --real DIR [--truth DIR] ...      # against real images
    python evaluate.py metrics --name NAME [--dataroot DIR]                    # the same, translated first
    python evaluate.py epochs --name NAME [--dataroot DIR]                     # every checkpoint of an experiment
    python evaluate.py compare NAME NAME ...                                   # several experiments side by side
    python evaluate.py diversity --outputs DIR DIR ...                         # styles against each other
    python evaluate.py structure --source IMG --candidates IMG IMG --out DIR   # maps of errors of structure
    python evaluate.py cityscapes --labels DIR --predictions DIR --out DIR     # segmentation scores
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from evaluation import cityscapes, compare, diversity, epochs, metrics, structure
from options.parser import HelpFormatter, Parser
from util.errors import run_program

COMMANDS: dict[str, ModuleType] = {
    "metrics": metrics,
    "diversity": diversity,
    "epochs": epochs,
    "compare": compare,
    "structure": structure,
    "cityscapes": cityscapes,
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(prog="evaluate.py", description=__doc__.partition(".")[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    for name, command in COMMANDS.items():
        command.add_flags(commands.add_parser(
            name, help=command.SUMMARY, description=command.SUMMARY.capitalize() + ".", allow_abbrev=False,
            formatter_class=HelpFormatter,
        ))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand of the command line."""
    flags = parse(argv)
    COMMANDS[flags.command].run(flags)


if __name__ == "__main__":
    run_program("evaluate.py", lambda: main(sys.argv[1:]))
