"""Dependencies are explained, and extras are optional."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cli import ROOT
from test_architecture import OPTIONAL


def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="in Python from 3.11 on")
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings


def packages(lines: list[str]) -> dict[str, str]:
    """``["torch>=2.6", "# why"]`` to ``{"torch": ">=2.6"}``."""
    matches = [match for line in lines if (match := re.match(r"([\w-]+)(.*)", line))]
    return {match[1].lower(): match[2].strip() for match in matches}


def required(name: str) -> dict[str, str]:
    return packages((ROOT / name).read_text(encoding="utf-8").splitlines())


def extras() -> dict[str, dict[str, str]]:
    return {name: packages(lines) for name, lines in project()["project"]["optional-dependencies"].items()}


def test_every_dependency_has_its_reason() -> None:
    rows = [line.split("|")[1] for line in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("| ")]
    explained = {re.split(r"\W", name.strip().replace("-", "_"))[0].lower() for row in rows for name in row.split(",")}
    files = [path.name for path in ROOT.glob("requirements*.txt")]
    assert len(files) >= 2
    groups = [*map(required, files), *extras().values()]
    wanted = {name for group in groups for name in group}
    assert {name for name in wanted if name.replace("-", "_") not in explained} == set()


def test_extras_are_optional_and_ask_for_the_versions_that_are_tested() -> None:
    tested = required("requirements-dev.txt")
    for extra, wanted in extras().items():
        assert not set(wanted) & set(required("requirements.txt")), f"[{extra}] repeats what is installed anyway"
        for name, version in wanted.items():
            assert tested.get(name, version) == version, f"[{extra}] and requirements-dev.txt differ about {name}"


def test_no_part_of_the_project_imports_an_extra_before_it_is_used() -> None:
    names = {name.replace("-", "_").replace("scikit_image", "skimage") for extra in extras().values() for name in extra}
    assert names - {"onnxscript", "skimage"} <= set(OPTIONAL), "tests/test_architecture.py looks for those in OPTIONAL"
