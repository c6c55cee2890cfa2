"""Checkpoints: ``EPOCH_net_G.pth`` and so on are plain state dicts, ``EPOCH_state.pth`` is everything else.

All files are written whole before the first one replaces its predecessor, the state's last. The state holds the
networks' SHA-256, by which a resumed run notices files of another save. Nothing in a file is executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from .distributed import ALONE, World
from .errors import UserError, explain
from .files import replacing, sha256

AVERAGE = "_ema"
"""Ends the name of a network that is the moving average of another."""


class Trainable(Protocol):
    """What of a model is saved."""

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    memory: dict[str, Any]

    @property
    def published(self) -> tuple[str, ...]:
        """Names of the networks that are saved as plain state dicts."""


def network_path(folder: Path, tag: str, name: str) -> Path:
    """``folder/latest_net_G.pth``."""
    return folder / f"{tag}_net_{name}.pth"


def state_path(folder: Path, tag: str) -> Path:
    """``folder/latest_state.pth``."""
    return folder / f"{tag}_state.pth"


def save_checkpoint(
    folder: Path, tag: str, model: Trainable, extra: Mapping[str, Any], world: World = ALONE
) -> None:
    """Write the model's published networks, then everything else that resuming needs; from the first process alone.

    Args:
        folder: the experiment's folder.
        tag: ``latest``, an epoch's number or ``iter_N``.
        model: its networks, optimizers and memory.
        extra: the loop's own state (counters, schedulers, options): tensors, numbers, strings, dicts and lists.
        world: the processes that train together, all of which must call this.

    Raises:
        UserError: a file cannot be written.
        RuntimeError: the processes' networks are no longer the same.
    """
    memory = world.gather({name: item.state_dict() for name, item in model.memory.items()})
    refuse_drift(model, world)
    if not world.is_first:
        return
    last = state_path(folder, tag)
    files = {name: network_path(folder, tag, name) for name in model.published}
    with ExitStack() as stack:
        # Files take their places where the stack unwinds: in reverse order.
        temporary = {path: stack.enter_context(replacing(path)) for path in (last, *files.values())}
        for name, path in files.items():
            _save(model.networks[name].state_dict(), temporary[path], path)
        state = {
            "networks": {n: net.state_dict() for n, net in model.networks.items() if n not in model.published},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in model.optimizers.items()},
            "memory": memory,
            "random": _random_states(_device(model)),
            "sha256": {name: sha256(temporary[path]) for name, path in files.items()},
        }
        _save({**state, **extra}, temporary[last], last)


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


def load_networks(folder: Path, tag: str, networks: Mapping[str, nn.Module]) -> None:
    """Load plain state dicts into networks, by name.

    Raises:
        UserError: a file is missing, damaged, or of another architecture.
    """
    for name, network in networks.items():
        path = network_path(folder, tag, name)
        load_into(network, load_file(path), path)


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


def load_state(folder: Path, tag: str) -> dict[str, Any] | None:
    """The state that was saved beside the networks; None where there is none (a published checkpoint)."""
    path = state_path(folder, tag)
    return load_file(path) if path.exists() else None


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
    return notes + _restore_random_states(state["random"], _device(model))


def follow_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay an optimizer's moments out in memory like its parameters, which may be stored channels last now or then.

    Fused steps walk through both by address, and would pair the wrong elements.
    """
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_file(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values onto the CPU.

    Raises:
        UserError: the file is missing or damaged, or holds anything but data.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; check --name, --checkpoints_dir and --epoch")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports damage by a dozen exception types
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise UserError(f"{path} cannot be read as a checkpoint ({reason}); use another --epoch") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds no state dict but a {type(loaded).__name__}")
    return loaded


def load_into(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load a state dict strictly; buffers and parameters must agree in name and shape.

    Raises:
        UserError: it belongs to another architecture; says where they first differ.
    """
    own = network.state_dict()
    differences = [
        *(f"{key} is missing" for key in own if key not in state),
        *(f"{key} is unknown" for key in state if key not in own),
        *(f"{key} is {list(getattr(value, 'shape', []))} instead of {list(own[key].shape)}"
          for key, value in state.items() if key in own and getattr(value, "shape", None) != own[key].shape),
        *(f"{key} holds no plain numbers" for key, value in state.items() if key in own and not is_plain(value)),
    ]
    if differences:
        raise UserError(
            f"{path} does not fit this {type(network).__name__}: {differences[0]}, {len(differences)} such differences "
            "in all; use the --netG, --netD, --ngf, --ndf, --norm and channel flags that it was trained with")
    network.load_state_dict(state)


def is_plain(value: Any) -> bool:
    """Whether a network can take its weights from ``value``: real numbers, each of which is there."""
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_complex()
            and not value.is_meta and not value.is_quantized and not value.is_nested)


def _save(content: Mapping[str, Any], temporary: Path, path: Path) -> None:
    try:
        with temporary.open("wb") as file:  # given a path, torch would write its name into the file
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise UserError(f"{path} could not be written ({error}); free some space or choose another "
                        "--checkpoints_dir; the checkpoints written before are intact") from error


def _device(model: Trainable) -> torch.device:
    return next(p.device for network in model.networks.values() for p in network.parameters())


def _random_states(device: torch.device) -> dict[str, Any]:
    """States of the CPU's generator and the run's own device's: asking others would start their drivers."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _restore_random_states(states: Mapping[str, Any], device: torch.device) -> list[str]:
    torch.set_rng_state(states["cpu"])
    if device.type not in states:
        return [f"the checkpoint has no random state for the device {device.type}, so random choices there differ "
                "from those of an uninterrupted run"]
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type])
    return []
