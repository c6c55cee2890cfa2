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
ROWS = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
FLAGS = {row[0].strip("`-"): row for row in ROWS if re.fullmatch(r"`--\w+`", row[0])}
VALUES = {row[0].strip("`"): row for row in ROWS if re.match(r"`(train|test)\.py --", row[0])}
NAMES = sorted({name for flags in PUBLISHED.values() for name in flags})
SAME, OTHER, REFUSED, ACCEPTED = "**same**", "**other default**", "**refused**", "**accepted**"


def refusal(program: str, argv: Sequence[str]) -> str:
    """Return the error of a program with these arguments; empty if it starts."""
    try:
        options = parse({"train.py": TRAIN, "test.py": TEST}[program], MODELS, DATASETS, ["--dataroot", ".", *argv])
        if "--gpu_ids" in argv:
            choose_device(options[RunFlags].gpu_ids)
    except UserError as error:
        return str(error)
    return ""


def test_the_table_has_the_published_flags_and_no_others() -> None:
    assert sorted(FLAGS) == NAMES
    assert len(VALUES) >= 10


def test_the_table_says_of_each_flag_what_differs() -> None:
    for name in NAMES:
        _, published, here = FLAGS[name]
        commands = [command for command, flags in PUBLISHED.items() if name in flags]
        differs = name != "dataroot" and any(name in DIFFERENT[command] for command in commands)
        assert here.startswith(OTHER if differs else SAME), f"{PAGE.name}: --{name}: {here}"
        for command in commands:
            kind, default = PUBLISHED[command][name]
            text = "off" if kind == "flag" else {None: "none", "": "empty"}.get(default, f"`{default}`")
            assert text.replace(" ", "") in published.replace(" ", ""), f"--{name}: {command} has {default} there"


@pytest.mark.parametrize("typed", VALUES)
def test_programs_refuse_and_accept_the_values_that_the_table_says(typed: str) -> None:
    program, *argv = shlex.split(typed)
    said = refusal(program, argv)
    assert VALUES[typed][1] == (REFUSED if said else ACCEPTED), f"{PAGE.name}: {typed}: {said or 'it is accepted'}"
