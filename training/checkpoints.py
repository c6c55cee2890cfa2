"""Checkpoints: ``EPOCH_state.pth`` has all that resuming needs; ``EPOCH_net_G.pth`` and so on are exports beside it.

Each file is written whole or not at all: under a temporary name, flushed to the disk, then renamed. A resumed training
reads the state only. Nothing in a file is executed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from util.distributed import ALONE, World
from util.errors import UserError, explain
from util.files import flush, replace, sha256, temporary_in
from util.state_dicts import (
    AVERAGE,
    INTACT,
    NUMBERED,
    load_file,
    load_into,
    load_networks,
    network_path,
    save_file,
    size_of,
    state_path,
)

from .random_states import random_states, restore_random_states


class Trainable(Protocol):
    """What of a model is saved."""

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    memory: dict[str, Any]

    @property
    def published(self) -> tuple[str, ...]:
        """Names of the networks that are saved as plain state dicts."""


def save_checkpoint(
    folder: Path, tag: str, model: Trainable, extra: Mapping[str, Any], world: World = ALONE, *,
    also: str | None = None, keep_last: int = 0,
) -> None:
    """Write everything that resuming needs, and the published networks beside it; the first process writes.

    Args:
        folder: the experiment's folder.
        tag: ``latest``, an epoch's number or ``iter_N``.
        model: its networks, optimizers and memory.
        extra: the loop's own state (counters, schedulers, options): tensors, numbers, strings, dicts and lists.
        world: the processes that train together, all of which must call this.
        also: a second tag for the same files.
        keep_last: of the epochs' saves only so many stay, and as many of the iterations'; 0: all.

    Raises:
        UserError: a file cannot be written; in all processes.
        RuntimeError: the processes' networks are no longer the same.
    """
    memory = world.gather({name: item.state_dict() for name, item in model.memory.items()})
    refuse_drift(model, world)
    failure = None
    if world.is_first:
        networks = {name: network.state_dict() for name, network in model.networks.items()}
        state = {
            "networks": networks,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in model.optimizers.items()},
            "random": random_states(_device(model)),
            "memory": memory,
            **extra,
        }
        contents = {state_path(folder, tag): state,
                    **{network_path(folder, tag, name): networks[name] for name in model.published}}
        try:
            _write({path: contents[path] for path in in_order(folder, tag, model.published)})
            if also:
                _link({path: folder / path.name.replace(also, tag, 1)
                       for path in in_order(folder, also, model.published)})
            for pattern in NUMBERED if keep_last else ():
                remove_older(folder, pattern, keep_last, also)
        except UserError as error:
            failure = str(error)
        except OSError as error:
            failure = f"the checkpoint {tag} could not be written to {folder} ({error.strerror}); {INTACT}"
    if sentence := world.same(failure):
        raise UserError(sentence)


def in_order(folder: Path, tag: str, names: Sequence[str]) -> list[Path]:
    """The files of a save in the order in which they take their places.

    The state comes last: a process that dies leaves no network older than the state. Only where there is none yet it
    comes first: networks without a state would look like a published checkpoint to go on from.
    """
    state, networks = state_path(folder, tag), [network_path(folder, tag, name) for name in names]
    return [*networks, state] if state.exists() else [state, *networks]


def save_networks(folder: Path, tag: str, networks: Mapping[str, nn.Module]) -> None:
    """Write networks alone, as plain state dicts.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        _write({network_path(folder, tag, name): network.state_dict() for name, network in networks.items()})
    except OSError as error:
        raise UserError(f"{tag} could not be written to {folder} ({error.strerror}); {INTACT}") from error


def _write(contents: Mapping[Path, Mapping[str, Any]]) -> None:
    """Write files of one folder, each whole or not at all, in their order.

    Everything is on the disk before the first file takes its place.

    Raises:
        UserError, OSError: something cannot be written. Before the first rename nothing has changed.
    """
    folder = next(iter(contents)).parent
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = size_of(contents) / 1e6, shutil.disk_usage(folder).free / 1e6
    if needed > free:
        raise UserError(f"a checkpoint needs {needed:.1f} MB, but {folder} has {free:.1f} MB left; {INTACT}")
    with ExitStack() as stack:
        temporary = {path: stack.enter_context(temporary_in(folder)) for path in contents}
        for path, content in contents.items():
            save_file(content, temporary[path], path)
            flush(temporary[path])
        for path in contents:
            replace(temporary[path], path)
        flush(folder)


def _link(sources: Mapping[Path, Path]) -> None:
    """Give files of one folder second names, the keys, without second copies where the file system can do that.

    Raises:
        OSError: something cannot be written or renamed.
    """
    for place, source in sources.items():
        with temporary_in(place.parent) as temporary:
            try:
                os.link(source, temporary)
            except OSError:  # some file systems know no links; other faults stop the copy too
                shutil.copyfile(source, temporary)
                flush(temporary)
            replace(temporary, place)
    flush(next(iter(sources)).parent)


def remove_older(folder: Path, pattern: str, keep: int, written: str | None) -> None:
    """Remove saves whose tags match the regular expression, except those that have seen the most images.

    Args:
        folder: the experiment's folder.
        pattern: one of `NUMBERED`.
        keep: how many saves stay.
        written: the save that was just written. It also stays: after a return to an earlier save, others may have seen
            more images.

    Raises:
        OSError: a file cannot be removed.
    """
    found = [tag for tag in saves(folder) if re.fullmatch(pattern, tag)]
    for tag in sorted(found, key=lambda tag: int(tag.removeprefix("iter_")))[:-keep]:
        if tag != written:
            state = state_path(folder, tag)  # the last to go: a save is found by it
            for path in (*folder.glob(f"{tag}_net_*.pth"), folder / f"{tag}_manifest.json", state):
                path.unlink(missing_ok=True)


def saves(folder: Path) -> list[str]:
    """The tags of saves with a state."""
    return sorted(path.name.removesuffix("_state.pth") for path in folder.glob("*_state.pth"))


def refuse_drift(model: Trainable, world: World) -> None:
    """Make sure that all processes have the same weights: a network that some loss bypasses would drift apart.

    Raises:
        RuntimeError: on the first process, if they do not.
    """
    if world.size == 1:
        return
    sums = {name: [p.detach().double().sum() for p in net.parameters()] for name, net in model.networks.items()}
    sums_of_all = world.gather({name: torch.stack(of).nan_to_num().tolist() for name, of in sums.items()})
    if drifted := {name for other in sums_of_all for name in other if other[name] != sums_of_all[0][name]}:
        raise RuntimeError(f"the weights of network {', '.join(sorted(drifted))} differ between processes")


def read_state(folder: Path, tag: str) -> dict[str, Any] | None:
    """The state to go on from; None where there is none, as beside published networks.

    Earlier versions left the published networks to files of their own, and kept their SHA-256 in the state: the state
    that is returned has these networks too.

    Raises:
        UserError: it is damaged, or such a file is missing or another one.
    """
    path = state_path(folder, tag)
    if not path.exists():
        return None
    try:
        state = load_file(path)
        with refusing_foreign_state(path):
            for name, digest in state.pop("sha256", {}).items():
                if not (file := network_path(folder, tag, name)).is_file() or sha256(file) != digest:
                    raise UserError(f"{file} is missing or of another save than {path}; use another --epoch")
                state["networks"][name] = load_file(file)
    except UserError as error:
        others = ", ".join(other for other in saves(folder) if other != tag) or "none"
        raise UserError(f"{error}. Other saves: {others}; or remove {path} to go on from the networks alone") from error
    return state


def load_published(folder: Path, tag: str, model: Trainable) -> list[str]:
    """Load a model's published networks; a moving average that was not kept before starts from its network.

    Returns:
        Sentences for the user about such averages.

    Raises:
        UserError: as in `load_networks`.
    """
    new = [n for n in model.published if n.endswith(AVERAGE) and not network_path(folder, tag, n).exists()]
    load_networks(folder, tag, {name: model.networks[name] for name in model.published if name not in new})
    return [_start_average(model, name) for name in new]


@contextmanager
def refusing_foreign_state(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a loaded state is taken over into a sentence about its file.

    Raises:
        UserError: the file holds something else than what `save_checkpoint` writes, or belongs to another model.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if explain(error) is not None:  # a sentence already, or out of memory
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} does not fit this run ({reason}); continue with the flags that it was trained with, "
                        "or remove it to go on from the networks alone") from error


def restore(model: Trainable, state: Mapping[str, Any], path: Path, world: World = ALONE) -> list[str]:
    """Put a state of `read_state` back into a model, and restore the random states.

    Networks of the model that the state does not have (LSeSim's heads, where the checkpoint was trained without)
    start afresh, with their optimizers; a moving average starts from its network. Each process gets back its own
    memory; where there are more of them than at the save, some share one.

    Args:
        path: where the state is from.

    Returns:
        Sentences for the user about what could not be restored.

    Raises:
        UserError: a network does not fit. What else is wrong with a state raises as `refusing_foreign_state` says.
    """
    notes = []
    for name, network in model.networks.items():
        if name in state["networks"]:
            load_into(network, state["networks"][name], path)
        elif name.endswith(AVERAGE):
            notes.append(_start_average(model, name))
        else:
            notes.append(f"the checkpoint has no network {name}; it starts afresh")
    for name, optimizer in model.optimizers.items():
        if name in state["optimizers"]:
            optimizer.load_state_dict(state["optimizers"][name])
            follow_layout(optimizer)
    memory = state["memory"][world.rank % len(state["memory"])]
    for name, item in model.memory.items():
        if name in memory:
            item.load_state_dict(memory[name])
    return notes + restore_random_states(state["random"], _device(model))


def _start_average(model: Trainable, name: str) -> str:
    """Let a moving average start from its network; returns a sentence for the user."""
    model.networks[name].load_state_dict(model.networks[name.removesuffix(AVERAGE)].state_dict())
    return f"the checkpoint has no moving average {name}; it starts from the network"


def follow_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay an optimizer's moments out in memory like its parameters, which may be stored channels last now or then.

    Fused steps walk through both by address, and would pair the wrong elements.
    """
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _device(model: Trainable) -> torch.device:
    return next(p.device for network in model.networks.values() for p in network.parameters())
