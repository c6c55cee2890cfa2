"""Files packed into tar files with an index, read at random by offset.

``trainA-00000.tar``, ``trainA-00001.tar``, ... (or ``trainA.tar``) and ``trainA.index`` stand for ``trainA``, a folder.
Their files keep the paths that they would have in the folder, such as ``trainA/night/1.png``.
``datasets/make_shards.py`` writes them.

The index is a file of numpy: its arrays take some 50 bytes for each file, and worker processes share them.
"""

import os
import re
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .files import replacing

VERSION = 1
OPEN_TARS = 128  # in each process
_UNSAFE = re.compile(rb"(?:^|[\0/])\.{0,2}(?=[\0/])")  # a part of a path that is empty, . or ..
_DAMAGED = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Entry(NamedTuple):
    """The place of one file."""

    name: str
    """Its path relative to the folder, with slashes."""
    tar: int
    """Number of the tar file."""
    offset: int
    size: int
    crc: int
    """CRC-32 of its bytes."""


@dataclass(frozen=True)
class Shards:
    """The tar files that stand for a folder, and their index.

    Attributes:
        folder: the folder, which does not exist.
        tars: names of the tar files.
        names: of all files, in the order of Python's strings, each followed by a zero byte.
        ends: where each name ends in ``names``.
        places: number of the tar file, offset, size and CRC-32 of each file, int64 [files, 4].
    """

    folder: Path
    tars: Sequence[str]
    names: bytes
    ends: NDArray[np.int64]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_shards, (self.folder,)  # a spawned worker reads the index itself

    def name(self, number: int) -> bytes:
        """Return a name as ``names`` holds it."""
        return self.names[self.ends[number - 1] + 1 if number else 0:self.ends[number]]

    def find(self, name: str) -> int | None:
        """Return the number of a file; None: there is none of this name."""
        key = _encode(name)
        number = bisect_left(range(len(self)), key, key=self.name)
        return number if number < len(self) and self.name(number) == key else None

    def size(self, number: int) -> int:
        """Return the bytes of a file."""
        return int(self.places[number, 2])

    def read(self, number: int) -> bytes:
        """Read a file.

        Raises:
            OSError: the tar file cannot be read.
            ValueError: the bytes are not those of the index.
        """
        tar, offset, size, crc = self.places[number].tolist()
        data = _read_at(self.folder.parent / self.tars[tar], offset, size)
        if len(data) != size or zlib.crc32(data) != crc:
            raise ValueError(f"its bytes in {self.tars[tar]} are not those of the index: the tar file is damaged or "
                             "another one")
        return data


class ShardPaths(Sequence[Path]):
    """The paths of all files of `Shards`, in order; made when they are asked for."""

    def __init__(self, shards: Shards, numbers: range) -> None:
        self.shards, self.numbers = shards, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...

    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return ShardPaths(self.shards, self.numbers[index])
        return self.shards.folder / _decode(self.shards.name(self.numbers[index]))


_OPENED: dict[str, Shards] = {}
"""By the beginning of the paths of their files."""


def index_of(folder: Path) -> Path:
    """Return the path of the index."""
    return folder.parent / f"{folder.name}.index"


def tars_of(folder: Path) -> list[Path]:
    """Find the tar files that stand for a folder."""
    pattern = re.compile(re.escape(folder.name) + r"(-\d+)?\.tar")
    found = os.scandir(folder.parent) if folder.parent.is_dir() else ()
    return sorted(folder.parent / entry.name for entry in found if pattern.fullmatch(entry.name))


def is_folder(folder: Path) -> bool:
    """Check whether there is a folder, or tar files stand for it."""
    return folder.is_dir() or index_of(folder).is_file() or bool(tars_of(folder))


def open_shards(folder: Path) -> Shards | None:
    """Read the index of the tar files that stand for a folder; None if there are none.

    Raises:
        UserError: there are tar files without an index, an index that is damaged or of other tar files, or a folder
            beside an index.
    """
    index, rewrite = index_of(folder), f"write it with python datasets/make_shards.py {folder.parent} --index"
    _OPENED.pop(_prefix(folder), None)
    _opened.cache_clear()  # the tar files may have been replaced
    if folder.is_dir():
        if index.is_file():
            raise UserError(f"{folder} is a folder, and {index} puts tar files in its place; remove one of the two")
        return None
    tars = tars_of(folder)
    if not index.is_file():
        if tars:
            raise UserError(f"{tars[0]} has no index {index.name}; {rewrite}")
        return None
    try:
        shards, sizes = _load(folder, index)
    except _DAMAGED as error:
        raise UserError(f"{index} is damaged ({' '.join(str(error).split())}); {rewrite}") from None
    there = {tar.name: tar.stat().st_size for tar in tars}
    for name in sorted({*there, *sizes}):
        if name not in there or there[name] != sizes.get(name):
            found = f"{there[name]} bytes" if name in there else "missing"
            expected = f"{sizes[name]} bytes" if name in sizes else "no such file"
            raise UserError(f"{index} is of other tar files: {name} is {found}, in the index {expected}; restore the "
                            f"tar files, or if they are right, {rewrite}")
    return _OPENED.setdefault(_prefix(folder), shards)


def find_member(path: Path) -> tuple[Shards, int] | None:
    """Find the tar files that hold a file, and its number in them; None for a file of its own, or none at all."""
    if _OPENED and (found := _look_up(path)):
        return found
    if path.exists():
        return None
    # A program may have the path from elsewhere, without a list of the folder.
    unopened = [folder for folder in path.parents if index_of(folder).is_file() and _prefix(folder) not in _OPENED]
    return _look_up(path) if any(open_shards(folder) for folder in unopened) else None


def save_index(folder: Path, tars: Sequence[Path], entries: Sequence[Entry]) -> None:
    """Write the index of tar files that stand for ``folder``."""
    entries = sorted(entries, key=lambda entry: entry.name)
    arrays: dict[str, Any] = {
        "version": np.array(VERSION), "tars": np.array([tar.name for tar in tars]),
        "tar_sizes": np.array([tar.stat().st_size for tar in tars], dtype=np.int64),
        "names": np.frombuffer(b"".join(_encode(entry.name) + b"\0" for entry in entries), dtype=np.uint8),
        "places": np.array([entry[1:] for entry in entries], dtype=np.int64).reshape(-1, 4),
    }
    with replacing(index_of(folder)) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _load(folder: Path, index: Path) -> tuple[Shards, dict[str, int]]:
    """Read an index, and the sizes of its tar files by name.

    Raises:
        ValueError: it is no index.
    """
    with np.load(index, allow_pickle=False) as arrays:
        if arrays["version"] != VERSION:
            raise ValueError(f"of version {arrays['version']}, not {VERSION}")
        tars, sizes, places = arrays["tars"].tolist(), arrays["tar_sizes"], arrays["places"]
        names = arrays["names"].tobytes()
    ends = np.flatnonzero(np.frombuffer(names, dtype=np.uint8) == 0)
    if len(ends) != len(places) or not len(ends):
        raise ValueError(f"{len(ends)} names of {len(places)} files")
    if _UNSAFE.search(names):
        raise ValueError("a name leads out of the folder")
    tar, offset, size, _ = places.T
    if places.min() < 0 or tar.max() >= len(tars) or (offset + size > sizes[tar]).any():
        raise ValueError("a file ends behind its tar file")
    return Shards(folder, tars, names, ends, places), dict(zip(tars, sizes.tolist(), strict=True))


def _prefix(folder: Path) -> str:
    return f"{folder.as_posix()}/"


def _look_up(path: Path) -> tuple[Shards, int] | None:
    text = path.as_posix()
    for prefix, shards in _OPENED.items():
        if text.startswith(prefix) and (number := shards.find(text[len(prefix):])) is not None:
            return shards, number
    return None


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # sorted as the strings are, also of names in no encoding


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _read_at(tar: Path, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):  # threads and forked processes share the file, but no position in it
        file = _opened(tar)  # a name of its own keeps it open, even if another thread drives it out of the cache
        return os.pread(file.fileno(), size, offset)
    with FileIO(tar) as file:  # Windows
        file.seek(offset)
        return file.read(size)


@lru_cache(OPEN_TARS)
def _opened(tar: Path) -> FileIO:
    return FileIO(tar)
