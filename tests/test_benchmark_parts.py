"""``python -m benchmarks.parts`` compares ways to the same result."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import parts, ways
from util.errors import UserError

CPU = torch.device("cpu")
TINY = ("--device", "cpu", "--size", "32", "--filters", "4", "--rounds", "1", "--threads", "1")


def test_every_part_fills_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts.main([*TINY, "--rows", ",".join(ways.PARTS), "--markdown", "--json", str(tmp_path / "parts.json")])
    rows: list[dict[str, Any]] = json.loads((tmp_path / "parts.json").read_text())["rows"]
    assert list(dict.fromkeys(row["part"] for row in rows)) == list(ways.PARTS)
    numbers = [value for row in rows for value in row.values() if isinstance(value, int | float)]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert [row["way"] for row in rows if row["GFLOP"] is None] == ["loop", "foreach", "fused"]
    flops = [row["GFLOP"] for row in rows if row["part"] == "VGG16"]
    assert flops[0] > flops[1] > flops[2] == flops[3], "less work but for the layout"
    assert "| heads " in capsys.readouterr().out


@pytest.mark.parametrize("part", [part for part in ways.PARTS if part != "reading"])
def test_the_ways_of_a_part_have_the_same_result(part: str) -> None:
    torch.manual_seed(0)
    of_part: Any = ways.PARTS[part](ways.Setting(size=32, batch=2, filters=4, device=CPU))
    (plain, expected), *others = [(name, flat(way())) for name, way in of_part.items()]
    assert expected.norm() > 0
    for name, result in others:
        error = float((result - expected).norm() / expected.norm())
        assert error < (1e-2 if part == "blur" else 1e-5), f"'{name}' differs from '{plain}'"


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


def test_adam_moves_the_weights_in_every_way() -> None:
    of_part: Any = ways.adam_ways(ways.Setting(size=32, batch=1, filters=4, device=CPU))
    for name, way in of_part.items():
        first = flat(way()).clone()
        assert (flat(way()) - first).abs().max() > 1e-5, name


def test_parts_are_chosen_by_name() -> None:
    assert "blur" in parts.choose_parts("*", CPU)
    assert "reading" not in parts.choose_parts("*", CPU)
    assert parts.choose_parts("*", torch.device("cuda"))[-1] == "reading"
    assert parts.choose_parts("reading,V*", CPU) == ["VGG16", "reading"]
    with pytest.raises(UserError, match="fits no part"):
        parts.choose_parts("vgg19", CPU)
