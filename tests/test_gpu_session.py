"""The control flow of scripts/gpu_session.sh, with a Python that does nothing. On a device: test_null_device.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_scripts import program, run

CONTENT = '''case "$*" in *benchmarks.launches*) echo "a table"; exit 3 ;; esac
echo "ran $*"'''


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script, a Python in which one program fails, and a ``timeout`` that shows its limit and ends one part."""
    (tmp_path / "clone/scripts").mkdir(parents=True)
    shutil.copy(Path(__file__).parent.parent / "scripts/gpu_session.sh", tmp_path / "clone/scripts")
    program(tmp_path / "clone/.venv/bin/python", CONTENT)
    program(tmp_path / "bin/timeout", 'echo "limit $3"; shift 3; case "$*" in *--profile*) exit 124 ;; esac; exec "$@"')
    return tmp_path / "clone"


def session(clone: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, str]]:
    """Run it; return its exit code, and for each part what the summary says."""
    path = f"{clone.parent / 'bin'}:/usr/bin:/bin"
    done = run(clone / "scripts/gpu_session.sh", *arguments, PATH=path, **environment)
    lines = (clone / (arguments[0] if arguments else "results/gpu_session") / "summary.txt").read_text().splitlines()
    assert "\n".join(lines) in done.stdout
    return done.returncode, dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("quick", ["", "1"])
def test_a_part_that_fails_or_runs_out_of_time_leaves_the_others_alone(clone: Path, quick: str) -> None:
    code, parts = session(clone, QUICK=quick)
    assert code == 1
    failed = {name: text.split()[1] for name, text in parts.items() if not text.startswith("exit 0")}
    assert failed == {"launches": "3", "profile": "124"}
    assert list(parts)[:2] == ["machine", "numbers"]
    assert list(parts)[-1] == "control"
    folder = clone / "results/gpu_session"
    assert (folder / "launches.txt").read_text() == f"limit {1200 if quick else 60}\na table\n"
    assert "ran -m benchmarks.losses --markdown --device cuda --json results/gpu_session/losses.json" in (
        folder / "losses.txt").read_text()
    assert {path.stem for path in folder.glob("*.txt")} == {"summary", *parts}


def test_no_part_gets_more_than_what_is_left(clone: Path) -> None:
    _, parts = session(clone, "elsewhere", BUDGET="33")
    limits = [int((clone / f"elsewhere/{name}.txt").read_text().split()[1]) for name in parts]
    assert limits[0] == 20
    assert max(limits) <= 33


def test_without_time_nothing_runs(clone: Path) -> None:
    code, parts = session(clone, BUDGET="0")
    assert code == 1
    assert set(parts.values()) == {"no time left"}
