"""Features of image files, kept by content: the images' and all that the features depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.files import replacing, sha256

FORMAT = 1
"""Of the files; changed with the way in which features are computed."""


def default_folder() -> Path | None:
    """Where the user's caches are, as the XDG base directory specification has it; None for users without a home."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            caches = Path.home() / ".cache"
        except RuntimeError:  # a container that runs under any number
            return None
    return caches / "spatial-correlative" / "features"


def cached(
    extract: Callable[[Sequence[Path]], Tensor], paths: Sequence[Path], conditions: Mapping[str, Any], folder: Path,
    warn: Callable[[str], None],
) -> Tensor:
    """``extract(paths)``, from ``folder`` if it was computed before for files of the same content in the same order.

    Args:
        extract: gives features [N, D].
        paths: image files; their names do not matter.
        conditions: all else that the features depend on, as JSON can hold it.
        folder: where features are kept, a file for each set of images; it may be removed at any time.
        warn: told in one sentence of a damaged file, which is replaced, and of a folder that cannot be written.
    """
    known = {"format": FORMAT, "conditions": dict(conditions), "files": [sha256(path) for path in paths]}
    key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    file = folder / f"{key}.pt"
    if file.is_file():
        try:
            return _read(file, len(paths))
        except Exception as error:  # the reader raises many kinds
            warn(f"{file} is damaged ({type(error).__name__}); it is computed again")
    features = extract(paths)
    try:
        with replacing(file) as partial:
            torch.save({"features": features, "sha256": _digest(features)}, partial)
    except (OSError, RuntimeError) as error:  # torch's writer turns some refusals into a RuntimeError
        warn(f"features cannot be kept in {folder} ({type(error).__name__}); choose another --cache_dir, or none")
    return features


def _read(file: Path, count: int) -> Tensor:
    """Features [count, D]. Raises anything where the file is not as it was written."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    features: Tensor = content["features"]
    if features.dim() != 2 or len(features) != count:
        raise ValueError("another shape than was written")
    if _digest(features) != content["sha256"]:
        raise ValueError("another content than was written")
    return features


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest()
