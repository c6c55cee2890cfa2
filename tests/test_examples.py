"""The scripts and the notebook of examples/ run from any folder."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
from cli import ROOT, run_process
from PIL import Image


@pytest.mark.slow
def test_a_training_is_watched_stopped_and_resumed(tmp_path: Path) -> None:
    outcome = run_process(ROOT / "examples" / "train_and_watch.py", 16, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.findall(r"(\d+)/16 images, G \d", outcome.out) == ["4", "8"]
    assert re.findall(r"again, (\d+) images", outcome.out) == ["12", "16"]
    with Image.open(outcome.out.split()[-1]) as translation:
        assert translation.size == (128, 128)


def test_the_notebook_runs_and_is_kept_without_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    monkeypatch.chdir(ROOT / "examples")
    monkeypatch.setenv("TOUR_IMAGES", "8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec("".join(cell["source"]), names)
        if number == 0:
            names["TINY"] |= {"checkpoints_dir": tmp_path, "num_threads": 0, "gpu_ids": -1}
    assert len(plt.get_fignums()) == 4, "pictures"
    plt.close("all")
    assert names["folder"] == tmp_path / "tour"
    assert names["history"]["images"] == [4, 8]
    assert [len(images) for images in names["progress"].values()] == [5, 5]
    maps = {name: names["similarity"](path) for name, path in names["pair"].items()}
    assert maps["sheet"].shape == (32, 32)
    assert maps["sheet"][16, 8] == maps["sheet"].max(), "the query resembles itself most"
