"""docs/reliability.md names tests; each is there."""

from __future__ import annotations

import re
from pathlib import Path

from cli import ROOT

ROWS = [line for line in (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| .*`(tests/|test_|::)", line)]
SOURCES = {path: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")}


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:tests/)?test_\w+\.py)?(?:::(test_\w+))?`", "\n".join(ROWS))
    assert len(named) >= 40
    for name, test in named:
        files = [ROOT / name if "/" in name else Path(__file__).with_name(name)] if name else list(SOURCES)
        texts = [SOURCES.get(file) or file.read_text(encoding="utf-8") for file in files]
        assert not test or any(f"def {test}(" in text for text in texts), f"{name}::{test}"


def test_the_page_has_forty_rows() -> None:
    assert len(ROWS) >= 40
