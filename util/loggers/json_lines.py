"""Values as JSON lines: one object per report."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from util.files import move_aside, replacing

from .sink import Sink

LOG = "loss_log.jsonl"
TAIL = 1 << 14  # bytes at a log's end that hold its last report


class JsonLinesSink(Sink):
    """Append lines like ``{"step": 400, "time": 1700000000.0, "G": 0.25}``; ``time`` is in Unix seconds.

    Values that JSON lacks are written as ``"nan"``, ``"inf"`` or ``"-inf"``, which ``float()`` reads.

    Args:
        path: the log.
        resume_step: images seen up to the checkpoint that the run continues from; later and unfinished lines are
            dropped. With 0 the run is new, and an earlier run's log is moved aside to ``path.1``, ``path.2``, ...
    """

    tries_again = True

    def __init__(self, path: Path, resume_step: int = 0) -> None:
        self._path = path
        if resume_step == 0:
            move_aside(path)
        elif path.exists():
            with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.writelines(line for line, _ in _reports_until(path, resume_step))
        self._file = self._open()

    def _open(self) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("a", encoding="utf-8", buffering=1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line immediately, into a new file if the log was removed."""
        if not self._path.exists():
            self._file.close()
            self._file = self._open()
        numbers = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        record = {"step": step, "time": round(time.time(), 3), **numbers}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_values(path: Path, last_step: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the steps up to ``last_step`` with their values; none if there is no log."""
    for _, record in _reports_until(path, last_step) if path.is_file() else ():
        yield record["step"], {name: float(value) for name, value in record.items() if name not in ("step", "time")}


def last_time(path: Path) -> float:
    """Return the Unix time of a log's last report; 0 if there is no log."""
    if not path.is_file():
        return 0.0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        tail = file.read().decode("utf-8", errors="replace")
    times = re.findall(r'^\{"step": \d+, "time": (\d+(?:\.\d+)?)[,}]', tail, re.MULTILINE)
    return float(times[-1]) if times else 0.0


def _reports_until(path: Path, last_step: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines up to ``last_step`` and their values."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut off when its process was killed
            step = record.get("step") if isinstance(record, dict) else None
            if isinstance(step, int) and step <= last_step:
                yield line.rstrip("\n") + "\n", record
