"""``python -m benchmarks.scaling`` measures processes, gradients and the start of an epoch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import LOSSES, NETWORKS

from benchmarks.scaling import main


@pytest.mark.slow
def test_processes_gradients_and_the_start_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--device", "cpu", "--layouts", "2x1", "--size", "16", "--batch_size", "2", "--rounds", "1",
          "--files", "1010", "--json", str(tmp_path / "scaling.json"), *NETWORKS.split(), *LOSSES.split()])
    assert "Before the first image of an epoch" in capsys.readouterr().out
    results = json.loads((tmp_path / "scaling.json").read_text())
    *parts, together = results["gradients"]
    assert [part["of"] for part in parts] == ["G", "D", "F"]
    assert together["parameters"] == sum(part["parameters"] for part in parts)
    (row,) = results["layouts"]
    assert (row["processes"], row["threads"]) == (2, 1)
    assert row["images/s"] * row["ms a step"] == pytest.approx(1000 * 2 * 2)  # two images in each process
    assert min(row["ms apart"], row["ms of reduction alone"]) > 0
    (start,) = results["beginning"]
    assert start["files"] == 1010
    assert min(start["listing s"], start["order s"], start["key us"]) > 0
