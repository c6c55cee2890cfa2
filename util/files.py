"""Files that are either whole or absent, old files that are kept, and what tells two files apart."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import UserError


@contextmanager
def temporary_in(folder: Path) -> Iterator[Path]:
    """Yield a free path in ``folder``, which is made where it is missing; whatever is there at the end is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not made of the final name, which may already be as long as names can get.
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends without an error.

    A reader sees the old file or the new one, never a part; after an error the old file is still there.
    Missing folders are made.
    """
    with temporary_in(path.parent) as temporary:
        yield temporary
        temporary.replace(path)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files, at any depth, of processes that were killed."""
    for path in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    Some network file systems cannot be asked about folders; then their word is as good as it gets.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others that ask for ``folder`` out, as long as the block runs or the process lives.

    A file beside it says so, ``.NAME.lock``, since the folder itself may be moved. It also counts on other machines
    that share the file system; where that knows no locks, nobody is kept out.

    Raises:
        UserError: another process has it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    with ExitStack() as stack:
        try:
            import fcntl  # noqa: PLC0415 - only on Unix

            folder.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("ab"))
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, it is not handed down to workers
        except BlockingIOError:
            raise UserError(f"another process is writing into {folder}; wait for its end or write elsewhere (if "
                            f"its machine has failed, remove {path})") from None
        except (OSError, ImportError):
            pass  # no locks here, or nothing can be written, which whoever writes into the folder will tell
        yield


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
