"""Checkpoints: ``EPOCH_net_G.pth`` and so on are plain state dicts, ``EPOCH_state.pth`` is everything else.

``EPOCH_manifest.json`` has their sizes and SHA-256. Before ``latest`` is replaced it becomes ``previous``, so that at
every moment one of the two is whole. The state holds the networks' SHA-256 too, by which a resumed run notices files of
another save where there is no manifest. Nothing in a file is executed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from util.distributed import ALONE, World
from util.errors import UserError, explain
from util.files import sha256
from util.filesets import fault, link_set, member, remove_older, replacing_set, tags
from util.state_dicts import (
    AVERAGE,
    INTACT,
    LATEST,
    NUMBERED,
    PREVIOUS,
    STATE,
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
    """Write the model's published networks, and everything else that resuming needs; from the first process alone.

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
        try:
            _write(folder, tag, model, {"memory": memory, **extra})
            names = [STATE, *(f"net_{name}.pth" for name in model.published)]
            if also:
                link_set(folder, tag, also, names)
            for pattern in NUMBERED if keep_last else ():
                remove_older(folder, pattern, keep_last, names)
        except UserError as error:
            failure = str(error)
        except OSError as error:
            failure = f"the checkpoint {tag} could not be written to {folder} ({error.strerror}); {INTACT}"
    if sentence := world.same(failure):
        raise UserError(sentence)


def _write(folder: Path, tag: str, model: Trainable, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    networks = {name: network.state_dict() for name, network in model.networks.items()}
    state = {
        "networks": {name: content for name, content in networks.items() if name not in model.published},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in model.optimizers.items()},
        "random": random_states(_device(model)),
        **extra,
    }
    files = {name: f"net_{name}.pth" for name in model.published}
    _require_room(folder, tag, size_of([state, *(networks[name] for name in files)]))
    # The state comes first: networks alone would look like a published checkpoint to go on from.
    keep = PREVIOUS if tag == LATEST else None
    with replacing_set(folder, tag, [STATE, *files.values()], keep) as temporary:
        for name, file in files.items():
            save_file(networks[name], temporary[file], member(folder, tag, file))
        state["sha256"] = {name: sha256(temporary[file]) for name, file in files.items()}
        save_file(state, temporary[STATE], member(folder, tag, STATE))


def save_networks(folder: Path, tag: str, networks: Mapping[str, nn.Module]) -> None:
    """Write networks alone, as plain state dicts, whole or not at all.

    Raises:
        UserError: a file cannot be written.
    """
    contents = {f"net_{name}.pth": network.state_dict() for name, network in networks.items()}
    try:
        _require_room(folder, tag, size_of(contents))
        with replacing_set(folder, tag, list(contents)) as temporary:
            for file, content in contents.items():
                save_file(content, temporary[file], member(folder, tag, file))
    except OSError as error:
        raise UserError(f"{tag} could not be written to {folder} ({error.strerror}); {INTACT}") from error


def _require_room(folder: Path, tag: str, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"the checkpoint {tag} needs {needed / 1e6:.1f} MB, but {folder} has {free / 1e6:.1f} MB left; "
                        f"{INTACT}")


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


def find_whole(folder: Path, tag: str) -> tuple[str, list[str]]:
    """The checkpoint to go on from: ``tag``, or for a broken ``latest`` the save before it.

    Networks without a state are taken as they are: somebody has put them there.

    Returns:
        Its tag, and sentences for the user.

    Raises:
        UserError: it is broken, and no other one is meant.
    """
    if not state_path(folder, tag).exists() or (broken := fault(folder, tag)) is None:
        return tag, []
    if tag == LATEST and state_path(folder, PREVIOUS).exists() and fault(folder, PREVIOUS) is None:
        return PREVIOUS, [f"{broken}; so the training goes on from the save before it, {PREVIOUS}"]
    others = [other for other in tags(folder, STATE) if other != tag]
    raise UserError(f"{broken}; continue from another --epoch ({', '.join(others) or 'there is none'}), or remove "
                    f"{state_path(folder, tag)} to go on from the networks alone")


def load_published(folder: Path, tag: str, model: Trainable) -> list[str]:
    """Load a model's published networks; a moving average that was not kept before starts from its network.

    Returns:
        Sentences for the user about such averages.

    Raises:
        UserError: as in `load_networks`.
    """
    new = [n for n in model.published if n.endswith(AVERAGE) and not network_path(folder, tag, n).exists()]
    load_networks(folder, tag, {name: model.networks[name] for name in model.published if name not in new})
    for name in new:
        model.networks[name].load_state_dict(model.networks[name.removesuffix(AVERAGE)].state_dict())
    return [f"the checkpoint has no moving average {name}; it starts from the network" for name in new]


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


def restore(
    model: Trainable, state: Mapping[str, Any], folder: Path, tag: str, world: World = ALONE
) -> list[str]:
    """Put a loaded state back into a model whose networks are loaded, and restore the random states.

    Networks of the model that the state does not have (LSeSim's heads, where the checkpoint was trained without)
    start afresh, with their optimizers. Each process gets back its own memory; where there are more of them than
    at the save, some share one.

    Returns:
        Sentences for the user about what could not be restored.

    Raises:
        UserError: a network does not fit, or its file is of another save. What else is wrong with a state raises as
            `refusing_foreign_state` says.
    """
    path = state_path(folder, tag)
    for name, digest in state["sha256"].items():
        if name in model.networks and sha256(file := network_path(folder, tag, name)) != digest:
            raise UserError(f"{file} was written by another save than {path}; continue from another --epoch, or remove "
                            "the latter to go on from the networks alone")
    extra = [name for name in model.networks if name not in model.published]
    missing = [name for name in extra if name not in state["networks"]]
    for name in extra:
        if name not in missing:
            load_into(model.networks[name], state["networks"][name], path)
    for name, optimizer in model.optimizers.items():
        if name in state["optimizers"]:
            optimizer.load_state_dict(state["optimizers"][name])
            follow_layout(optimizer)
    memory = state["memory"][world.rank % len(state["memory"])]
    for name, item in model.memory.items():
        if name in memory:
            item.load_state_dict(memory[name])
    notes = [f"the checkpoint has no network {name}; it starts afresh" for name in missing]
    return notes + restore_random_states(state["random"], _device(model))


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
