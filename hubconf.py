"""Entries of `torch.hub`: ``fsesim``, the loss, and ``translator``, a trained generator."""

from typing import Any as _Any

import spatial_correlative as _package

dependencies = ["torch", "safetensors"]

fsesim = _package.FSeSim


def translator(*arguments: _Any, **keywords: _Any) -> _Any:
    """Load a trained generator: see `inference.load`. Needs the packages in requirements.txt."""
    from inference import load  # noqa: PLC0415 - the loss needs fewer packages

    return load(*arguments, **keywords)
