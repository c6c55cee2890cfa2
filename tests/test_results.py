"""docs/results.md: every table of a comparison is what the command before it prints of the runs' scores.

A table may have three columns more: the costs of a step, which `--measure` adds, are another machine's elsewhere.
"""

from __future__ import annotations

import json
import re

import pytest
from cli import ROOT
from doc_pages import Page, commands

from experiments import compare, recipes, runs
from experiments.comparison import command_line, settings
from experiments.records import SETTINGS, record

PAGE = Page(ROOT / "docs" / "results.md")
RECORDS = ROOT / "docs" / "records"
COSTS = re.compile(r"(?<=\|)(?: +(?:seconds a step|M parameters|peak MiB|-|[\d.]+) \|){3}$|(?<=\|)(?: -+: \|){3}$")
PROGRAMS = {"experiments.compare": compare.main, "experiments.recipes": recipes.main}
COMMANDS = [words[2:] for block in PAGE.blocks if block.language == "bash"
            for _, words in commands(block) if "--records_dir" in words]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_table_is_what_its_command_prints(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*command: str, threads: int | None) -> None:
        raise AssertionError(f"the scores of a run are missing; this would make them anew: {command}")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "call", refuse)
    PROGRAMS[arguments[0]](arguments[1:])
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(printed) > 3
    page = PAGE.path.read_text(encoding="utf-8").splitlines()
    shown = {*page, *(COSTS.sub("", line) for line in page)}
    assert not (missing := [line for line in printed if line not in shown]), "\n".join(missing)


def test_every_record_is_in_a_table_and_of_the_run_that_its_name_says() -> None:
    shown = {}
    for program, *arguments in COMMANDS:
        if program == "experiments.recipes":
            continue
        flags = command_line(arguments)
        shown |= {ROOT / record(f"{method}-{seed}", flags.records): settings(method, seed, flags)
                  for method in flags.methods for seed in flags.seeds
                  if not flags.recorded or (ROOT / record(f"{method}-{seed}", flags.records)).is_file()}
    for path, of in shown.items():
        scores = json.loads(path.read_text(encoding="utf-8"))
        assert {name: scores[name] for name in SETTINGS if name in scores} == of, path.name
    of_other_programs = ("recipes", "heads", "generators")
    others = {path for name in of_other_programs for path in (RECORDS / name).iterdir()}
    assert set(shown) == set(RECORDS.rglob("*.json")) - others
