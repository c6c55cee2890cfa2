"""docs/extending.md: its model and its data set work, added to a copy of the repository as it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from cli import ROOT, TINY_TEST, make_images, run_process

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
LONGEST = 33  # lines of an example below its imports, without empty ones
CODE = ("options", "data", "models", "util", "metrics", "evaluation", "training", "tests")
REGISTRIES = {"models/__init__.py": "MODELS", "data/__init__.py": "DATASETS", "tests/tiny.py": "METHODS"}
FLAGS = "--model tint --dataset_mode edges --netG resnet_6blocks --ngf 2 --netD n_layers --n_layers_D 1 --ndf 2 " \
        "--load_size 36 --crop_size 32 --gpu_ids -1 --num_threads 0 --seed 1 --no_html --name run"


def blocks() -> dict[str, str]:
    """The page's Python by the file that was named last before it."""
    found: dict[str, str] = {}
    for before, code in re.findall(r"(.*?)```python(?: unchecked)?\n(.*?)```", PAGE, flags=re.DOTALL):
        path = re.findall(r"`((?:models|data|tests)/\w+\.py)`", before)
        found[path[0] if "METHODS" in before else path[-1]] = code
    return found


def register(file: Path, registry: str, lines: str) -> None:
    """Add a line to the imports, if there is one, and one to the registry."""
    text = file.read_text(encoding="utf-8")
    for line in lines.splitlines():
        place = r"^from \..*\n" if line.startswith("from") else rf"^{registry}\b.*\{{\n"
        text, count = re.subn(place, lambda match, line=line: f"{match[0]}{line}\n", text, count=1, flags=re.MULTILINE)
        assert count == 1, f"no place for {line!r} in {file.name}"
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's code with what the page adds."""
    root = tmp_path_factory.mktemp("repository")
    for name in CODE:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "golden", "weights"))
    for name in ("train.py", "test.py", "evaluate.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for path, code in blocks().items():
        if path in REGISTRIES:
            register(root / path, REGISTRIES[path], code)
        else:
            (root / path).write_text(code, encoding="utf-8")
    return root


def test_the_page_has_two_files_and_the_lines_that_register_them() -> None:
    found = blocks()
    assert set(found) == {"models/tint.py", "data/edges.py", *REGISTRIES}
    for path in ("models/tint.py", "data/edges.py"):
        body = found[path].split("\n\n\n", maxsplit=1)[1]  # below the imports
        lines = [line for line in body.splitlines() if line.strip()]
        assert len(lines) <= LONGEST, f"{path} is no longer short"


def test_model_and_data_set_train_resume_and_test(copy: Path) -> None:
    make_images(copy / "images", "trainB", "testB")
    for more in ("--max_iters 2", "--max_iters 3 --continue_train"):
        outcome = run_process("train.py", "--dataroot", "images", *FLAGS.split(), *more.split(), cwd=copy)
        assert (outcome.code, outcome.err) == (0, "")
        assert "G_bright" in outcome.out
    assert "from image 2" in outcome.out
    outcome = run_process("test.py", "--dataroot", "images", "--name", "run", "--model", "tint", "--dataset_mode",
                          "edges", *TINY_TEST, cwd=copy)
    assert (outcome.code, outcome.err) == (0, "")
    results = copy / "results" / "run" / "test_latest" / "images"
    assert {path.parent.name for path in results.glob("*/*.png")} == {"real_A", "fake_B", "real_B"}


def test_what_every_model_and_data_set_must_do(copy: Path) -> None:
    """As the page says, the tests over all models and data sets take the new ones in."""
    files = ("tests/test_models.py", "tests/test_augment.py", "tests/test_data_datasets.py")
    outcome = run_process("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "tint or edges or takes_part",
                          cwd=copy)
    assert outcome.code == 0, outcome.out
    assert int(re.findall(r"(\d+) passed", outcome.out)[0]) >= 15, outcome.out


def test_the_drawing_is_that_of_the_picture(copy: Path) -> None:
    (copy / "look.py").write_text("""
import torch
from data.edges import edges
image = torch.zeros(1, 5, 8, dtype=torch.uint8)
image[:, :, 4:] = 200
drawn = edges(image)
assert drawn.dtype == torch.uint8
assert drawn[0, 2].tolist() == [255, 255, 255, 55, 55, 255, 255, 255]
torch.testing.assert_close(edges(image / 200)[0, 2], torch.tensor([1.0, 1, 1, 0, 0, 1, 1, 1]))
print("drawn")
""")
    outcome = run_process("look.py", cwd=copy)
    assert (outcome.code, outcome.out) == (0, "drawn\n"), outcome.err
