"""Make the repository's packages and the tests' own helpers importable, from wherever pytest is called."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
torch.set_num_threads(1)  # tests are small, and each process of pytest-xdist has a core
