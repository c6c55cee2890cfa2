"""The tensors, numbers and texts of saved states, to be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from util.state_dicts import LATEST, load_file, state_path


def content(folder: Path, tag: str = LATEST) -> dict[str, bytes | Any]:
    """Return every tensor, number and text of a state except its options, by name; tensors as bytes."""
    state = load_file(state_path(folder, tag))
    state.pop("options")
    return dict(_leaves(state, "state"))


def exports_are_those_of_the_state(folder: Path, tag: str = LATEST) -> bool:
    """Check whether the exports beside a state have its weights; False if there are no exports."""
    of_state = content(folder, tag)
    files = list(folder.glob(f"{tag}_net_*.pth"))
    leaves = [leaf for path in files for leaf in _leaves(
        load_file(path), f"state.networks.{path.stem.removeprefix(f'{tag}_net_')}")]
    return bool(files) and all(of_state[name] == value for name, value in leaves)


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the names of the values that differ."""
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}")]
    if isinstance(value, list | tuple):
        return [leaf for key, item in enumerate(value) for leaf in _leaves(item, f"{path}.{key}")]
    return [(path, value.numpy().tobytes() if isinstance(value, torch.Tensor) else value)]
