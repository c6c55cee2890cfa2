"""docs/reliability.md names tests; each is there."""

from __future__ import annotations

import re
from pathlib import Path

from cli import ROOT

ROWS = [line for line in (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| .*`(tests/|test_|::)", line)]


def named() -> list[tuple[Path, str]]:
    """File and test of all that the page's rows name; a test without a file is in the last one of ``tests/faults``."""
    found, file = [], Path()
    for name, test in re.findall(r"`((?:tests/)?test_\w+\.py)?(?:::(test_\w+))?`", "\n".join(ROWS)):
        if name and "/" not in name:
            file = Path(__file__).with_name(name)
        if name or test:
            found.append((ROOT / name if "/" in name else file, test))
    return found


def test_every_test_that_the_page_names_exists() -> None:
    assert len(named()) > 60
    for file, test in named():
        assert file.is_file(), file
        assert not test or f"def {test}(" in file.read_text(encoding="utf-8"), f"{file.name}::{test}"


def test_the_page_has_forty_rows() -> None:
    assert len(ROWS) >= 40
