"""Output of the subcommands: tables, warnings and JSON files."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from util.errors import UserError
from util.files import replacing


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0) -> str:
    """Align the columns of rows, the first ``left`` of them to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) if place < left else cell.rjust(width)
                               for place, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    print(f"warning: {text}", file=sys.stderr)


def require_place(path: Path) -> None:
    """Check before the work that `write_json` will find a place.

    Raises:
        UserError: ``path`` is a folder, cannot be written, or is a file that the user has protected: a rename, as by
            `write_json`, would replace it nevertheless.
    """
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    protected = path.exists() and not os.access(path, os.W_OK)
    if path.is_dir() or protected or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"'{path}' cannot be written there; choose another file")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically; missing folders are made.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with replacing(path) as partial:
            # File names in it may hold bytes that are no text: JSON escapes them in the same way.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"'{path}' cannot be written ({error.strerror}); choose another file") from None
