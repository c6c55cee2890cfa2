"""Files that are either whole or absent, old files that are kept, and digests of files."""

import errno
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import UserError

BUSY = (5, 32)
"""Windows' ERROR_ACCESS_DENIED and ERROR_SHARING_VIOLATION: another program has the file open."""
WAITS = (0.01, 0.1, 1.0)  # seconds between attempts


@contextmanager
def temporary_in(folder: Path) -> Iterator[Path]:
    """Yield a free path in ``folder``; make a missing folder, and remove the file at the end."""
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
        replace(temporary, path)


def replace(path: Path, target: Path) -> None:
    """Rename a file, in the place of what ``target`` was.

    Windows refuses that while another program, a virus scanner or a browser, has one of them open: it is tried again.

    Raises:
        OSError: it cannot be renamed; ``target`` is what it was.
    """
    for wait in WAITS:
        try:
            path.replace(target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in BUSY:
                raise
            time.sleep(wait)
    path.replace(target)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files, at any depth, of processes that were killed."""
    for path in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    Windows does not open folders, and some network file systems do not flush them; there, only the file is waited for.

    Raises:
        OSError: the file cannot be flushed.
    """
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)  # Windows flushes only files open for writing
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (folder and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)):
            raise


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
            folder.parent.mkdir(parents=True, exist_ok=True)
            _lock(stack.enter_context(path.open("ab")))
        except BlockingIOError:
            raise UserError(f"another process is writing into {folder}; wait for its end or write elsewhere (if "
                            f"its machine has failed, remove {path})") from None
        except OSError:
            pass  # no locks here, or nothing can be written, which whoever writes into the folder will tell
        yield


def _lock(file: BinaryIO) -> None:
    """Lock an empty file until it is closed.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: the file system knows no locks.
    """
    try:
        import fcntl  # noqa: PLC0415 - only on Unix
    except ImportError:
        import msvcrt  # noqa: PLC0415 - only on Windows

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError as error:
            raise BlockingIOError(*error.args) from error
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, it is not handed down to workers


def move_aside(path: Path) -> Path | None:
    """Rename ``path`` to the first free of ``path.1``, ``path.2``, ...; ``None`` where there is nothing."""
    if not path.exists():
        return None
    number = 1
    while (free := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(free)


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file of any size, hexadecimal."""
    with path.open("rb") as file:
        return sha256_of(file)


def sha256_of(file: BinaryIO) -> str:
    """Compute the SHA-256 of the rest of an open file, hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
