"""Checkpoints: ``EPOCH_net_G.pth`` and so on are plain state dicts, ``EPOCH_state.pth`` is everything else.

All files are written whole or not at all, the state last, and read without executing anything in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from .errors import UserError
from .files import replacing


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


def save_checkpoint(folder: Path, tag: str, model: Trainable, extra: Mapping[str, Any]) -> None:
    """Write the model's published networks, then everything else that resuming needs.

    Args:
        folder: the experiment's folder.
        tag: ``latest``, an epoch's number or ``iter_N``.
        model: its networks, optimizers and memory.
        extra: the loop's own state (counters, schedulers, options): tensors, numbers, strings, dicts and lists.
    """
    for name in model.published:
        _save(model.networks[name].state_dict(), network_path(folder, tag, name))
    state = {
        "networks": {n: net.state_dict() for n, net in model.networks.items() if n not in model.published},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in model.optimizers.items()},
        "memory": {name: item.state_dict() for name, item in model.memory.items()},
        "random": _random_states(),
    }
    _save({**state, **extra}, state_path(folder, tag))


def load_networks(folder: Path, tag: str, networks: Mapping[str, nn.Module]) -> None:
    """Load plain state dicts into networks, by name.

    Raises:
        UserError: a file is missing, damaged, or of another architecture.
    """
    for name, network in networks.items():
        path = network_path(folder, tag, name)
        load_into(network, load_file(path), path)


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
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} does not fit this run ({reason}); continue with the flags that it was trained with, "
                        "or remove it to go on from the networks alone") from error


def restore(model: Trainable, state: Mapping[str, Any], folder: Path, tag: str) -> list[str]:
    """Put a loaded state back into a model whose networks are loaded, and restore the random states.

    Returns:
        Names of networks of the model that the state does not have (LSeSim's heads, where the checkpoint was
        trained without): they start afresh, with their optimizers.

    Raises:
        UserError: a network does not fit. What else is wrong with a state raises as `refusing_foreign_state` says.
    """
    path = state_path(folder, tag)
    extra = [name for name in model.networks if name not in model.published]
    missing = [name for name in extra if name not in state["networks"]]
    for name in extra:
        if name not in missing:
            load_into(model.networks[name], state["networks"][name], path)
    for name, optimizer in model.optimizers.items():
        if name in state["optimizers"]:
            optimizer.load_state_dict(state["optimizers"][name])
    for name, item in model.memory.items():
        if name in state["memory"]:
            item.load_state_dict(state["memory"][name])
    _restore_random_states(state["random"])
    return missing


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
    ]
    if differences:
        raise UserError(
            f"{path} does not fit this {type(network).__name__}: {differences[0]}, {len(differences)} such differences "
            "in all; use the --netG, --netD, --ngf, --ndf, --norm and channel flags that it was trained with")
    network.load_state_dict(state)


def _save(content: Mapping[str, Any], path: Path) -> None:
    try:
        with replacing(path) as temporary:
            torch.save(content, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise UserError(f"{path} could not be written ({error}); free some space or choose another "
                        "--checkpoints_dir; the checkpoints written before are intact") from error


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def _restore_random_states(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
