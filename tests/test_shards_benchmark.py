"""``python -m benchmarks.shards`` measures folders and tar files."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import shards


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read from /proc")
def test_folders_and_tar_files_are_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shards, "in_new_process", shards.measure)
    flags = ["--files", "4", "--images", "3", "--rounds", "1", "--threads", "1"]
    shards.main([*flags, "--json", str(tmp_path / "shards.json")])
    assert "Packed in " in capsys.readouterr().out
    results = json.loads((tmp_path / "shards.json").read_text())
    assert [row["data set"] for row in results["starts"]] == ["few files", "folders", "tar files"]
    assert all(row["worker MB"] > 0 for row in results["starts"])
    assert [row["data set"] for row in results["images"]] == ["folders", "tar files"]
    assert all(row["images/s"] > 0 and row["reading us"] > 0 for row in results["images"])
