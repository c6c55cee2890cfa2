"""A training that is weighed on its way, run by test_memory.py: ``train_and_weigh.py FILE`` and train.py's flags."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path

import train
from training import job
from util.loggers import Sink


class Scales(Sink):
    """Takes down, after every 100th step, the resident memory of this process and its workers: bytes."""

    def __init__(self) -> None:
        self.steps = 0
        self.weights: dict[int, int] = {}

    def advance(self, images: int) -> None:
        self.steps += 1
        if self.steps % 100 == 0:
            workers = (worker.pid for worker in multiprocessing.active_children())
            self.weights[self.steps] = sum(resident(process) for process in (os.getpid(), *workers))


def resident(process: int | None) -> int:
    """Measure the bytes of memory that a process occupies now; what several share counts for each."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {process} has ended")


def main() -> None:
    file, scales, open_sinks = Path(sys.argv.pop(1)), Scales(), job.open_sinks
    job.open_sinks = lambda *arguments: [*open_sinks(*arguments), scales]
    sys.stdout.isatty = lambda: True  # type: ignore[method-assign]  # for the progress bar
    try:
        train.main()  # which exits
    finally:
        file.write_text(json.dumps(scales.weights))


if __name__ == "__main__":
    main()
