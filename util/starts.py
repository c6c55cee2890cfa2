"""``runs.jsonl``: one line for each start of a training."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

FILE = "runs.jsonl"
ROOT = Path(__file__).resolve().parent.parent
GIT_SECONDS = 20  # a slow network file system must not hold up a training


def record_start(
    folder: Path, command: Sequence[str], changed: Sequence[str] | None, device: torch.device, *, processes: int,
    seed: int | None, images: int
) -> None:
    """Append a line to ``runs.jsonl``.

    Args:
        folder: the experiment's folder.
        command: the program and its arguments.
        changed: a text for each flag with another value than at the start before; None: there was none.
        device: of the first process.
        processes: number of processes.
        seed: of the training.
        images: images seen so far.

    Raises:
        OSError: the file cannot be written.
    """
    commit, dirty = code_version()
    record = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "command": shlex.join(command),
        "changed": changed, "images": images, "commit": commit, "dirty": dirty, "python": platform.python_version(),
        "torch": torch.__version__, "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": processes, "seed": seed}
    with (folder / FILE).open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read() != b"\n":  # cut off when the disk was full
                file.write(b"\n")
        file.write(json.dumps(record).encode() + b"\n")


def read_starts(folder: Path) -> list[Mapping[str, Any]]:
    """Read the starts of a training; damaged lines are left out, and without a file the list is empty."""
    if not (path := folder / FILE).is_file():
        return []
    starts: list[Mapping[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            starts.append(record)
    return starts


def local_time(start: Mapping[str, Any]) -> str:
    """Format the time of a start for people, in the time zone of this machine; another text stays as it is."""
    text = str(start.get("time", ""))
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M %Z}"
    except ValueError:
        return text


def code_version(root: Path = ROOT) -> tuple[str | None, bool | None]:
    """Return the git commit of the code, and whether tracked files differ from it; None without git."""
    if not (root / ".git").exists():  # not that of a folder above
        return None, None
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=True,
                              timeout=GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None, None
    lines = done.stdout.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    return None if commit == "(initial)" else commit, any(not line.startswith("#") for line in lines)
