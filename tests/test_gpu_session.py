"""The control flow of scripts/gpu_session.sh, with a Python that does nothing. On a device: test_null_device.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from test_scripts import LONG, program, run

CONTENT = '''echo "ran $*"
case "$*" in *--json*) while [ "$1" != --json ]; do [ "$1" = -m ] && of=${2#*.}; shift; done
    printf '{\\n  "benchmark": "%s"\\n}\\n' "$of" > "$2" ;; esac
case "$of" in launches) echo "a table"; exit 3 ;; esac'''


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script, a Python in which one program fails, and a ``timeout`` that shows its limit and ends one part."""
    (tmp_path / "clone/scripts").mkdir(parents=True)
    shutil.copy(Path(__file__).parent.parent / "scripts/gpu_session.sh", tmp_path / "clone/scripts")
    program(tmp_path / "clone/.venv/bin/python", CONTENT)
    program(tmp_path / "bin/timeout", 'echo "limit $5"; shift 5; case "$*" in *--profile*) exit 124 ;; esac; exec "$@"')
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
    assert failed == {"launches": "3", "launches-8": "3", "profile": "124"}
    assert list(parts)[:2] == ["machine", "numbers"]
    assert list(parts)[-1] == "data"
    folder = clone / "results/gpu_session"
    assert {path.name for path in folder.iterdir()} == {"summary.txt", "output.txt", "numbers.jsonl"}
    printed = (folder / "output.txt").read_text()
    assert [line.removeprefix("## ") for line in printed.splitlines() if line.startswith("## ")] == list(parts)
    assert "\n## launches\n\nlimit " in printed
    assert "a table\n" in printed
    assert "ran -m benchmarks.losses --markdown --device cuda --json " in printed
    numbers = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    assert [of["benchmark"] for of in numbers] == ["step", "launches", "launches", "step", "step", "losses",
                                                   "inference", "data"]


def limits_of(parts: dict[str, str]) -> list[int]:
    return [int(text.split()[-1]) for text in parts.values() if text.startswith("exit")]


def test_no_part_gets_more_than_what_is_left(clone: Path) -> None:
    _, parts = session(clone, "elsewhere", BUDGET="33")
    assert max(limits_of(parts)) <= 33


def test_a_part_gets_what_earlier_ones_leave_of_eight_minutes(clone: Path) -> None:
    own = [int(limit) for limit in re.findall(r"^(?:part|benchmark) \S+ (\d+) ", (
        clone / "scripts/gpu_session.sh").read_text(), re.MULTILINE)]
    assert sum(own) == 480
    limits = limits_of(session(clone)[1])
    assert len(limits) == len(own)
    assert max(limits) <= 480
    assert limits[-1] > own[-1]


def test_without_time_nothing_runs(clone: Path) -> None:
    code, parts = session(clone, BUDGET="0")
    assert code == 1
    assert set(parts.values()) == {"no time left"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_session_ends_its_part_and_starts_no_other(clone: Path, number: signal.Signals) -> None:
    pipe = clone / "pipe"
    os.mkfifo(pipe)
    program(clone / ".venv/bin/python", f"exec 9> {pipe}; echo begun >&9; {LONG}")
    (clone.parent / "bin/timeout").unlink()
    with subprocess.Popen(
        ["bash", clone / "scripts/gpu_session.sh"], start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # noqa: PLW1509 - no threads here
    ) as script, pipe.open() as part:
        assert part.readline() == "begun\n"
        os.killpg(script.pid, number)
        assert script.wait() == 128 + number
        assert part.read() == ""  # when the part has ended
    output = (clone / "results/gpu_session/output.txt").read_text()
    assert "ended" not in output
    assert output.count("## ") == 1
