"""Plots of curves in pages."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

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
