"""How much memory there is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SHARED = Path("/dev/shm")


def room(system: Path = Path("/")) -> dict[str, int]:
    """Bytes that can still be taken, by where: ``memory``, and ``/dev/shm`` where shared memory lies there.

    Linux tells both, also inside a container or a job with a limit of its own; macOS tells the machine's whole memory,
    and Windows nothing.

    Args:
        system: the root of the files that Linux tells it in.
    """
    limits = [*_free(system / "proc/meminfo"), *_left_to_groups(system)]
    if not limits and hasattr(os, "sysconf"):
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    found = {"memory": min(limits)} if limits else {}
    if (shared := shared_room()) is not None:
        found[str(SHARED)] = shared
    return found


def shared_room() -> int | None:
    """Bytes that `SHARED` can still take; containers make it small, and some systems have none."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else None


def _free(meminfo: Path) -> list[int]:
    if not meminfo.is_file():
        return []
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return [1024 * int(words[1]) for words in lines if words[0] == "MemAvailable:"]


def _left_to_groups(system: Path) -> list[int]:
    """What the limits of this process's control groups (version 2), from its own up to the root, still allow."""
    membership, root = system / "proc/self/cgroup", system / "sys/fs/cgroup"
    if not membership.is_file():
        return []
    own = [line.removeprefix("0::/") for line in membership.read_text().splitlines() if line.startswith("0::/")]
    left = []
    for group in (folder for name in own for folder in (root / name, *(root / name).parents)):
        limit, used, details = (group / f"memory.{name}" for name in ("max", "current", "stat"))
        if group.is_relative_to(root) and limit.is_file() and limit.read_text().strip() != "max":
            counts = dict(line.split() for line in details.read_text().splitlines())
            # Files that were read count as used until somebody needs the memory.
            left.append(int(limit.read_text()) - int(used.read_text()) + int(counts["inactive_file"]))
    return left
