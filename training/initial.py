"""Weights of another training, or published ones, that a training starts from (``--init_from``)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from models import Model
from models.networks.recognition import recognize_generator
from options import NetworkFlags, Options, RunFlags, TrainFlags, recorded_flags
from options.flag import show
from util.distributed import ALONE, World
from util.errors import UserError
from util.hub_folders import folder_of, is_hub_folder, read_networks
from util.state_dicts import (
    AVERAGE,
    LATEST,
    instead_of,
    is_plain,
    load_file,
    load_into,
    modernized,
    network_path,
    state_path,
)

from .averages import start_average
from .checkpoints import read_state

GENERATOR = "G"


class Weights(NamedTuple):
    """State dicts of networks by name, the file or folder that they come from, and the flags of their training."""

    networks: dict[str, Mapping[str, Any]]
    place: Path
    flags: Mapping[str, Any] = {}


def read_weights(options: Options, world: World = ALONE) -> Weights | None:
    """Read the networks that ``--init_from`` names: those of an experiment or a folder, or of one file.

    A file with a name of its own, such as ``horse2zebra.pth``, holds a generator. All processes come together here,
    since the first one may then move an experiment to another name.

    Returns:
        The networks; None without the flag.

    Raises:
        UserError: there is nothing of that name, a file is damaged, or a generator was trained with another ``--norm``,
            which its weights do not tell.
    """
    text, root = options[TrainFlags].init_from, Path(options[RunFlags].checkpoints_dir)
    if not text:
        return None
    weights, norm = _read(text, root), options[NetworkFlags].norm
    world.gather(None)
    for name in weights.networks if "norm" in weights.flags else ():
        if (trained := _flags(weights, name).get("norm", norm)) != norm:
            raise UserError(f"--init_from: the generator of {weights.place} was trained with --norm {trained}, and "
                            f"--norm {norm} would change its translations: type --norm {trained}")
    return weights


def _read(text: str, root: Path) -> Weights:
    """Read the networks of the experiment, folder or file ``text``; ``root`` is the folder of the experiments.

    Raises:
        UserError: there is nothing of that name, or a file is damaged.
    """
    try:
        place = next((path for path in (root / text, Path(text)) if path.exists()), None)
    except OSError as error:  # longer than a name can be, for example
        raise UserError(f"--init_from {text}: {error.strerror}; name an experiment, a folder or a file") from error
    if place is None:
        raise UserError(f"--init_from {text}: there is no experiment, folder or file of this name"
                        f"{instead_of(network_path(root / text, LATEST, GENERATOR))}")
    if (place := folder_of(place)).is_dir():
        return Weights(_of_folder(place, LATEST), place, recorded_flags(place) or {})
    if place.name.endswith("_state.pth"):
        networks = _of_folder(place.parent, place.name.removesuffix("_state.pth"))
        return Weights(networks, place, recorded_flags(place.parent) or {})
    if named := re.search(r"_net_(\w+)\.pth$", place.name):
        return Weights({named[1].removesuffix(AVERAGE): load_file(place)}, place, recorded_flags(place.parent) or {})
    return Weights({GENERATOR: load_file(place)}, place)


def _of_folder(folder: Path, tag: str) -> dict[str, Mapping[str, Any]]:
    """Read the networks of a checkpoint, without moving averages: from its state, or from published networks.

    The networks of a hub folder are those of its only checkpoint.
    """
    networks: Mapping[str, Mapping[str, Any]]
    if is_hub_folder(folder):
        networks = read_networks(folder)
    elif (state := read_state(folder, tag)) is not None:
        saved = state.get("networks")
        if not (isinstance(saved, Mapping) and all(isinstance(of, Mapping) for of in saved.values())):
            raise UserError(f"{state_path(folder, tag)} holds no networks, and is no state of a training")
        networks = saved
    else:
        start = f"{tag}_net_"
        networks = {path.stem.removeprefix(start): load_file(path) for path in sorted(folder.glob(f"{start}*.pth"))}
    if not networks:
        path = network_path(folder, tag, GENERATOR)
        raise UserError(f"--init_from: there is no {path}{instead_of(path)}; name one of its files")
    return {name: state for name, state in networks.items() if not name.endswith(AVERAGE)}


def start_from(model: Model, weights: Weights | None) -> list[str]:
    """Load weights into the networks of a model that have the same names, and start moving averages from them.

    ``G`` and ``D`` are also ``G_A`` and ``D_A`` of ``--model cycle_gan``, and the other way round. A file of only a
    generator goes into the model's translator, whatever its name.

    Returns:
        A note for the user about each network.

    Raises:
        UserError: the generator does not fit, or nothing does.
    """
    if weights is None:
        return []
    place, own = weights.place, [name for name in model.networks if not name.endswith(AVERAGE)]
    sources = {name: next((of for of in (name, name.removesuffix("_A"), f"{name}_A") if of in weights.networks), None)
               for name in own}
    only = next(iter(weights.networks))
    if len(weights.networks) == 1 and only.startswith(GENERATOR) and not any(sources.values()):
        sources[model.translator] = only
    notes, taken, failure = [], False, ""
    for name, found in sources.items():
        if found is None:
            notes.append(f"network {name} is new: {place} has none")
            continue
        try:
            new = take(model.networks[name], weights.networks[found], place, edges=name not in model.learned_losses)
        except UserError as error:
            if name == model.translator:  # a new generator would meet a trained discriminator
                described = " ".join(f"--{flag} {show(value)}" for flag, value in _flags(weights, found).items())
                raise UserError(f"--init_from: {error}{': ' * bool(described)}{described}") from error
            failure = str(error)
            notes.append(f"network {name} is new: {failure}")
            continue
        but = f", but {', '.join(new)} with another number of channels: new" if new else ""
        taken = True
        notes.append(f"network {name} starts from {f'{found} of ' * (found != name)}{place}{but}")
        if name + AVERAGE in model.networks:
            start_average(model, name + AVERAGE)
    if not taken:
        raise UserError(f"--init_from: nothing in {place} fits this training, which has the networks {', '.join(own)}"
                        + f": {failure}" * bool(failure))
    return [*notes, *(f"network {name} of {place} is not used: this training has none"
             for name in sorted(weights.networks.keys() - sources.values()))]


def take(network: nn.Module, state: Mapping[str, Any], path: Path, *, edges: bool) -> list[str]:
    """Load a state dict into a network.

    Args:
        edges: keep the network's own weights in layers that differ only in their number of input or of output channels:
            the first and the last layer, for images of other channels.

    Returns:
        The names of these layers.

    Raises:
        UserError: the state dict belongs to another architecture.
    """
    own, state = network.state_dict(), modernized(state, network)
    axes: dict[str, int] = {}  # that differ, at most, in a tensor of a layer
    for key, value in own.items():
        if edges and key in state and is_plain(state[key]) and value.dim() == state[key].dim():
            layer = key.rpartition(".")[0]
            differing = sum(here != there for here, there in zip(value.shape, state[key].shape, strict=True))
            axes[layer] = max(differing, axes.get(layer, 0))
    new = [layer for layer, count in axes.items() if count == 1]
    load_into(network, {**state, **{key: own[key] for key in own if key.rpartition(".")[0] in new}}, path)
    return new


def _flags(weights: Weights, name: str) -> dict[str, Any]:
    """Return the flags of a generator, as far as its weights tell, or its training where several would fit."""
    try:
        found = recognize_generator(weights.networks[name], weights.place)
    except UserError:
        return {}  # no flags describe it
    if found is None:
        return {}
    return {**found.certain, **{flag: weights.flags.get(flag, value) for flag, value in found.likely.items()}}
