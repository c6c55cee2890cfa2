"""A process that dies at any operation on files while it saves leaves a checkpoint that loads, from one save alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.checkpoints import find_whole, save_checkpoint
from util.errors import UserError
from util.files import remove_leftovers
from util.filesets import fault
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
    """A model whose every number is that of its save."""
    networks = {name: torch.nn.Linear(2, 2) for name in "GDF"}
    for network in networks.values():
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, save)
    return SimpleNamespace(networks=networks, published=("G", "D"), memory={}, optimizers={
        "G": torch.optim.SGD(networks["G"].parameters(), lr=float(save))})


def save(folder: Path, number: int, **also: Any) -> None:
    save_checkpoint(folder, LATEST, model_of(number), {"number": number}, **also)


def number_of(folder: Path, tag: str) -> int:
    """Of which save a checkpoint is; fails unless all of it is of one."""
    state = load_file(state_path(folder, tag))
    networks = [load_file(network_path(folder, tag, name)) for name in "GD"] + [state["networks"]["F"]]
    found = {int(value) for network in networks for tensor in network.values() for value in tensor.flatten()}
    assert found == {state["number"]}, f"{tag} is a mixture of saves {found} and {state['number']}"
    return int(state["number"])


def operations_of_a_save(folder: Path, monkeypatch: pytest.MonkeyPatch, earlier: int, **also: Any) -> int:
    for number in range(1, earlier + 1):
        save(folder, number)
    with dying(monkeypatch, after=1000) as tried:
        save(folder, earlier + 1, **also)
    assert {"save", "replace", "fsync"} <= set(tried)
    return len(tried)


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait for the disk is an operation like the others, but takes no time here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize(("earlier", "also"), [(1, {}), (2, {}), (2, {"also": "5", "keep_last": 1})],
                         ids=["second save", "third save", "third save, under two tags"])
def test_a_save_that_dies_anywhere_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: int, also: dict[str, Any]
) -> None:
    count = operations_of_a_save(tmp_path / "counted", monkeypatch, earlier, **also)
    assert count > 15
    seen = set()
    for after in range(count):
        folder = tmp_path / str(after)
        for number in range(1, earlier + 1):
            save(folder, number)
        with dying(monkeypatch, after), pytest.raises(KilledError):
            save(folder, earlier + 1, **also)
        tag, notes = find_whole(folder, LATEST)
        assert fault(folder, tag) is None
        number = number_of(folder, tag)
        assert number in {earlier, earlier + 1}, f"after {after} operations {tag} is of save {number}"
        assert bool(notes) == (tag == "previous")
        seen.add((tag, number))
        # The next process goes on as if nothing had been.
        remove_leftovers(folder)
        assert not list(folder.glob(".*"))
        for later in (earlier + 2, earlier + 3):
            save(folder, later, **also)
            assert number_of(folder, find_whole(folder, LATEST)[0]) == later
    assert seen == {(LATEST, earlier), ("previous", earlier), (LATEST, earlier + 1)}


def test_a_save_that_dies_while_it_follows_a_broken_one_keeps_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in range(operations_of_a_save(tmp_path / "counted", monkeypatch, 2)):
        folder = tmp_path / str(after)
        for number in (1, 2):
            save(folder, number)
        network_path(folder, LATEST, "D").write_bytes(b"broken")
        with suppress(KilledError), dying(monkeypatch, after):  # it takes fewer operations, as nothing is linked
            save(folder, 3)
        tag, _ = find_whole(folder, LATEST)
        assert number_of(folder, tag) == (1 if tag == "previous" else 3)


def test_a_first_save_that_dies_is_no_checkpoint_or_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = set()
    for after in range(operations_of_a_save(tmp_path / "counted", monkeypatch, 0)):
        folder = tmp_path / str(after)
        with dying(monkeypatch, after), pytest.raises(KilledError):
            save(folder, 1)
        try:
            ends.add(number_of(folder, find_whole(folder, LATEST)[0]))
        except UserError:
            ends.add(None)
        assert state_path(folder, LATEST).exists() or not list(folder.glob("*.pth")), "networks would go on alone"
    assert ends == {None, 1}


def test_a_checkpoint_without_a_manifest_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for after in range(operations_of_a_save(tmp_path / "counted", monkeypatch, 1)):
        folder = tmp_path / str(after)
        save(folder, 1)
        (folder / "latest_manifest.json").unlink()  # as from an older version
        with suppress(KilledError), dying(monkeypatch, after):
            save(folder, 2)
        for tag in (LATEST, "previous"):
            try:
                assert number_of(folder, tag) in {1, 2}
                break
            except (AssertionError, UserError):
                assert tag == LATEST, f"nothing is whole after {after} operations"


def test_file_systems_without_links_get_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in (1, 2):
        save(tmp_path, number, also=str(number))
    assert [number_of(tmp_path, tag) for tag in (LATEST, "previous", "1", "2")] == [2, 1, 1, 2]
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
    assert [number_of(tmp_path, tag) for tag in (LATEST, "previous")] == [2, 1]


def test_a_second_tag_takes_no_second_space(tmp_path: Path) -> None:
    save(tmp_path, 1, also="10")
    assert state_path(tmp_path, "10").samefile(state_path(tmp_path, LATEST))
    save(tmp_path, 2)
    assert [number_of(tmp_path, tag) for tag in (LATEST, "previous", "10")] == [2, 1, 1]
