"""Plots of curves in pages."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from browser import browser, faults_of

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")

from matplotlib.colors import to_hex

from util.plots import line_chart

CURVES = {"G": [(0, 1.0), (10, math.nan), (20, math.inf), (30, 0.5)], "D & <b>": [(0, 0.2), (30, 0.3)]}


def test_a_chart_is_one_svg_element_that_shrinks_with_its_page() -> None:
    element = ET.fromstring(line_chart(CURVES, title="a < b", marked=10))
    assert element.tag.endswith("svg")
    assert element.get("viewBox")
    assert element.get("width") is element.get("height") is None
    ET.fromstring(line_chart({}))


def test_a_curve_keeps_its_colour_where_others_are_missing() -> None:
    second = f"stroke: {to_hex('C1')}"
    assert second in line_chart({"b": [(0, 1), (1, 2)]}, order=["a", "b"])
    assert second in line_chart({"b": [(0, 1), (1, 2)], "a": [(0, 1), (1, 2)]}, order=["a", "b"])
    assert second not in line_chart({"b": [(0, 1), (1, 2)]})


def test_a_chart_fits_a_narrow_window_and_its_legend_hides_nothing(tmp_path: Path) -> None:
    edges = """const edges = name => { const box = document.querySelector(name).getBoundingClientRect();
                                       return [box.top, box.right, box.bottom, box.left]; };
               return ['svg', '#patch_2', '#legend_1'].map(edges);"""
    with browser(width=400) as window:
        for names in (["G", "D"], [f"G_cycle_{number}" for number in range(14)], ["long" * 9, "name" * 9]):
            chart = line_chart({name: [(0, 1), (1, 2)] for name in names})
            (page := tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{chart}", encoding="utf-8")
            window.get(page.as_uri())
            whole, plot, legend = window.execute_script(edges)
            assert legend[0] > plot[2]
            assert whole[3] <= legend[3] < legend[1] <= whole[1]
            assert plot[2] - plot[0] > 100, "nothing is left of the plot"
            assert faults_of(window) == {}


@pytest.mark.parametrize(("values", "labels"), [
    ((0.4, 30), {"1", "10", "2", "0.6"}), ((6.1, 6.9), {"6.2", "6.5"}), ((3, 9), {"4", "6"}), ((0.002, 30), {"0.01"})])
def test_a_logarithmic_axis_has_plain_numbers(values: tuple[float, float], labels: set[str]) -> None:
    element = ET.fromstring(line_chart({"G": list(enumerate(values))}, log=True))
    axis = next(group for group in element.iter() if group.get("id") == "matplotlib.axis_2")
    texts = {text for part in axis.iter() if (text := "".join(part.itertext()).strip()) and part.tag.endswith("text")}
    assert labels <= texts
    assert all(float(text) > 0 for text in texts), texts


def test_the_same_curves_give_the_same_text() -> None:
    assert line_chart(CURVES) == line_chart(CURVES) != line_chart({"G": [(0, 1), (1, 2)]})
