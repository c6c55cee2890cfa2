"""Curves of a training's log, ready to be drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

from util.plots import Points

MOST_POINTS = 300
"""Of a curve: more of them are not seen."""


def logged_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Every value of a ``loss_log.jsonl`` by name, over the images seen; empty where there is no such file.

    Lines that a killed process has left unfinished are left out.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    if not path.is_file():
        return curves
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
                step = float(record.pop("step"))
                values = {name: float(value) for name, value in record.items() if name != "time"}
            except (ValueError, LookupError, TypeError, AttributeError):
                continue
            for name, value in values.items():
                curves.setdefault(name, []).append((step, value))
    return curves


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points, each the mean of as many neighbours; values that are not finite count in no mean."""
    size = math.ceil(len(points) / most)
    return [_mean(points[start:start + size]) for start in range(0, len(points), size)] if size > 1 else list(points)


def _mean(points: Points) -> tuple[float, float]:
    values = [value for _, value in points if math.isfinite(value)]
    return sum(x for x, _ in points) / len(points), sum(values) / len(values) if values else math.nan
