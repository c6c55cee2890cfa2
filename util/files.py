"""Files that are either whole or absent, old files that are kept, and what tells two files apart."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends without an error.

    A reader sees the old file or the new one, never a part; after an error the old file is still there.
    Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not made of path's own name, which may already be as long as names can get.
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def move_aside(path: Path) -> Path | None:
    """Rename ``path`` to the first free of ``path.1``, ``path.2``, ...; ``None`` where there is nothing."""
    if not path.exists():
        return None
    number = 1
    while (free := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(free)


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
