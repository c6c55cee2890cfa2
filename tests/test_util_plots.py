"""Curves, as a page shows them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from browser import look

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")

from matplotlib.colors import to_hex

from util.plots import line_chart

CURVES = {"G": [(0, 1.0), (10, math.nan), (20, math.inf), (30, 0.5)], "D & <b>": [(0, 0.2), (30, 0.3)]}


def test_a_chart_is_one_svg_element_that_shrinks_with_its_page() -> None:
    element = ET.fromstring(line_chart(CURVES, title="a < b", marked=10))
    assert element.tag.endswith("svg")
    assert element.get("viewBox")
    assert element.get("width") is element.get("height") is None


def test_a_chart_without_points_is_empty_axes() -> None:
    ET.fromstring(line_chart({}))


def test_a_curve_keeps_its_colour_where_others_are_missing() -> None:
    second = f"stroke: {to_hex('C1')}"
    assert second in line_chart({"b": [(0, 1), (1, 2)]}, order=["a", "b"])
    assert second in line_chart({"b": [(0, 1), (1, 2)], "a": [(0, 1), (1, 2)]}, order=["a", "b"])
    assert second not in line_chart({"b": [(0, 1), (1, 2)]})


def test_the_same_curves_give_the_same_text() -> None:
    assert line_chart(CURVES) == line_chart(CURVES) != line_chart({"G": [(0, 1), (1, 2)]})


def test_a_chart_fits_a_narrow_window(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{line_chart(CURVES)}</body>", encoding="utf-8")
    assert look(page, width=400, screenshot=tmp_path / "page.png") == {}
    assert (tmp_path / "page.png").stat().st_size > 1000
