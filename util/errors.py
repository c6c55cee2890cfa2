"""The one exception that means 'the user can fix this'."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """A mistake in the command line, the data or a file: one sentence saying what, where and what to do."""


def run_program(name: str, main: Callable[[], None]) -> NoReturn:
    """Run ``main`` and end the process: 0 on success, 2 after a `UserError`, 130 after Ctrl-C.

    A user's mistake is printed as one line on standard error; every other exception keeps its traceback.
    """
    try:
        main()
    except UserError as error:
        sys.stderr.write(f"{name}: error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: interrupted\n")
        sys.exit(130)
    sys.exit(0)
