"""The flags of an experiment's training."""

import json
from pathlib import Path
from typing import Any

from util.errors import UserError
from util.hub_folders import CONFIG, is_hub_folder, read_config

FILE = "train_opt.json"


def recorded_flags(folder: Path) -> dict[str, Any] | None:
    """Read the flags in ``train_opt.json`` of an experiment, or in the description of a hub folder; None without both.

    Raises:
        UserError: the file is damaged.
    """
    if is_hub_folder(folder):
        config = read_config(folder)
        return {"model": config["model"], **config["flags"]}
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
    """Return the error for a file of flags that is damaged."""
    file = folder / (CONFIG if is_hub_folder(folder) else FILE)
    return UserError(f"{file} cannot be used ({error}); repair or remove it, and type the flags of the "
                     "architecture")
