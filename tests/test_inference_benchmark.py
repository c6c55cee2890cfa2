"""``python -m benchmarks.inference`` compares speeds and tiles with plain translation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import inference


@pytest.mark.slow
def test_every_speed_and_every_kind_of_tiles_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "peak_memory", lambda *_, **__: 2**20)  # it starts a process for each row
    inference.main(["--device", "cpu", "--ngf", "2", "--size", "32", "--batch_size", "2", "--large", "64",
                    "--tile", "48", "--tile_overlap", "24", "--rounds", "1", "--json", str(tmp_path / "out.json")])
    results = json.loads((tmp_path / "out.json").read_text())
    names = [row[""] for row in results["batches"]]
    assert names == ["float32", "float32 channels first", "bf16", "bf16 channels first"]
    assert [row["max. difference"] > 0 for row in results["batches"]][0::2] == [False, True]
    assert all(row["images/s"] * row["s"] == pytest.approx(2) and row["MiB"] == 1 for row in results["batches"])
    differences = {row[""].split(",")[1].strip(): row["mean difference"] for row in results["large"][1:]}
    assert list(differences) == ["tile", "scaled", "exact"]
    assert results["large"][0]["mean difference"] == 0
    assert 0 < differences["exact"] < differences["tile"]
