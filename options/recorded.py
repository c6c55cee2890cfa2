"""The flags that an experiment was trained with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from util.errors import UserError

FILE = "train_opt.json"


def recorded_flags(folder: Path) -> dict[str, Any] | None:
    """What ``train_opt.json`` in an experiment's folder holds; None where there is no such file.

    Raises:
        UserError: it is damaged.
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
    """What to tell about a ``train_opt.json`` that is damaged."""
    return UserError(f"{folder / FILE} cannot be used ({error}); repair or remove it, and type the flags of the "
                     "architecture")
