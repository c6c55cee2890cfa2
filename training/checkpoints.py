"""Checkpoints: ``EPOCH_state.pth`` has all that resuming needs; ``EPOCH_net_G.pth`` and so on are exports beside it.

Each file is written whole or not at all: under a temporary name, flushed to the disk, then renamed. A resumed training
reads only the state. Nothing in a file is executed.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import Model
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

from .averages import start_average
from .random_states import random_states, restore_random_states


def save_checkpoint(
    folder: Path, tag: str, model: Model, extra: Mapping[str, Any], world: World = ALONE, *,
    also: str | None = None, keep_last: int = 0,
) -> None:
    """Write everything that resuming needs, and the published networks beside it; the first process writes.

    Args:
        folder: the experiment's folder.
        tag: ``latest``, an epoch's number or ``iter_N``.
        model: its networks, optimizers and memory.
        extra: the state of the loop (counters, schedulers, options): tensors, numbers, strings, dicts and lists.
        world: the processes that train together; all must call this function.
        also: a second tag for the same files.
        keep_last: number of epoch checkpoints to keep, and of ``iter_N`` checkpoints; 0: all.

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
            "random": random_states(model.device),
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
    """Return the files of a checkpoint in the order of their renames.

    The state comes last: a process that dies leaves no network older than the state. If there is no state yet, the
    state comes first: networks without a state would look like a published checkpoint.
    """
    state, networks = state_path(folder, tag), [network_path(folder, tag, name) for name in names]
    return [*networks, state] if state.exists() else [state, *networks]


def save_networks(folder: Path, tag: str, networks: Mapping[str, nn.Module]) -> None:
    """Write only networks, as plain state dicts.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        _write({network_path(folder, tag, name): network.state_dict() for name, network in networks.items()})
    except OSError as error:
        raise UserError(f"{tag} could not be written to {folder} ({error.strerror}); {INTACT}") from error


def _write(contents: Mapping[Path, Mapping[str, Any]]) -> None:
    """Write files of one folder, each whole or not at all, in the order of ``contents``.

    All content is on the disk before the first rename.

    Raises:
        UserError, OSError: a file cannot be written. Before the first rename nothing has changed.
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
    """Give files of one folder second names, the keys: as hard links, or as copies if the file system has no links.

    Raises:
        OSError: a file cannot be written or renamed.
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
    """Remove the checkpoints whose tags match the regular expression, except those with the highest numbers.

    Args:
        folder: the experiment's folder.
        pattern: one of `NUMBERED`.
        keep: number of checkpoints to keep.
        written: tag of the checkpoint that was just written. It is also kept: after a return to an earlier checkpoint,
            others may have higher numbers.

    Raises:
        OSError: a file cannot be removed.
    """
    found = [tag for tag in saves(folder) if re.fullmatch(pattern, tag)]
    for tag in sorted(found, key=lambda tag: int(tag.removeprefix("iter_")))[:-keep]:
        if tag != written:
            state = state_path(folder, tag)  # removed last: `saves` finds a checkpoint by its state
            for path in (*folder.glob(f"{tag}_net_*.pth"), folder / f"{tag}_manifest.json", state):
                path.unlink(missing_ok=True)


def saves(folder: Path) -> list[str]:
    """List the tags of the checkpoints that have a state."""
    return sorted(path.name.removesuffix("_state.pth") for path in folder.glob("*_state.pth"))


def refuse_drift(model: Model, world: World) -> None:
    """Check that all processes have the same weights: a network whose gradients are not averaged would differ.

    Raises:
        RuntimeError: the weights differ; in the first process.
    """
    if world.size == 1:
        return
    sums = {name: [p.detach().double().sum() for p in net.parameters()] for name, net in model.networks.items()}
    sums_of_all = world.gather({name: torch.stack(of).nan_to_num().tolist() for name, of in sums.items()})
    if drifted := {name for other in sums_of_all for name in other if other[name] != sums_of_all[0][name]}:
        raise RuntimeError(f"the weights of network {', '.join(sorted(drifted))} differ between processes")


def read_state(folder: Path, tag: str) -> dict[str, Any] | None:
    """Read the state to resume from; None if there is no state, as beside published networks.

    States of earlier versions contain the SHA-256 of the published networks instead of the networks. These networks are
    read from their files and added to the state.

    Raises:
        UserError: the state is damaged, or a file of a network is missing or has another SHA-256.
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


def load_published(folder: Path, tag: str, model: Model) -> list[str]:
    """Load a model's published networks; a moving average without a file starts from its network.

    Returns:
        Notes for the user about such averages.

    Raises:
        UserError: as in `load_networks`.
    """
    new = [n for n in model.published if n.endswith(AVERAGE) and not network_path(folder, tag, n).exists()]
    load_networks(folder, tag, {name: model.networks[name] for name in model.published if name not in new})
    return [start_average(model, name) for name in new]


@contextmanager
def refusing_foreign_state(path: Path) -> Iterator[None]:
    """Turn errors of the block, which restores a loaded state, into one sentence about its file.

    Raises:
        UserError: `save_checkpoint` did not write the file, or it belongs to another model.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if explain(error) is not None:  # a sentence already, or out of memory
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} does not fit this run ({reason}); continue with the flags that it was trained with, "
                        "or remove it to go on from the networks alone") from error


def restore(model: Model, state: Mapping[str, Any], path: Path, world: World = ALONE) -> list[str]:
    """Restore a state of `read_state` into a model, and restore the random states.

    Networks that the state does not contain (the heads, if the checkpoint was trained without them) keep their initial
    weights, and their optimizers are new; a moving average starts from its network. Each process gets its own memory;
    if there are more processes than at the save, some get the same one.

    Args:
        path: file of the state.

    Returns:
        Notes for the user about parts that could not be restored.

    Raises:
        UserError: a network does not fit. For other errors use `refusing_foreign_state`.
    """
    notes = []
    for name, network in model.networks.items():
        if name in state["networks"]:
            load_into(network, state["networks"][name], path)
        elif name.endswith(AVERAGE):
            notes.append(start_average(model, name))
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
    return notes + restore_random_states(state["random"], model.device)


def follow_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer's moments the memory layout of its parameters, which may have changed since the save.

    Fused steps read both in the order of memory, and would pair the wrong elements.
    """
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
