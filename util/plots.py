"""Curves, for pages."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]
"""Of a curve: what it is drawn over, and its value there."""


def line_chart(
    curves: Mapping[str, Points], *, title: str = "", x_label: str = "", y_label: str = "", marked: float | None = None,
    pale: Mapping[str, Points] | None = None, log: bool = False, order: Sequence[str] = (),
) -> str:
    """Curves in one plot, as an SVG element that stands in a page by itself and shrinks with it.

    Values that are not finite leave gaps.

    Args:
        curves: by the name in the legend; in that order.
        title, x_label, y_label: what is written around the plot.
        marked: where a vertical line stands, such as the best epoch.
        pale: what curves of these names are smoothed from, drawn behind them.
        log: a logarithmic vertical axis, on which values up to 0 leave gaps.
        order: names of all curves of several charts: a curve's place there gives its colour, the same in each;
            left out, its place in this chart.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib  # noqa: PLC0415 - optional, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 3.2), layout="constrained")
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
    if marked is not None:
        axes.axvline(marked, color="0.5", linestyle=":")
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize="small", ncols=1 + len(curves) // 8)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):  # words as words; the same text again
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    _, _, svg = text.getvalue().partition("<svg")  # before it, an XML declaration and a document type
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'<svg role="img" style="width:100%;height:auto;max-width:56rem"{head}>{rest}'


def _columns(points: Points) -> tuple[list[float], list[float]]:
    """Places and values, NaN where they are not finite."""
    return [x for x, _ in points], [value if math.isfinite(value) else math.nan for _, value in points]
