"""docs/extending.md: its model and its data sets work, registered as the page says."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import ROOT, TINY_TEST, make_images, run
from states import content, differing
from steps import batch, build_model, checked_steps
from test_docs import refusal
from tiny import LOSSES, METHODS

from data import DATASETS
from models import MODELS

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = {"models.tint": MODELS, "data.edges": DATASETS, "data.tensors": DATASETS}
FLAGS = f"--model tint --netG resnet_6blocks --ngf 2 --netD n_layers --n_layers_D 1 --ndf 2 {LOSSES} " \
        "--load_size 36 --crop_size 32 --gpu_ids -1 --num_threads 0 --seed 1 --no_html"


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's model and data sets, in the packages and registries."""
    for name, registry in FILES.items():
        path = f"{name.replace('.', '/')}.py"
        blocks = rf"^`{path}`:\n\n```python\n(.*?)```.*?```python unchecked\n(.*?\n)( .*?)```"
        code, imports, line = re.findall(blocks, PAGE, re.MULTILINE | re.DOTALL)[0]
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, encoding="utf-8")
        spec = spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        package = importlib.import_module(name.split(".", maxsplit=1)[0])
        names = dict(vars(package))
        exec(imports, names)
        for key, owner in eval(f"{{{line}}}", names).items():
            monkeypatch.setitem(registry, key, owner)
    yield
    for name in FILES:
        package, attribute = name.split(".")
        vars(importlib.import_module(package)).pop(attribute, None)


def trained(tmp_path: Path, images: Path, flags: str, name: str = "run") -> dict[str, Any]:
    """Train, and return every tensor and number of the final checkpoint."""
    checkpoints = tmp_path / "checkpoints"
    outcome = run("train.py", "--dataroot", images, "--checkpoints_dir", checkpoints, "--name", name, *FLAGS.split(),
                  *flags.split())
    assert (outcome.code, outcome.err) == (0, "")
    assert "G_bright" in outcome.out
    return content(checkpoints / name)


def translated(tmp_path: Path, images: Path, mode: str) -> set[str]:
    """Translate the test images, and return the names of the results."""
    outcome = run("test.py", "--dataroot", images, "--checkpoints_dir", tmp_path / "checkpoints", "--results_dir",
                  tmp_path / "results", "--name", "run", "--model", "tint", "--dataset_mode", mode, *TINY_TEST)
    assert (outcome.code, outcome.err) == (0, "")
    results = tmp_path / "results" / "run" / "test_latest" / "images"
    return {path.relative_to(results).parts[0] for path in results.rglob("*.png")}


def test_the_model_trains_resumes_and_tests_on_pairs_of_the_data_set(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", "trainB", "testB")
    flags = "--dataset_mode edges --learned_attn"
    expected = trained(tmp_path, images, f"{flags} --max_iters 3", "whole")
    for more in ("--max_iters 2", "--max_iters 3 --continue_train"):
        found = trained(tmp_path, images, f"{flags} {more}")
    assert differing(expected, found) == []
    assert translated(tmp_path, images, "edges") == {"real_A", "fake_B", "real_B"}


def test_files_that_are_no_images_are_read_and_bad_ones_replaced(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB", "testA"):
        (tmp_path / folder / "more").mkdir(parents=True)
        for number in range(2):
            torch.save(torch.rand(3, 40, 36), tmp_path / folder / "more" / f"{number}.pt")
    torch.save(torch.rand(2, 40, 36), tmp_path / "trainB" / "channels.pt")
    (tmp_path / "trainA" / "bad.pt").write_bytes(b"no tensor")
    trained(tmp_path, tmp_path, "--dataset_mode tensors --max_iters 3 --serial_batches --max_bad_images 2")
    assert translated(tmp_path, tmp_path, "tensors") == {"real_A", "fake_B"}


def test_the_line_for_the_common_tests_is_a_method_that_learns(root: Path) -> None:
    (line,) = re.findall(r"```python unchecked\n(    \"tint\": f.*?)```", PAGE, re.DOTALL)
    methods = eval(f"{{{line}}}", {"LOSSES": LOSSES})
    assert not methods.keys() & METHODS.keys()
    model = build_model(root, methods["tint"])
    losses = checked_steps(model, batch())
    assert {"F_contrastive", "G_GAN", "G_bright", "G_spatial", "D_real", "D_fake"} < losses.keys()
    assert model.networks.keys() == {"G", "D", "F"}
    assert list(model.visuals()) == ["real_A", "fake_B", "bright_B", "real_B"]
    assert len(model.pool.images) == 1


def test_the_commands_of_the_page_are_understood() -> None:
    (commands,) = re.findall(r"```bash unchecked\n(.*?)```", PAGE, re.DOTALL)
    for command in commands.splitlines():
        assert not refusal(shlex.split(command)), command
