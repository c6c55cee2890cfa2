"""docs/migration.md: its tables say of every flag of the published code what the parsers do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import pytest
from cli import ROOT
from test_published_flags import DIFFERENT, PUBLISHED

from data import DATASETS
from models import MODELS
from options import TEST, TRAIN, RunFlags, parse
from util.device import choose_device
from util.errors import UserError

PAGE = ROOT / "docs" / "migration.md"
SECTION = PAGE.read_text(encoding="utf-8").split("\n## Flags\n")[1]
DIFFERS, REMARKS, REST = re.split(r"\n(?:These flags have \*\*the same default|\*\*The same\*\*)",
                                  SECTION.split("\nSome values are")[0])


def rows(text: str, start: str) -> list[list[str]]:
    """Return the cells of the rows of tables whose first cell begins so."""
    return [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith(f"| {start}")]


def names_in(text: str) -> list[str]:
    return re.findall(r"`--(\w+)`", text)


TABLES = rows(DIFFERS, "`--") + rows(REMARKS, "`--")
VALUES = {row[0].strip("`"): row for row in rows(SECTION, "`train.py --") + rows(SECTION, "`test.py --")}
NAMES = sorted({name for flags in PUBLISHED.values() for name in flags})
REFUSED, ACCEPTED = "**refused**", "**accepted**"


def refusal(program: str, argv: Sequence[str]) -> str:
    """Return the error of a program with these arguments; empty if it starts."""
    try:
        options = parse({"train.py": TRAIN, "test.py": TEST}[program], MODELS, DATASETS, ["--dataroot", ".", *argv])
        if "--gpu_ids" in argv:
            choose_device(options[RunFlags].gpu_ids)
    except UserError as error:
        return str(error)
    return ""


def test_the_page_has_each_published_flag_once_and_no_others() -> None:
    named = [name for row in TABLES for name in names_in(row[0])] + names_in(REST)
    assert sorted(named) == NAMES
    assert len(VALUES) >= 10


def test_the_page_says_which_defaults_differ() -> None:
    other = {name for command, names in DIFFERENT.items() for name in names if name in PUBLISHED[command]}
    other.remove("dataroot")  # required here and there
    assert {name for row in rows(DIFFERS, "`--") for name in names_in(row[0])} == other


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row[0])
def test_the_tables_have_the_published_defaults(row: list[str]) -> None:
    for name in names_in(row[0]):
        for command, flags in PUBLISHED.items():
            if name in flags:
                kind, default = flags[name]
                text = "off" if kind == "flag" else {None: "none", "": "empty"}.get(default, f"`{default}`")
                assert text.replace(" ", "") in row[1].replace(" ", ""), f"--{name}: {command} has {default} there"


@pytest.mark.parametrize("typed", VALUES)
def test_programs_refuse_and_accept_the_values_that_the_table_says(typed: str) -> None:
    program, *argv = shlex.split(typed)
    said = refusal(program, argv)
    assert VALUES[typed][1] == (REFUSED if said else ACCEPTED), f"{PAGE.name}: {typed}: {said or 'it is accepted'}"
