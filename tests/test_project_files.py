"""Files about the project say what holds: dependencies, citation, containers, workflow."""

from __future__ import annotations

import json
import os
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


def test_nothing_of_ours_is_installed_as_a_package() -> None:
    settings = project()
    assert settings["tool"]["setuptools"]["packages"] == settings["tool"]["setuptools"]["py-modules"] == []
    assert settings["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.txt"]


def test_the_paper_is_what_is_cited() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format requires
    paper = citation["preferred-citation"]
    bibtex = re.search(r"```bibtex\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert bibtex
    assert f"{{{paper['title']}}}" in bibtex[1]
    assert f"{{{paper['year']}}}" in bibtex[1]
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]) in bibtex[1]


def test_the_workflow_and_the_hooks_run_what_developers_run() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["tests"]["steps"]]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    checks = (ROOT / "scripts" / "run_tests.sh").read_text(encoding="utf-8")
    assert all(hook["entry"].removesuffix(" check") in checks for hook in hooks)


def test_containers_use_files_that_are_there() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert "scripts/setup.sh --dev" in container["postCreateCommand"]
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    chosen = next(line.partition("=")[2] for line in lines if line.startswith("ARG EXTRAS="))
    assert set(chosen.split(",")) <= set(extras())


def test_documents_link_to_files_that_are_there() -> None:
    documents = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "docs" / "app.md"]
    for document in documents:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
        assert links
        assert [link for link in links if not (document.parent / link).exists()] == [], document.name


def test_no_part_of_the_project_imports_an_extra_before_it_is_used() -> None:
    names = {name.replace("-", "_").replace("scikit_image", "skimage") for extra in extras().values() for name in extra}
    assert names - {"onnxscript", "skimage"} <= set(OPTIONAL), "tests/test_architecture.py looks for those in OPTIONAL"
