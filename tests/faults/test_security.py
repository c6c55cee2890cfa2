"""Sources call nothing dangerous, and no name leads out of its folder: see docs/security.md."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from cli import ROOT, TINY, make_images, run

from data import DATASETS
from models import MODELS
from options import TEST, TRAIN, RunFlags, parse
from util.errors import UserError
from util.state_dicts import load_file

SKIPPED = {".venv", "tests", "checkpoints", "results", ".git"}


def sources() -> list[Path]:
    found = [path for path in ROOT.rglob("*.py") if not SKIPPED & set(path.relative_to(ROOT).parts)]
    assert len(found) > 50
    return sorted(found)


def called(node: ast.Call) -> str:
    """Return the dotted name of the called function; it starts with a dot for a method of an expression."""
    parts: list[str] = []
    function: ast.expr = node.func
    while isinstance(function, ast.Attribute):
        parts.insert(0, function.attr)
        function = function.value
    return ".".join([function.id if isinstance(function, ast.Name) else "", *parts])


def keyword(node: ast.Call, name: str) -> object:
    """Return the value of a literal keyword argument; None if there is none."""
    return next((of.value.value for of in node.keywords if of.arg == name and isinstance(of.value, ast.Constant)), None)


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.jit.load", "torch.package",
                   "torch.hub.load", "torch.classes.load_library", "tempfile.mktemp", "yaml.load", "input"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "codeop"}


def faults_in(tree: ast.AST) -> Iterator[str]:
    """Yield the forbidden imports and calls of a source, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        if name in FORBIDDEN_CALLS or name.startswith(("os.spawn", "os.exec")):
            yield f"{node.lineno}: calls {name}"
        if name in ("torch.load", "torch.hub.load_state_dict_from_url") and keyword(node, "weights_only") is not True:
            yield f"{node.lineno}: {name} without weights_only=True"
        if name.endswith("np.load") and keyword(node, "allow_pickle"):
            yield f"{node.lineno}: np.load with pickles"
        if any(of.arg == "shell" for of in node.keywords):
            yield f"{node.lineno}: shell="
        if name.startswith("subprocess.") and node.args and not isinstance(node.args[0], ast.List | ast.Name):
            yield f"{node.lineno}: {name} with a command that is no list"
        if name.split(".")[-1] in ("HTTPServer", "ThreadingHTTPServer", "TCPServer", "bind"):
            yield f"{node.lineno}: {name} makes a server"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_what_it_reads(path: Path) -> None:
    assert not list(faults_in(ast.parse(path.read_text(encoding="utf-8"))))


def test_scripts_quote_their_variables_and_build_no_commands() -> None:
    for script in [*ROOT.glob("scripts/**/*.sh"), ROOT / ".ci/run"]:
        text = script.read_text(encoding="utf-8")
        assert "eval " not in text
        sourced = '. "$(dirname "$0")/common.sh"' in text  # which sets it
        assert sourced or "set -euo pipefail" in text
        assert "curl" not in text, "downloads go through util/download.py"


# --- checkpoints


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_something_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Evil(tmp_path / "evil")}, tmp_path / "latest_net_G.pth")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_file(tmp_path / "latest_net_G.pth")
    assert not (tmp_path / "evil").exists()


# --- names and paths


ESCAPES = ["..", "../x", "a/../../x", "/tmp/x", "\\\\host\\x", "C:\\x", "C:x", "a/..", "a\nb", "", ".", "a/../b",
           "a\0b", "\x1b[2J"]


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    names = [("--name", name) for name in ESCAPES]
    for typed in (*names, *(("--suffix", suffix) for suffix in ("/../../x", "{name}/../../../x", "\n"))):
        with pytest.raises(UserError, match="--name"):
            parse(TRAIN, MODELS, DATASETS, ["--dataroot", str(tmp_path), *typed])


@pytest.mark.parametrize("suffix", ["{__class__}", "{name.__class__}", "{0}", "{options}"])
def test_a_suffix_reaches_no_attribute(suffix: str, tmp_path: Path) -> None:
    try:
        options = parse(TRAIN, MODELS, DATASETS, ["--dataroot", str(tmp_path), "--suffix", suffix])
    except UserError as error:
        assert "--suffix" in str(error)  # noqa: PT017 - either is good
    else:
        assert options[RunFlags].name == f"experiment_name_{suffix}"


@pytest.mark.parametrize("flag", ["--epoch", "--phase", "--model_suffix"])
def test_parts_of_file_names_lead_nowhere_else(flag: str, tmp_path: Path) -> None:
    for value in ("../x", "/etc", "a/b", "..", ".", ".hidden", "a\\b", "-x", "a b", "C:x", "/../x"):
        with pytest.raises(UserError, match=flag):
            parse(TEST, MODELS, DATASETS, ["--dataroot", str(tmp_path), f"{flag}={value}"])


def test_what_a_run_writes_stays_in_its_folder(tmp_path: Path) -> None:
    data = make_images(tmp_path / "data", "trainA", "trainB")
    before = set(tmp_path.rglob("*"))
    outcome = run("train.py", "--dataroot", data, "--checkpoints_dir", tmp_path / "c", "--name", "deep/er", *TINY)
    assert outcome.code == 0, outcome.err
    home = tmp_path / "c/deep/er"
    new = set(tmp_path.rglob("*")) - before
    assert new == {tmp_path / "c", tmp_path / "c/deep", tmp_path / "c/deep/.er.lock", home, *home.rglob("*")}
