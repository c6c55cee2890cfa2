"""The history of a run's values, and charts of it."""

from array import array
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from util.plots import Points, line_chart

from .sink import TOGETHER, chart_of, short

POINTS = 200  # of a drawn curve: each is the mean of neighbouring reports
SMOOTHING = 0.9  # weight of the past in a smoothed curve
TITLES = {
    "losses": "losses", "gradient": "gradient norms", "lr": "learning rates",
    "speed/images_per_second": "images a second", "data_wait": "share of the time spent waiting for data",
    "memory/resident_GB": "resident memory, GB", "memory/peak_GB": "peak GPU memory, GB",
    "eval_frechet": "Fréchet distance, lower is better", "eval_line_iou": "line IoU, higher is better",
    "eval_colour_error": "colour error, lower is better",
}


class Curves:
    """The values of a run, 16 bytes each."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append values by name; they may be NaN or infinite."""
        for name, value in values.items():
            steps, of = self._of.setdefault(name, (array("d"), array("d")))
            steps.append(step)
            of.append(value)

    def points(self) -> dict[str, Points]:
        """Return the curve of each name, of at most `POINTS` points."""
        return {name: thinned(np.array(steps), np.array(values)) for name, (steps, values) in self._of.items()}

    def charts(self) -> dict[str, str]:
        """Draw an SVG element for each chart, shared ones first, by name. Curves of a single value are left out.

        Raises:
            ImportError: matplotlib is not installed.
        """
        together: dict[str, dict[str, Points]] = {chart: {} for chart in TOGETHER}
        for name, points in self.points().items():
            if len(points) > 1:
                together.setdefault(chart_of(name), {})[short(name)] = points
        return {chart: draw(chart, curves) for chart, curves in together.items() if curves}


def draw(chart: str, curves: Mapping[str, Points]) -> str:
    """Draw a chart; noisy values are smoothed, with the original curves behind them."""
    title = TITLES.get(chart, short(chart))
    if chart not in ("losses", "gradient", "speed/images_per_second"):
        return line_chart(curves, title=title, x_label="images seen")
    return line_chart({name: smoothed(points) for name, points in curves.items()}, pale=curves, title=title,
                      x_label="images seen", log=chart == "gradient")


def thinned(steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Points:
    """Average neighbours to at most `POINTS` points; the mean is not finite where a value is not."""
    parts = min(POINTS, len(steps))
    return [(float(x.mean()), float(y.mean()))
            for x, y in zip(np.array_split(steps, parts), np.array_split(values, parts), strict=True)]


def smoothed(points: Points) -> Points:
    """Return the exponential moving average; values that are not finite stay and do not count."""
    total = weight = 0.0
    smooth = []
    for x, value in points:
        if np.isfinite(value):
            total, weight = SMOOTHING * total + value, SMOOTHING * weight + 1
        smooth.append((x, total / weight if np.isfinite(value) else value))
    return smooth
