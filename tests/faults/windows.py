"""Simulate limits of Windows on Linux: ``import windows`` sets them, ``python windows.py PROGRAM ...`` runs programs.

They also apply in worker processes, which are spawned and import the main module. ``:`` separates command lines.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import runpy
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DESCRIPTORS = Path("/proc/self/fd")


def is_open(path: Any) -> bool:
    """Check whether this process has the file, or a file in the folder, open."""
    place = os.path.realpath(path)
    names = [str(entry.readlink()) for entry in DESCRIPTORS.iterdir() if entry.is_symlink()]
    return any(name == place or name.startswith(place + os.sep) for name in names)


def refusing_open_files(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*paths: Any, **keywords: Any) -> Any:
        for path in paths[:2]:
            if not keywords and is_open(path):
                error = PermissionError(errno.EACCES, "The process cannot access the file", str(path))
                error.winerror = 32  # type: ignore[attr-defined]
                raise error
        return function(*paths, **keywords)
    return call


def switch_on() -> None:
    """Let operations fail that Windows refuses."""
    real_open, real_fsync = os.open, os.fsync

    def open_file(path: Any, flags: int, *more: Any, **keywords: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, flags, *more, **keywords)

    def fsync(descriptor: int) -> None:
        if _is_read_only(descriptor):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_fsync(descriptor)

    os.open, os.fsync = open_file, fsync
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, refusing_open_files(getattr(os, name)))
    del os.sched_getaffinity
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"):
        delattr(signal, name)
    del select.poll
    sys.modules["resource"] = None  # type: ignore[assignment]
    multiprocessing.set_start_method("spawn", force=True)


def _is_read_only(descriptor: int) -> bool:
    flags = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").split("flags:")[1].split()[0]
    return int(flags, 8) & os.O_ACCMODE == os.O_RDONLY


def main() -> None:
    """Run the command lines; end with the first exit code that is not 0."""
    sys.path.insert(0, str(ROOT))
    lines: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        lines.append([]) if word == ":" else lines[-1].append(word)
    for line in lines:
        sys.argv = line
        try:
            runpy.run_path(str(ROOT / line[0]), run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise


switch_on()
if __name__ == "__main__":
    main()
