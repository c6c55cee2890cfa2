"""Rules for imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import ROOT, TINY, make_images, run_process

# What each part may import of the project, beside itself. The most specific prefix counts.
MAY_IMPORT = {
    "util": set(),
    "spatial_correlative": set(),
    "models.networks": {"util", "spatial_correlative"},
    "models.losses": set(),
    "options": {"util"},
    "data": {"options", "util"},
    "datasets": {"options", "data", "util"},
    "models": {"options", "util", "spatial_correlative", "models.networks", "models.losses"},
    "metrics": {"util", "spatial_correlative", "models.networks", "models.losses"},
    "inference": {"options", "util", "models", "models.networks", "models.losses", "data"},
    "evaluation": {"options", "util", "spatial_correlative", "models", "models.networks", "models.losses", "data",
                   "metrics", "inference"},
    "training": {"options", "util", "models", "models.networks", "models.losses", "data", "metrics", "evaluation",
                 "inference"},
    "web": {"options", "util", "models", "models.networks", "models.losses", "data", "metrics", "evaluation",
            "inference"},
    "benchmarks": {"options", "util", "spatial_correlative", "models", "models.networks", "models.losses", "data",
                   "datasets", "metrics", "inference", "training"},
    "experiments": {"options", "util", "spatial_correlative", "models", "models.networks", "models.losses", "data",
                    "datasets", "metrics", "evaluation", "benchmarks", "inference"},
}
PROGRAMS = ("train", "test", "evaluate", "app", "export", "hubconf")
OPTIONAL = ("visdom", "tqdm", "safetensors", "timm", "torchvision", "requests", "h5py", "cv2", "matplotlib",
            "torch_fidelity", "lpips", "prdc", "tensorboard", "wandb", "onnx", "onnxruntime", "onnxscript", "gradio",
            "imageio_ffmpeg", "tornado", "tifffile", "imagecodecs", "huggingface_hub", "triton")


def part_of(module: str) -> str | None:
    """Return the part of the project that a module belongs to; None for an external module."""
    fitting = [part for part in (*MAY_IMPORT, *PROGRAMS) if f"{module}.".startswith(f"{part}.")]
    return max(fitting, key=len, default=None)


def sources() -> list[Path]:
    folders = {part.split(".")[0] for part in MAY_IMPORT}
    programs = [ROOT / f"{name}.py" for name in PROGRAMS]
    return sorted([*programs, *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, tree: ast.AST | None = None) -> Iterator[str]:
    """Yield the absolute name of every module that a file imports, anywhere in the file."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree or ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)  # `from models import losses` names a module


def imports_at_start(path: Path) -> Iterator[str]:
    """Yield the modules that are imported together with the file: all imports outside functions."""

    def outside(node: ast.AST) -> Iterator[ast.stmt]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
            elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from outside(child)

    for statement in outside(ast.parse(path.read_text(encoding="utf-8"))):
        yield from imports(path, ast.Module([statement], []))


def test_imports_run_downwards_only() -> None:
    for path in sources():
        part = part_of(module_name(path))
        assert part is not None, f"{path}: a new part of the project needs a line in MAY_IMPORT"
        allowed = {*MAY_IMPORT, *PROGRAMS} if part in PROGRAMS else {part, *MAY_IMPORT[part]}
        wrong = {module for module in imports(path) if part_of(module) not in {None, *allowed}}
        assert not wrong, f"{path} is part of {part}, which may not import {sorted(wrong)}"


def test_programs_are_imported_by_nobody() -> None:
    used = {module.split(".")[0] for path in sources() for module in imports(path)}
    assert not used & set(PROGRAMS)


def test_optional_packages_are_imported_where_they_are_used() -> None:
    for path in sources():
        needed = {"data": {"torchvision"}, "metrics": {"torchvision"}}.get(module_name(path).split(".")[0], set())
        needed = {"triton"} if module_name(path) == "models.networks.norm_kernels" else needed
        at_start = {module.split(".")[0] for module in imports_at_start(path)}
        assert not at_start & (set(OPTIONAL) - needed), path


@pytest.mark.parametrize("file", ["spatial_correlative/loss.py", "models/losses/patch_nce.py"])
def test_a_loss_that_people_copy_imports_torch_alone(file: str) -> None:
    assert {module.split(".")[0] for module in imports(ROOT / file)} - set(sys.stdlib_module_names) == {"torch"}


def test_the_package_imports_torch_and_safetensors_alone() -> None:
    for path in (ROOT / "spatial_correlative").glob("*.py"):
        used = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names)
        assert used <= {"torch", "safetensors", "spatial_correlative"}, path


@pytest.mark.slow
def test_training_runs_without_optional_packages(tmp_path: Path) -> None:
    data = make_images(tmp_path / "data", "trainA", "trainB")
    (tmp_path / "run.py").write_text(f"""
import runpy, sys
for name in ("visdom", "requests", "h5py", "cv2", "scipy", "skimage", "timm", "matplotlib", "tensorboard",
             "wandb"):
    sys.modules[name] = None  # `import` raises ImportError
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
""")
    arguments = [argument for argument in TINY if argument != "--no_html"]
    outcome = run_process(tmp_path / "run.py", "--dataroot", data, "--checkpoints_dir", tmp_path / "checkpoints",
                          "--name", "run", "--display_id", "1", "--print_freq", "1", *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "checkpoints" / "run" / "web" / "index.html").is_file()
    assert "warning: the logger visdom cannot run: the package visdom is not installed" in outcome.out
    assert (tmp_path / "checkpoints" / "run" / "latest_net_G.pth").is_file()
