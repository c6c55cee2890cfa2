"""The pages: links lead somewhere, and programs understand the commands."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlparse

import pytest
from cli import ROOT
from doc_pages import PAGES, Page, commands

import evaluate
from data import DATASETS
from models import MODELS
from options import EXPORT, TEST, TRAIN, FlagOwner, parse, parser
from util.errors import UserError

SOME_IMAGES = ROOT / "datasets" / "lineart2color"
PROGRAMS = {"train.py": TRAIN, "test.py": TEST}
PYTHON = re.compile(r"(\S*/)?python[\d.]*")
STARTERS = ("bash", "sbatch", "torchrun", "srun", "sh")


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Page:
    return Page(request.param)


def wrong(page: Page, checks: Callable[[Page], Iterator[tuple[int, str]]]) -> str:
    return "\n".join(f"{page.name}:{line}: {text}" for line, text in checks(page))


def test_links_and_anchors_lead_somewhere(page: Page) -> None:
    assert not (faults := wrong(page, dead_links)), faults


def test_commands_are_understood(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no options of earlier trainings
    assert not (faults := wrong(page, misunderstood_commands)), faults


def dead_links(page: Page) -> Iterator[tuple[int, str]]:
    for line, target in page.links():
        url = urlparse(target)
        if url.scheme:
            continue
        path = (page.path.parent / unquote(url.path)).resolve() if url.path else page.path
        if not path.is_relative_to(ROOT) or not path.exists():
            yield line, f"the link {target} leads to no file"
        elif url.fragment and (path.suffix != ".md" or url.fragment not in Page(path).anchors()):
            yield line, f"the link {target} leads to no heading of {path.name}"


def misunderstood_commands(page: Page) -> Iterator[tuple[int, str]]:
    for block in page.blocks:
        if block.language not in ("bash", "sh") or not block.checked:
            continue
        try:
            for line, words in commands(block):
                if fault := refusal(words):
                    yield line, f"'{' '.join(words)}' is refused: {fault}"
        except ValueError as error:
            yield block.line, f"the commands cannot be read: {error}"


def refusal(words: list[str]) -> str:
    """Return why a command would not start; nothing where it would, or is no business of this project."""
    words = [re.sub(r"\$\{?\w+\}?", "1", word) for word in words]  # variables stand for anything
    file, arguments = program_of(words)
    if not file:
        return ""
    if not (ROOT / file).is_file():
        return f"there is no file {file}"
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            understand(file, arguments)
    except UserError as error:
        return "" if ": pip install" in str(error) else str(error)  # an optional package that is not installed here
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return ""


def program_of(words: list[str]) -> tuple[str, list[str]]:
    """Return the program of this project that a command starts, or an empty name, and its arguments."""
    if not (PYTHON.fullmatch(words[0]) or words[0] in STARTERS):
        return "", []
    if "-m" in words[:2]:
        file = words[2].replace(".", "/") + ".py"
        return (file if (ROOT / file.split("/", maxsplit=1)[0]).exists() else ""), words[3:]
    place = next((number for number, word in enumerate(words) if word.endswith((".py", ".sh"))), None)
    return ("", []) if place is None else (words[place], words[place + 1:])


def understand(file: str, arguments: list[str]) -> None:
    """Parse the arguments as the program does, and no more.

    Raises:
        UserError, SystemExit: it refuses them.
    """
    if file in PROGRAMS:
        parse(PROGRAMS[file], MODELS, DATASETS, with_images(arguments))
    elif file == "export.py":
        parse(EXPORT, MODELS, dict.fromkeys(DATASETS, FlagOwner), arguments)
    elif file == "evaluate.py":
        evaluate.parse(arguments)
    elif script := re.fullmatch(r"scripts/(train|test)_\w+\.sh", file):
        model = re.search(r"--model (\w+)", (ROOT / file).read_text(encoding="utf-8"))
        if model and arguments[:1] == ["--demo"]:
            arguments = ["--dataroot", str(SOME_IMAGES), *arguments[1:]]
        elif model and len(arguments) >= 2 and not arguments[0].startswith("-"):
            arguments = ["--dataroot", arguments[0], "--name", *arguments[1:]]
        elif model:
            raise UserError("it takes DATAROOT NAME or --demo before its flags")
        if model:
            understand(f"{script[1]}.py", ["--model", model[1], *arguments])
    elif file.endswith(".py") and "parse_flags(" in (ROOT / file).read_text(encoding="utf-8"):
        parse_alone(file, arguments)


def with_images(arguments: list[str]) -> list[str]:
    """Put a folder of images in the place of the reader's own; ``...`` stands for flags that a page leaves out."""
    there = [word for word in arguments if word != "..."]
    if "..." in arguments and "--dataroot" not in arguments:
        there += ["--dataroot", ""]
    return [str(SOME_IMAGES) if before == "--dataroot" else word
            for before, word in zip(["", *there], there, strict=False)]


class Parsed(Exception):  # noqa: N818 - no error: the end of what is to be seen
    """A program has understood its arguments."""


def parse_alone(file: str, arguments: list[str]) -> None:
    """Run a program up to the end of its parsing."""
    original = parser.read

    def read(*args: Any, **keywords: Any) -> None:
        _, rest = original(*args, **keywords)
        raise UserError(f"unknown flags {rest}") if rest else Parsed

    module = load(ROOT / file)
    with mock.patch("options.parser.read", read), mock.patch.object(sys, "argv", [file, *arguments]), \
            contextlib.suppress(Parsed):
        module.main()
        raise AssertionError(f"{file} has run without parsing its arguments")


def load(path: Path) -> ModuleType:
    """Import a program as a module, of its package if it is in one."""
    if (path.parent / "__init__.py").exists():
        return importlib.import_module(f"{path.parent.name}.{path.stem}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
