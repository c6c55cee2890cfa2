"""Reads the golden vectors: numbers computed with the published reference implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def names(pattern: str) -> list[str]:
    """List file names below tests/golden that match; at least one, so that no test runs over nothing."""
    found = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.glob(pattern))
    assert found, f"no golden file matches {pattern}"
    return found


def load(name: str) -> dict[str, Any]:
    """Load arrays as tensors (floating ones as float32), ``meta`` as a dict, single numbers and strings as such."""
    with np.load(GOLDEN / name) as archive:
        return {key: _value(key, archive[key]) for key in archive.files}


def part(golden: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """Return the entries below ``prefix``, without it: a state dict, for instance."""
    return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}


def _value(key: str, array: np.ndarray) -> Any:
    if key == "meta":
        return json.loads(str(array))
    if array.dtype.kind in "US":
        return str(array)
    if array.ndim == 0 and not key.startswith("sd/"):
        return array.item()
    tensor = torch.from_numpy(array.copy())
    return tensor.float() if tensor.is_floating_point() else tensor
