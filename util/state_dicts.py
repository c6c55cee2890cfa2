"""Files of tensors and plain values: state dicts of networks, and states of trainings."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import UserError
from .hub_folders import WEIGHTS, is_hub_folder, read_config, read_networks
from .words import counted

INTACT = "free some space or choose another --checkpoints_dir; the checkpoints written before are intact"
MOST_NAMES = 8  # in a message
AVERAGE = "_ema"
"""Suffix of the name of a network that is the moving average of another."""
LATEST, BEST = "latest", "best"
NUMBERED = (r"\d+", r"iter_\d+")
"""Tags of checkpoints that later ones do not replace: epochs, and images seen."""


def network_path(folder: Path, tag: str, name: str) -> Path:
    """Return ``folder/latest_net_G.pth``."""
    return folder / f"{tag}_net_{name}.pth"


def generator_of(path: Path) -> tuple[str, str, str] | None:
    """Split the name of a generator's file: its tag, its half (empty, ``_A`` or ``_B``), and `AVERAGE` or nothing."""
    match = re.fullmatch(rf"(\w[\w.-]*)_net_G(|_A|_B)({AVERAGE}|)\.pth", path.name)
    return (match[1], match[2], match[3]) if match else None


def has_network(folder: Path, tag: str, name: str) -> bool:
    """Check whether a checkpoint, or a hub folder, has a network.

    Raises:
        UserError: the description in a hub folder is damaged.
    """
    if is_hub_folder(folder):
        return tag == LATEST and name in read_config(folder)["networks"]
    return network_path(folder, tag, name).is_file()


def weights_path(folder: Path, tag: str, name: str) -> Path:
    """Return the file with the weights of a network: `network_path`, or the one of a hub folder."""
    return folder / WEIGHTS if is_hub_folder(folder) else network_path(folder, tag, name)


def state_path(folder: Path, tag: str) -> Path:
    """Return ``folder/latest_state.pth``."""
    return folder / f"{tag}_state.pth"


def load_file(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values onto the CPU.

    Raises:
        UserError: the file is missing or damaged, or holds anything but data.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}{instead_of(path)}; check --name, --checkpoints_dir and --epoch")
    try:
        if zipfile.is_zipfile(path):  # else it is of an old torch, or nothing
            with zipfile.ZipFile(path) as file:
                if wrong := file.testzip():  # torch does not look at checksums
                    raise ValueError(f"the checksum of {wrong} is wrong")
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch report damage by a dozen exception types
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        if type(error).__name__ == "UnpicklingError":  # torch's text advises to run the code in the file
            reason = "it holds something else than tensors and plain values"
        raise UserError(f"{path} cannot be read as a checkpoint ({reason}); use another --epoch") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds no state dict but a {type(loaded).__name__}")
    return loaded


def load_state(folder: Path, tag: str) -> dict[str, Any] | None:
    """Read the state of a checkpoint; None if there is no state (published networks)."""
    path = state_path(folder, tag)
    return load_file(path) if path.exists() else None


def instead_of(path: Path) -> str:
    """Suggest files for a missing ``ROOT/NAME/TAG_net_G.pth``: other networks of NAME, else folders in ROOT."""
    place, names = path.parent, sorted(file.name for file in path.parent.glob("*_net_*.pth"))
    if not names:
        place = place.parent
        names = sorted({file.parent.name for file in place.glob("*/*_net_*.pth")})
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f" ({place} has {', '.join(names[:MOST_NAMES])}{more})" if names else ""


def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the prefix ``module.`` of ``DataParallel`` from the keys of a state dict; drop keys that are no text."""
    named = {key: value for key, value in state.items() if isinstance(key, str)}
    wrapped = all(key.startswith("module.") for key in named)
    return {key.removeprefix("module."): value for key, value in named.items()} if wrapped else named


def modernized(state: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Convert a state dict of other codebases or older PyTorch versions to the keys of ``network``.

    Before PyTorch 0.4, instance normalisation saved statistics, which nothing used. Before 0.4.1, batch normalisation
    did not count batches. The published networks without normalisation lack some biases; these become 0. A network may
    have a method ``from_published`` that converts a state dict of its own codebase.
    """
    state, own = unwrapped(state), network.state_dict()
    if convert := getattr(network, "from_published", None):
        state = dict(convert(state))
    of_norms = ("running_mean", "running_var", "num_batches_tracked")
    state = {key: value for key, value in state.items()
             if not key.endswith(of_norms) or f"{key.rpartition('.')[0]}.weight" in state}
    missing = own.keys() - state.keys()
    counts = {key for key in missing if key.endswith("num_batches_tracked")}
    plain = not any(isinstance(module, nn.InstanceNorm2d | nn.BatchNorm2d) for module in network.modules())
    biases = {key for key in missing if plain and key.endswith(".bias") and f"{key[:-5]}.weight" in state}
    return {**state, **{key: torch.zeros_like(own[key]) for key in counts | biases}}


def load_into(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load a state dict, `modernized`, strictly; buffers and parameters must agree in name and shape.

    Raises:
        UserError: the state dict belongs to another architecture. The message names the first difference.
    """
    own, state = network.state_dict(), modernized(state, network)
    differences = [
        *(f"{key} is missing" for key in own if key not in state),
        *(f"{key} is unknown" for key in state if key not in own),
        *(f"{key} holds no plain numbers" for key, value in state.items() if key in own and not is_plain(value)),
        *(f"{key} is {list(value.shape)} instead of {list(own[key].shape)}"  # asking a nested tensor may be an error
          for key, value in state.items() if key in own and is_plain(value) and value.shape != own[key].shape),
    ]
    if differences:
        raise UserError(
            f"{path} does not fit this {type(network).__name__}: {differences[0]}, "
            f"{counted(len(differences), 'such difference')} in all; use the --model, --netG, --netD, --ngf, --ndf, "
            "--norm and channel flags that it was trained with")
    network.load_state_dict(state)


def load_networks(folder: Path, tag: str, networks: Mapping[str, nn.Module]) -> None:
    """Load plain state dicts into networks, by name.

    Raises:
        UserError: a file is missing, damaged, or of another architecture.
    """
    for name, network in networks.items():
        load_into(network, read_network(folder, tag, name), weights_path(folder, tag, name))


def read_network(folder: Path, tag: str, name: str) -> Mapping[str, Any]:
    """Read the state dict of a network of a checkpoint or a hub folder.

    Raises:
        UserError: a file is missing or damaged, or the hub folder has no such network.
    """
    if not is_hub_folder(folder):
        return load_file(network_path(folder, tag, name))
    if tag != LATEST:
        raise UserError(f"{folder} has one checkpoint without a number, and not {tag}: leave --epoch out")
    networks = read_networks(folder)
    if name not in networks:
        raise UserError(f"{folder / WEIGHTS} has no network {name}, but {', '.join(sorted(networks)) or 'none'}: leave "
                        "--use_ema out, or choose another --model_suffix")
    return networks[name]


def is_plain(value: Any) -> bool:
    """Check whether ``value`` can be the weight of a network: a dense tensor of real numbers."""
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_complex()
            and not value.is_meta and not value.is_quantized and not value.is_nested)


def save_file(content: Mapping[str, Any], temporary: Path, path: Path) -> None:
    """Write tensors and plain values to a temporary file that will be renamed to ``path``.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with temporary.open("wb") as file:  # given a path, torch would write its name into the file
            torch.save(on_cpu(content), file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise UserError(f"{path} could not be written ({error}); {INTACT}") from error


def on_cpu(content: Any) -> Any:
    """Copy tensors and plain values with all tensors on the CPU, so that any machine can read the file."""
    if isinstance(content, torch.Tensor):
        return content.cpu()
    if isinstance(content, Mapping):
        return {key: on_cpu(value) for key, value in content.items()}
    return type(content)(map(on_cpu, content)) if isinstance(content, list | tuple) else content


def size_of(content: Any) -> int:
    """Estimate the bytes of a file with this content."""
    if isinstance(content, torch.Tensor):
        return content.nbytes + 256  # its entry in the archive
    if isinstance(content, Mapping):
        return sum(map(size_of, content.values()))
    return sum(map(size_of, content)) if isinstance(content, list | tuple) else 0
