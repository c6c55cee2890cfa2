"""Run the tests and the session of a GPU on the device that computes nothing, see null_cuda/README.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import null_device
import pytest
from cli import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(null_device.obstacle()), reason=null_device.obstacle()),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process on the null device."""
    return null_device.build(tmp_path_factory.mktemp("null_device"))


@pytest.mark.parametrize(("file", "tests"), [("gpu", "waits"), ("gpu", "not waits"), ("gpu_graph", "")])
def test_gpu_tests_pass_on_the_null_device(
    environment: dict[str, str], file: str, tests: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-k", tests, "-p", "no:cacheprovider", "--tb=short",
         "--show-capture=no", "--basetemp", tmp_path / "tests", f"tests/test_{file}.py"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_session_of_a_gpu_runs_to_its_end_on_the_null_device(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(["bash", ROOT / "scripts/gpu_session.sh", tmp_path], capture_output=True, text=True,
                          env={**environment, "QUICK": "1", "PYTHON": sys.executable}, timeout=1800, check=False)
    parts = (tmp_path / "summary.txt").read_text(encoding="utf-8").splitlines()
    printed = (tmp_path / "output.txt").read_text(encoding="utf-8")
    assert all(": exit 0 " in part for part in parts), done.stdout + printed[-6000:]
    assert len(parts) == 13
    assert "recorded no kernel" in printed
    numbers = [json.loads(line) for line in (tmp_path / "numbers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [of["benchmark"] for of in numbers] == ["step", "launches", "launches", "step", "step", "losses",
                                                   "inference", "data"]
    assert [row["row"] for row in numbers[0]["rows"]] == ["FSeSim-p64-bf16", "FSeSim-p64-bf16-graph"]
    (row, _) = numbers[1]["rows"]
    assert row["launches"] > 100
    assert row["ms"] is None
