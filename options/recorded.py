"""The flags of an experiment's training."""

import json
from pathlib import Path
from typing import Any

from util.errors import UserError

FILE = "train_opt.json"


def recorded_flags(folder: Path) -> dict[str, Any] | None:
    """Read the flags in ``train_opt.json`` of an experiment; None without such a file.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    try:
        if not path.is_file():
            return None
        recorded = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(recorded, dict):
            raise ValueError("it holds no flags")
    except (OSError, ValueError, RecursionError) as error:
        raise unusable(folder, error) from None
    return recorded


def unusable(folder: Path, error: Exception) -> UserError:
    """Return the error for a damaged ``train_opt.json``."""
    return UserError(f"{folder / FILE} cannot be used ({error}); repair or remove it, and type the flags of the "
                     "architecture")
