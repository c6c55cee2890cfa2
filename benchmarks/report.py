"""Flags, machine description, tables and JSON of the benchmark programs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from options import flag
from util.device import choose_device
from util.errors import UserError

Row = Mapping[str, str | int | float | None]


def writable(text: str) -> Path:
    """Convert to a path; refuse a file that cannot be written before the work instead of after it.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another file") from error
    return path


@dataclass(frozen=True)
class BenchmarkFlags:
    """Device and report."""

    device: str = flag("auto", "device", choices=("auto", "cpu", "cuda"))
    rounds: int = flag(7, "timed rounds", minimum=1)
    threads: int | None = flag(None, "CPU threads", minimum=1, unset="torch's choice")
    json: Path | None = flag(None, "also write the results to this file", parse=writable)
    markdown: bool = flag(False, "print the table in Markdown")


def use_device(name: str, threads: int | None = None) -> torch.device:
    """Set torch's number of CPU threads, and return the device that ``--device`` names.

    Raises:
        UserError: there is no such device.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no CUDA GPU; use --device cpu")
    return choose_device({"auto": "auto", "cpu": "-1", "cuda": "0"}[name])


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Describe the conditions of a measurement: processors, torch, date."""
    machine: dict[str, str | int] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": cpu_model(), "cpu_cores": os.cpu_count() or 1, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "python": platform.python_version(), "system": platform.platform(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        machine |= {"cuda": torch.version.cuda or "none", "cudnn": torch.backends.cudnn.version() or 0}
    return machine


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def lines(values: Mapping[str, str | int | float]) -> str:
    """Format one line ``name: value`` for each."""
    return "\n".join(f"{name}: {cell(value)}" for name, value in values.items())


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """Format rows under the keys of the first one; text to the left, numbers to the right, of three digits or more."""
    names = list(rows[0])
    cells = [names, *([cell(row[name]) for name in names] for row in rows)]
    right = [not isinstance(rows[0][name], str) for name in names]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(names))]
    padded = [[text.rjust(width) if to_right else text.ljust(width)
               for text, width, to_right in zip(line, widths, right, strict=True)] for line in cells]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in padded)
    rule = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def cell(value: str | int | float | None) -> str:
    """Format a value: a number with three digits or more, a dash for none."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write results for programs."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
