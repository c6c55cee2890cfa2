"""docs/reliability.md names tests; each is there."""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = Path(__file__).parent
PAGE = FAULTS.parent.parent / "docs" / "reliability.md"


def named() -> list[tuple[str, str]]:
    """File and test of everything that the page's tables name; an ellipsis stands for the file named before."""
    found, file = [], ""
    for name, test in re.findall(r"`(…|test_\w+\.py)(?:::(test_\w+))?", PAGE.read_text(encoding="utf-8")):
        file = file if name == "…" else name
        found.append((file, test))
    return found


def test_every_test_that_the_page_names_exists() -> None:
    for file, test in named():
        assert (FAULTS / file).is_file(), file
        assert not test or f"def {test}(" in (FAULTS / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_the_page_has_forty_rows() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| .*`(…|test_)", line)]
    assert len(rows) >= 40
