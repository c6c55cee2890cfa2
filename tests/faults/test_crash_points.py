"""A process that dies at any operation on files while it saves leaves a whole state, from one save alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.checkpoints import read_state, save_checkpoint
from util.errors import UserError
from util.files import remove_leftovers
from util.state_dicts import LATEST, load_file, network_path, state_path

OPERATIONS = ("replace", "link", "unlink", "fsync")


class KilledError(BaseException):
    """Stands for the death of the process: nothing that runs after it has any effect on files."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[list[str]]:
    """Let ``after`` operations happen and no more; yields those that were tried."""
    tried: list[str] = []

    def mortal(name: str, function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            tried.append(name)
            if len(tried) > after:
                raise KilledError
            return function(*arguments, **keywords)
        return call

    with monkeypatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, mortal(name, getattr(os, name)))
        patch.setattr(torch, "save", mortal("save", torch.save))
        yield tried


def model_of(save: int) -> Any:
    """Return a model whose every number is that of its save."""
    networks = {name: torch.nn.Linear(2, 2) for name in "GDF"}
    for network in networks.values():
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, save)
    return SimpleNamespace(networks=networks, published=("G", "D"), memory={}, device=torch.device("cpu"), optimizers={
        "G": torch.optim.SGD(networks["G"].parameters(), lr=float(save))})


def save(folder: Path, number: int, **also: Any) -> None:
    save_checkpoint(folder, LATEST, model_of(number), {"number": number}, **also)


def number_of(folder: Path, tag: str) -> int | None:
    """Return the number of the save of a state, None where there is none; check that all of it is of one save."""
    if (state := read_state(folder, tag)) is None:
        return None
    found = numbers_in(*state["networks"].values()) | {int(state["optimizers"]["G"]["param_groups"][0]["lr"])}
    assert found == {state["number"]}, f"{tag} is a mixture of saves {found} and {state['number']}"
    return int(state["number"])


def numbers_in(*networks: dict[str, Any]) -> set[int]:
    return {int(value) for network in networks for tensor in network.values() for value in tensor.flatten()}


def exported(folder: Path, tag: str) -> list[int]:
    """Return the numbers of the saves of the exported networks; check that each is of one."""
    files = [path for name in "GD" if (path := network_path(folder, tag, name)).exists()]
    return [number for path in files for (number,) in [numbers_in(load_file(path))]]


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait for the disk is an operation like the others, but takes no time here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize("also", [{}, {"also": "5", "keep_last": 1}], ids=["one tag", "two tags"])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_save_that_dies_anywhere_leaves_a_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: int, also: dict[str, Any]
) -> None:
    """The state of this save or of the one before; networks are never there without a state."""
    before, now, tags = earlier or None, earlier + 1, (LATEST, "5") if also else (LATEST,)
    if earlier:
        save(tmp_path / "counted", 1, **also)
    with dying(monkeypatch, after=1000) as tried:
        save(tmp_path / "counted", now, **also)
    assert {"save", "replace", "fsync"} <= set(tried)
    assert len(tried) > 9
    seen = set()
    for after in range(len(tried)):
        folder = tmp_path / str(after)
        if earlier:
            save(folder, 1, **also)
        with dying(monkeypatch, after), pytest.raises(KilledError):
            save(folder, now, **also)
        for tag in tags:
            number, files = number_of(folder, tag), exported(folder, tag)
            assert number in {before, now}, f"after {after} operations {tag} is of save {number}"
            assert set(files) <= {before, now}
            assert not earlier or (len(files) == 2 and min(files) >= number), "a network is older than the state"
            assert number is not None or not files, "networks would go on alone"
        seen.add(number_of(folder, LATEST))
        # The next process goes on as if nothing had been.
        remove_leftovers(folder)
        assert not list(folder.glob(".*"))
        save(folder, now + 1, **also)
        for tag in tags:
            assert number_of(folder, tag) == now + 1
            assert exported(folder, tag) == [now + 1, now + 1]
    assert seen == {before, now}


def test_file_systems_without_links_get_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in (1, 2):
        save(tmp_path, number, also=str(number))
    assert [number_of(tmp_path, tag) for tag in (LATEST, "1", "2")] == [2, 1, 2]
    assert state_path(tmp_path, "2").stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_file_systems_that_cannot_flush_folders_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (kind == "folder"):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    if kind == "file":
        with pytest.raises(UserError, match="Invalid argument"):
            save(tmp_path, 1)
        return
    for number in (1, 2):
        save(tmp_path, number)
    assert number_of(tmp_path, LATEST) == 2


def test_a_second_tag_takes_no_second_space(tmp_path: Path) -> None:
    save(tmp_path, 1, also="10")
    assert state_path(tmp_path, "10").samefile(state_path(tmp_path, LATEST))
    save(tmp_path, 2)
    assert [number_of(tmp_path, tag) for tag in (LATEST, "10")] == [2, 1]
