"""The scripts and the notebook of examples/ run from any folder."""

from __future__ import annotations

import re
from pathlib import Path

from cli import ROOT, run_process
from PIL import Image


def test_a_training_is_watched_stopped_and_resumed(tmp_path: Path) -> None:
    outcome = run_process(ROOT / "examples" / "train_and_watch.py", 16, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.findall(r"(\d+)/16 images, G \d", outcome.out) == ["4", "8"]
    assert re.findall(r"again, (\d+) images", outcome.out) == ["12", "16"]
    with Image.open(outcome.out.split()[-1]) as translation:
        assert translation.size == (128, 128)
