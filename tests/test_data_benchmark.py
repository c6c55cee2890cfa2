"""``python -m benchmarks.data`` measures every way of loading."""

from __future__ import annotations

import json

import pytest

from benchmarks.data import main


@pytest.mark.slow
def test_every_way_of_loading_is_measured(tmp_path, capsys):
    main(["--device", "cpu", "--images", "2", "--photo_size", "32", "--workers", "0", "--rounds", "1",
          "--step_ms", "10", "--json", str(tmp_path / "data.json")])
    assert "Finishing raw batches on cpu" in capsys.readouterr().out
    results = json.loads((tmp_path / "data.json").read_text())
    ways = {(row["images"], row["cache"], row["finished"]) for row in results["loading"]}
    assert len(ways) == len(results["loading"]) == 8
    for row in results["loading"]:
        assert abs(row["waits %"] - 100 * row["ms a batch"] / (row["ms a batch"] + 10)) < 1e-6
        assert abs(row["images/s"] * row["ms a batch"] - 1000) < 1e-6
    assert [row["MB"] for row in results["caching"]] == [4 * 3 * 286**2 / 1e6] * 2
    assert {(row["batch"], row["augment"]) for row in results["finishing"]} == {
        (1, "no"), (1, "yes"), (8, "no"), (8, "yes")}
