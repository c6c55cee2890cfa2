"""Figures of the subcommands, written as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.errors import UserError
from util.files import replacing
from util.picture_files import to_uint8

Figure = Any
"""A matplotlib figure; matplotlib is imported only for drawing."""

CELL = 1.7  # inches


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure; width and height are in inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib import figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise UserError("figures need the package matplotlib: pip install matplotlib") from None
    return figure.Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG atomically, large enough for its labels; missing folders are made."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})


def error_grid(
    source: Tensor, candidates: Sequence[Tensor], labels: Sequence[str], errors: Mapping[str, Sequence[Tensor]]
) -> Figure:
    """Draw a column for each candidate and a row for each measure; maps in a row share a scale that starts at 0.

    Args:
        source, candidates: images [3, H, W] in [-1, 1].
        labels: titles of the candidates.
        errors: the candidates' maps [h, w], by title of the row; their means are drawn above.
    """
    figure = new_figure(CELL * (len(candidates) + 1.4), CELL * 1.12 * (len(errors) + 1))
    grid = figure.subplots(len(errors) + 1, len(candidates) + 1, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, label in zip(grid[0], (source, *candidates), ("source", *labels), strict=True):
        axes.imshow(to_uint8(image))
        axes.set_title(label, fontsize="small")
    for row, (title, maps) in zip(grid[1:], errors.items(), strict=True):
        row[0].text(1, 0.5, title, ha="right", va="center", transform=row[0].transAxes)
        highest = max(of.max().item() for of in maps)
        for axes, of in zip(row[1:], maps, strict=True):
            drawn = axes.imshow(of.numpy(), cmap="magma", vmin=0, vmax=highest or 1, interpolation="nearest")
            axes.set_title(f"{of.mean().item():.4g}", fontsize="small")
        figure.colorbar(drawn, ax=list(row[1:]), fraction=0.05, pad=0.01)
    return figure


def similarity_grid(rows: Sequence[tuple[str, Tensor, tuple[int, int], Mapping[str, Tensor]]]) -> Figure:
    """Draw a row for each point: the image, and for each measure the point's self-similarity over a grey copy.

    The maps of a measure at one point share a scale.

    Args:
        rows: label, image [3, H, W] in [-1, 1], point (x, y) in pixels, and maps [h, w] by title of the column, with
            NaN outside the window.
    """
    figure = new_figure(CELL * 1.15 * (len(rows[0][3]) + 1), CELL * 1.2 * len(rows) + 0.6)
    from matplotlib import ticker  # noqa: PLC0415 - as in `new_figure`

    columns = list(rows[0][3])
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for of_row, (label, image, (x, y), _) in zip(grid, rows, strict=True):
        of_row[0].imshow(to_uint8(image))
        of_row[0].plot(x, y, marker="o", color="red", markersize=6, fillstyle="none", markeredgewidth=1.5)
        of_row[0].set_title(f"{label} at {x},{y}", fontsize="small")
    for column, title in enumerate(columns, 1):
        grid[0][column].set_title(title, fontsize="small")
        for at in dict.fromkeys(point for _, _, point, _ in rows):
            of_point = [(axes, image, maps[title]) for axes, (_, image, point, maps)
                        in zip(grid[:, column], rows, strict=True) if point == at]
            drawn = _draw_over(of_point, at)
            figure.colorbar(drawn, ax=[axes for axes, _, _ in of_point], location="bottom", fraction=0.04, pad=0.01,
                            ticks=ticker.MaxNLocator(3))
    return figure


def _draw_over(cells: Sequence[tuple[Any, Tensor, Tensor]], at: tuple[int, int]) -> Any:
    """Draw maps over grey copies of their images, in one scale; returns a mappable for the colour bar."""
    values = torch.cat([values.flatten() for _, _, values in cells])
    values = values[values.isfinite()]
    for axes, image, of in cells:
        height, width = image.shape[1:]
        axes.imshow(to_uint8(image.mean(dim=0, keepdim=True)), cmap="gray", vmin=0, vmax=255)
        drawn = axes.imshow(of.numpy(), cmap="turbo", alpha=0.65, interpolation="nearest",
                            vmin=values.min().item(), vmax=values.max().item(),
                            extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        axes.plot(*at, marker="+", color="white", markeredgewidth=1.5)
    return drawn


def confusion_figure(shares: Tensor, truth: Sequence[str], predicted: Sequence[str]) -> Figure:
    """Draw a confusion matrix of shares of the true class [T, P]; NaN for a class without pixels."""
    figure = new_figure(8.5, 7.5)
    axes: Any = figure.subplots()
    drawn = axes.imshow(shares.numpy(), cmap="viridis", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(predicted)), predicted, rotation=90)
    axes.set_yticks(range(len(truth)), truth)
    for y, row in enumerate(shares.tolist()):
        for x, share in enumerate(row):
            if share >= 0.005:
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=6,
                          color="black" if share > 0.6 else "white")
    figure.colorbar(drawn, fraction=0.04, pad=0.02)
    return figure
