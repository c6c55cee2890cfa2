"""docs/extending.md: its model and its data set work, registered as the page says."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from cli import ROOT, TINY_TEST, make_images, run

from data import DATASETS
from models import MODELS

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FLAGS = "--model tint --dataset_mode edges --netG resnet_6blocks --ngf 2 --netD n_layers --n_layers_D 1 --ndf 2 " \
        "--load_size 36 --crop_size 32 --gpu_ids -1 --num_threads 0 --seed 1 --no_html --name run"


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's model and data set, in the packages and registries."""
    for name, registry in (("models.tint", MODELS), ("data.edges", DATASETS)):
        path = f"{name.replace('.', '/')}.py"
        blocks = rf"^`{path}`:\n\n```python\n(.*?)```.*?```python unchecked\n(.*?\n)( .*?)```"
        code, imports, line = re.findall(blocks, PAGE, re.MULTILINE | re.DOTALL)[0]
        file = tmp_path / path
        file.parent.mkdir()
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
    for package, name in (("models", "tint"), ("data", "edges")):
        vars(importlib.import_module(package)).pop(name, None)


@pytest.mark.usefixtures("registered")
def test_the_model_and_the_data_set_train_resume_and_test(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", "trainB", "testB")
    places = ("--dataroot", images, "--checkpoints_dir", tmp_path / "checkpoints")
    for more in ("--max_iters 2", "--max_iters 3 --continue_train"):
        outcome = run("train.py", *places, *FLAGS.split(), *more.split())
        assert (outcome.code, outcome.err) == (0, "")
        assert "G_bright" in outcome.out
    assert "from image 2" in outcome.out
    outcome = run("test.py", *places, "--results_dir", tmp_path / "results", "--name", "run", "--model", "tint",
                  "--dataset_mode", "edges", *TINY_TEST)
    assert (outcome.code, outcome.err) == (0, "")
    results = tmp_path / "results" / "run" / "test_latest" / "images"
    assert {path.parent.name for path in results.glob("*/*.png")} == {"real_A", "fake_B", "real_B"}
