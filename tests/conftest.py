"""Make the repository's packages and the tests' own helpers importable, from wherever pytest is called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
torch.set_num_threads(1)  # tests are small, and each process of pytest-xdist has a core


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a tiny data set, with three images in trainA and five in trainB."""
    from tiny import save_folders

    return save_folders(tmp_path / "data")
