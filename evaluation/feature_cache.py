"""A cache of features on disk, by the content of the images and everything else that the features depend on."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.files import replacing
from util.image_files import sha256_of_image

FORMAT = 1
"""Of the files; to be raised when the computation of features changes."""


def default_folder() -> Path | None:
    """Return the cache folder of the XDG base directory specification; None for users without a home."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            caches = Path.home() / ".cache"
        except RuntimeError:  # a container that runs under any user number
            return None
    return caches / "spatial-correlative" / "features"


class FeatureCache:
    """Features of image files, one file for each list of images. The folder may be removed at any time.

    Args:
        folder: of the files.
        warn: takes a sentence about a damaged file, or a folder that cannot be written.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder, self._warn = folder, warn

    def file_of(self, paths: Sequence[Path], conditions: Mapping[str, Any]) -> Path:
        """Name the file for images of this content in this order, under any names, and these JSON-able conditions."""
        known = {"format": FORMAT, "conditions": dict(conditions), "files": [sha256_of_image(path) for path in paths]}
        return self.folder / f"{hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()}.pt"

    def load(self, file: Path, count: int) -> Tensor | None:
        """Read features [count, D]; None if there are none, or if they are damaged."""
        if not file.is_file():
            return None
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            features: Tensor = content["features"]
            if features.dim() != 2 or len(features) != count or _digest(features) != content["sha256"]:
                raise ValueError("the content has changed")
        except Exception as error:  # the reader raises many kinds
            self._warn(f"{file} is damaged ({type(error).__name__}); it is computed again")
            return None
        return features

    def save(self, file: Path, features: Tensor) -> None:
        """Write features, if possible."""
        try:
            with replacing(file) as partial:
                torch.save({"features": features, "sha256": _digest(features)}, partial)
        except (OSError, RuntimeError) as error:  # torch's writer turns some refusals into a RuntimeError
            self._warn(f"features cannot be kept in {self.folder} ({type(error).__name__}); choose another "
                       "--cache_dir, or none")


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest()
