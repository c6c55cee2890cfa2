"""Hub folders: a trained generator to share, as ``export.py --format hub`` writes it.

A hub folder has ``config.json``, which describes the generator, and ``model.safetensors``, the weights of its networks.
A hub folder stands in for the folder of an experiment. Neither file can hold code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import UserError

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT, VERSION = "spatially-correlative-translation", 1
AGAIN = "download or export it again"


def is_hub_folder(folder: Path) -> bool:
    """Check whether a folder has a ``config.json``, and no checkpoint of a training."""
    return (folder / CONFIG).is_file() and not any(folder.glob("*_net_*.pth"))


def folder_of(path: Path) -> Path:
    """Return the hub folder whose weights ``path`` names; another path as it is."""
    return path.parent if path.name == WEIGHTS and is_hub_folder(path.parent) else path


def read_config(folder: Path) -> dict[str, Any]:
    """Read the description of a generator.

    Returns:
        ``model``: the method; ``networks``: names of the networks; ``flags``: flags of the training that the networks
        depend on; and other entries.

    Raises:
        UserError: the file is missing, damaged, of another program, or of a later version.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); {AGAIN}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f'{path} describes no generator of this project, for it has no "format": "{FORMAT}"; name a '
                        "folder that export.py --format hub has written")
    version = config.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UserError(f"{path} is of version {version} of the format, and this code reads version {VERSION}; use "
                        "newer code")
    expected = {"version": int, "model": str, "networks": list, "flags": dict}
    if wrong := [name for name, kind in expected.items() if not isinstance(config.get(name), kind)]:
        raise UserError(f'{path} is damaged: it has no usable "{wrong[0]}"; {AGAIN}')
    return config


def read_networks(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Read the state dicts of all networks, by the networks' names, as float32.

    Raises:
        UserError: the file is missing or damaged.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - only where such a file is read

    path = folder / WEIGHTS
    if not path.is_file():
        raise UserError(f"there is no {path}, which holds the weights; {AGAIN}")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except Exception as error:  # the reader raises many kinds
        raise UserError(f"{path} cannot be read as weights ({error}); {AGAIN}") from error
    networks: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, parameter = key.partition(".")
        networks.setdefault(name, {})[parameter] = value.float() if value.is_floating_point() else value
    return networks


def write_generator(
    folder: Path, networks: Mapping[str, Mapping[str, Tensor]], *, model: str, flags: Mapping[str, Any], half: bool
) -> None:
    """Write ``config.json`` and ``model.safetensors`` into an existing folder.

    Args:
        networks: state dicts by the networks' names.
        model, flags: see `read_config`.
        half: write float16 instead of float32.
    """
    from safetensors.torch import save  # noqa: PLC0415 - only where such a file is written

    tensors = {f"{name}.{key}": value.half() if half and value.is_floating_point() else value
               for name, state in networks.items() for key, value in state.items()}
    # not by save_file, which lets only the owner read the file
    (folder / WEIGHTS).write_bytes(save({key: value.contiguous() for key, value in tensors.items()}, {"format": "pt"}))
    config = {"format": FORMAT, "version": VERSION, "model": model, "networks": list(networks), "flags": flags}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
