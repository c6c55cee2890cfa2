"""Weights of published networks, from a file or downloaded once into torch's cache."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.errors import UserError


def weights_file(file: Path | None, url: str, flag: str) -> Path:
    """Return ``file``, or else the file behind ``url``, downloaded unless it is in torch's cache.

    Args:
        file: chosen by the user.
        url: its file name ends in ``-`` and the first digits of the SHA-256, which are checked.
        flag: the flag that names ``file``, for error messages.

    Raises:
        UserError: there is no such file, or it cannot be downloaded.
    """
    if file is not None:
        if not file.is_file():
            raise UserError(f"{flag}: there is no file {file}; give the path of {Path(url).name}")
        return file
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(cached), cached.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:  # no network; a broken file
            raise UserError(f"{url} cannot be downloaded ({error}); fetch it elsewhere and name it with {flag} FILE, "
                            f"or put it into {cached.parent}") from None
    return cached


def read_state(path: Path, flag: str) -> dict[str, Tensor]:
    """Read a state dict as data, without running code.

    Raises:
        UserError: the file holds something else.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many kinds
        raise UserError(f"{flag}: {path} is no readable state dict ({type(error).__name__}); remove "
                        "it and download it again") from None
    if not isinstance(state, dict):
        raise UserError(f"{flag}: {path} holds a {type(state).__name__} instead of a state dict")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{flag}: {path} is no state dict: it holds a {type(value).__name__} as {key!r}")
    return state
