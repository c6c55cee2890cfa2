"""Trainings survive the limits of Windows, which `windows` simulates."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli import ROOT, TINY, TINY_TEST, make_images, run_process

from util import files
from util.errors import UserError
from util.files import locked, replacing

SIMULATED = ROOT / "tests" / "faults" / "windows.py"


@pytest.mark.slow
def test_training_saves_resumes_and_translates(tmp_path: Path) -> None:
    data = make_images(tmp_path / "data", "trainA", "trainB", "testA", "testB")
    places = ["--dataroot", data, "--checkpoints_dir", tmp_path / "checkpoints", "--name", "run"]
    tiny = [word for word in TINY if word != "--no_html"]
    tiny += ["--learned_attn", "--augment", "--save_latest_freq", "1", "--save_by_iter", "--keep_last", "1",
             "--eval_freq", "2"]
    outcome = run_process(SIMULATED, "train.py", *places, *tiny, "--num_threads", "1", "--cache", "ram", ":",
                          "train.py", *places, *tiny, "--continue_train", "--max_iters", "4", ":",
                          "test.py", *places, *TINY_TEST, "--results_dir", tmp_path / "results")
    assert (outcome.code, outcome.err) == (0, ""), outcome.err
    assert "done: 4 images seen" in outcome.out
    folder = tmp_path / "checkpoints" / "run"
    assert {path.name for path in folder.glob("*_net_G.pth")} == {f"{tag}_net_G.pth" for tag in (
        "latest", "iter_4", "best")}
    assert list((tmp_path / "results").rglob("fake_B/**/*.png"))
    assert not list(tmp_path.rglob(".*.tmp"))


class RefusalError(PermissionError):
    """Of a file that another program has open."""

    winerror = 32


@pytest.mark.parametrize(("refusals", "taken"), [(0, True), (2, True), (9, False)])
def test_a_file_that_another_program_has_open_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, taken: bool
) -> None:
    waits: list[float] = []
    replace, left = os.replace, [RefusalError(errno.EACCES, "in use")] * refusals

    def busy(*paths: Path) -> None:
        if left:
            raise left.pop()
        replace(*paths)

    (tmp_path / "file").write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=waits.append))
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("new", encoding="utf-8")
    except PermissionError:
        assert not taken
    assert (tmp_path / "file").read_text(encoding="utf-8") == ("new" if taken else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert len(waits) == min(refusals, 3)


def test_a_missing_permission_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=lambda seconds: pytest.fail("it waits")))
    with pytest.raises(PermissionError), replacing(tmp_path / "file") as temporary:
        temporary.touch()


def test_a_folder_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = set[str]()

    def locking(descriptor: int, mode: int, count: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if (mode, count) != (2, 1) or path in held:
            raise PermissionError(errno.EACCES, "Permission denied")
        held.add(path)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    with locked(tmp_path / "run"), locked(tmp_path / "other"), \
            pytest.raises(UserError, match=r"another process is writing into .*run;"), locked(tmp_path / "run"):
        pytest.fail("it is locked")


def test_scripts_keep_their_line_ends() -> None:
    scripts = [path.relative_to(ROOT) for path in (ROOT / "scripts").rglob("*.sh")]
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    told = subprocess.run(["git", "check-attr", "eol", "--", *scripts], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout.splitlines()
    assert len(told) == len(scripts) > 0
    assert all(line.endswith("eol: lf") for line in told)
