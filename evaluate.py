"""Score translated images.

    python evaluate.py metrics --outputs DIR --real DIR [--truth DIR] ...      # against real images
    python evaluate.py metrics --name NAME [--dataroot DIR]                    # the same, translated first
    python evaluate.py epochs --name NAME [--dataroot DIR]                     # every checkpoint of an experiment
    python evaluate.py compare NAME NAME ...                                   # several experiments side by side
    python evaluate.py diversity --outputs DIR DIR ...                         # styles against each other
    python evaluate.py structure --source IMG --candidates IMG IMG --out DIR   # maps of errors of structure
    python evaluate.py cityscapes --labels DIR --predictions DIR --out DIR     # segmentation scores
    python evaluate.py judge --outputs DIR                                     # the same for atlas2satellite
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from evaluation import cityscapes, compare, diversity, epochs, judge, metrics, structure
from options import parse_flags
from util.errors import UserError, run_program

COMMANDS: dict[str, ModuleType] = {
    "metrics": metrics,
    "diversity": diversity,
    "epochs": epochs,
    "compare": compare,
    "structure": structure,
    "cityscapes": cityscapes,
    "judge": judge,
}


def parse(argv: Sequence[str] | None = None) -> tuple[ModuleType, Any]:
    """Return the subcommand of the command line and its flags."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help"):
        print(f"{__doc__}\nevaluate.py COMMAND --help lists the flags of a command.")
        sys.exit()
    if name not in COMMANDS:
        problem = f"'{name}' is not a command" if name else "a command is missing"
        raise UserError(f"{problem}; choose one of {', '.join(COMMANDS)} (see --help)")
    return COMMANDS[name], parse_flags(COMMANDS[name].Flags, f"evaluate.py {name}", rest)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand of the command line."""
    command, flags = parse(argv)
    command.run(flags)


if __name__ == "__main__":
    run_program("evaluate.py", main)
