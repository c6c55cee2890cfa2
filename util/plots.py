"""Plots of curves for pages."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Points = Sequence[tuple[float, float]]
"""Horizontal and vertical positions of a curve."""
LEGEND = 72  # letters in a line of the legend; the sample of a curve takes as much as 8


def line_chart(
    curves: Mapping[str, Points], *, title: str = "", x_label: str = "", marked: float | None = None,
    pale: Mapping[str, Points] | None = None, log: bool = False, order: Sequence[str] = (),
) -> str:
    """Draw curves in one plot: an SVG element that needs nothing else and shrinks with its page.

    Values that are not finite leave gaps.

    Args:
        curves: by their names in the legend, in this order.
        title, x_label: texts around the plot.
        marked: position of a vertical line, such as the best epoch.
        pale: by name, the curves before smoothing, drawn behind the smoothed ones.
        log: logarithmic vertical axis, on which values up to 0 leave gaps.
        order: names of the curves of several charts, so that a curve has the same colour in each; by default the
            names in this chart.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6, 3.3), layout="constrained")
    axes = figure.subplots()
    places = {name: number for number, name in enumerate(order or curves)}
    for name, points in curves.items():
        colour = f"C{places[name]}"
        if pale and name in pale:
            axes.plot(*_columns(pale[name]), color=colour, linewidth=0.8, alpha=0.3)
        axes.plot(*_columns(points), label=name, color=colour, linewidth=1.2,
                  marker="." if len(points) < 30 else None)
    if log:
        axes.set_yscale("log")
        _label_plainly(axes.yaxis)
    if marked is not None:
        axes.axvline(marked, color="0.5", linestyle=":")
    axes.set(title=title, xlabel=x_label)
    axes.grid(alpha=0.3)
    if curves:  # below the plot, so that it hides nothing
        columns = LEGEND // (max(map(len, curves)) + 8)
        figure.legend(loc="outside lower center", frameon=False, ncols=max(1, min(columns, len(curves))))
    text = io.StringIO()
    # Text remains text, and equal curves give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    _, _, svg = text.getvalue().partition("<svg")  # without XML declaration and document type
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'<svg role="img" style="width:100%;height:auto;max-width:56rem"{head}>{rest}'


def _label_plainly(axis: Any) -> None:
    """Write numbers such as 0.5 and 20 on a logarithmic axis, also between powers of ten where these are few."""
    from matplotlib.ticker import LogFormatter  # noqa: PLC0415

    class Plain(LogFormatter):
        """Numbers without exponents, at the positions of the base class."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:.10g}" if super().__call__(x, pos) else ""

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(2, 0.5)))


def _columns(points: Points) -> tuple[list[float], list[float]]:
    """Return positions and values, with NaN for values that are not finite."""
    return [x for x, _ in points], [value if math.isfinite(value) else math.nan for _, value in points]
