"""The wheel: the package spatial_correlative, which needs torch and safetensors alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from cli import ROOT, run_process

LINES = """
import sys, torch
from spatial_correlative import FSeSim, LSeSim
photo, jittered, other = (torch.rand(1, 3, 32, 32) * 2 - 1 for _ in range(3))
painting = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
structure = FSeSim()
loss = structure(photo, painting)
loss.backward()
assert painting.grad.abs().sum() > 0
learned = LSeSim()
learned.contrast(photo, jittered, other).backward()
assert learned.heads[0][0].weight.grad.abs().sum() > 0
foreign = {name.split(".")[0] for name in sys.modules} & {"models", "util", "options", "torchvision", "PIL"}
assert not foreign, foreign
print(sys.modules["spatial_correlative"].__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the files that it is made of; the clone stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "spatial_correlative", folder / "spatial_correlative",
                    ignore=shutil.ignore_patterns("__pycache__"))
    built = run_process("-m", "pip", "wheel", ".", "--no-build-isolation", "--no-deps", "--no-index", "--quiet",
                        "--wheel-dir", "built", cwd=folder)
    assert built.code == 0, built.err
    (path,) = (folder / "built").iterdir()
    return path


def test_the_wheel_holds_the_package_its_weights_and_both_licences(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    wanted = {f"spatial_correlative/{path.relative_to(ROOT / 'spatial_correlative').as_posix()}"
              for path in (ROOT / "spatial_correlative").rglob("*")
              if path.is_file() and "__pycache__" not in path.parts}
    assert {"spatial_correlative/weights/vgg16_features.safetensors", "spatial_correlative/py.typed"} <= wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_wheel_works_without_the_clone(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-c", LINES], cwd=tmp_path, env=environment | {"OMP_NUM_THREADS": "1"},
                          capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).parent == tmp_path / "spatial_correlative"


def test_the_package_needs_torch_and_safetensors_in_the_versions_of_the_programs(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    needed = {line.removeprefix("Requires-Dist: ") for line in lines
              if line.startswith("Requires-Dist: ") and "extra ==" not in line}
    assert {re.split(r"\W", package)[0] for package in needed} == {"torch", "safetensors"}
    assert needed <= set((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())
