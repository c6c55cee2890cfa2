"""Features that are kept: found by content alone, computed again when they are damaged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import save_noise
from torch import Tensor

import evaluate
from evaluation.feature_cache import cached, default_folder
from evaluation.folder_scores import Request, score
from evaluation.pairing import read_image

CONDITIONS = {"network": "n", "weights": "abc"}


class Extract:
    """Features made of file sizes; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, paths: Sequence[Path]) -> Tensor:
        self.calls += 1
        return torch.tensor([[path.stat().st_size, 0.25] for path in paths])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [save_noise(tmp_path / "images" / f"{index}.png", seed=index) for index in range(3)]


def test_features_of_the_same_content_are_computed_once(files: list[Path], tmp_path: Path) -> None:
    extract, warnings = Extract(), list[str]()
    first = cached(extract, files, CONDITIONS, tmp_path / "cache", warnings.append)
    moved = [path.rename(path.with_name(f"moved{path.name}")) for path in files]
    assert torch.equal(cached(extract, moved, CONDITIONS, tmp_path / "cache", warnings.append), first)
    assert (extract.calls, warnings) == (1, [])
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".pt"]


@pytest.mark.parametrize("change", ["content", "order", "fewer", "conditions"])
def test_other_images_or_conditions_are_not_mistaken_for_them(files: list[Path], tmp_path: Path, change: str) -> None:
    extract = Extract()
    cached(extract, files, CONDITIONS, tmp_path / "cache", pytest.fail)
    if change == "content":
        save_noise(files[1], seed=99)
    others = {"order": files[::-1], "fewer": files[:2]}.get(change, files)
    conditions = CONDITIONS | {"weights": "abd"} if change == "conditions" else CONDITIONS
    found = cached(extract, others, conditions, tmp_path / "cache", pytest.fail)
    assert extract.calls == 2
    assert torch.equal(found, extract(others))


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "foreign"])
def test_a_damaged_file_is_computed_again_with_a_warning(files: list[Path], tmp_path: Path, damage: str) -> None:
    extract, warnings = Extract(), list[str]()
    first = cached(extract, files, CONDITIONS, tmp_path / "cache", pytest.fail)
    (kept,) = (tmp_path / "cache").iterdir()
    content = kept.read_bytes()
    if damage == "foreign":
        torch.save([1, 2], kept)
    else:
        place = content.index(first.numpy().tobytes()) + 2
        kept.write_bytes({"empty": b"", "text": b"no features", "cut": content[: len(content) // 2],
                          "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]}[damage])
    assert torch.equal(cached(extract, files, CONDITIONS, tmp_path / "cache", warnings.append), first)
    assert extract.calls == 2
    assert len(warnings) == 1
    assert f"{kept} is damaged" in warnings[0]
    cached(extract, files, CONDITIONS, tmp_path / "cache", pytest.fail)
    assert extract.calls == 2


def test_a_folder_that_cannot_be_written_is_a_warning(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    warnings = list[str]()
    assert torch.equal(cached(Extract(), files, CONDITIONS, tmp_path / "cache", warnings.append), Extract()(files))
    assert len(warnings) == 1
    assert "cannot be kept" in warnings[0]
    assert "--cache_dir" in warnings[0]


def test_the_folder_is_where_the_users_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.sep + "caches")
    assert default_folder() == Path(os.sep, "caches", "spatial-correlative", "features")
    for not_absolute in ("", "caches"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
        assert default_folder() == Path.home() / ".cache" / "spatial-correlative" / "features"


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder() is None
    parsed = evaluate.parse(["metrics", "--outputs", "x", "--real", "y"])
    assert str(parsed.cache_dir) == "none"


@pytest.mark.parametrize("content", [{}, [], {"features": 3}, {"features": torch.ones(3, 2), "sha256": "0"}])
def test_a_file_of_another_kind_is_computed_again(files: list[Path], tmp_path: Path, content: object) -> None:
    extract, warnings = Extract(), list[str]()
    first = cached(extract, files, CONDITIONS, tmp_path / "cache", warnings.append)
    (file,) = (tmp_path / "cache").iterdir()
    torch.save(content, file)
    assert torch.equal(cached(extract, files, CONDITIONS, tmp_path / "cache", warnings.append), first)
    assert len(warnings) == 1
    assert "is damaged" in warnings[0]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2, 1), ()])
def test_features_of_another_shape_are_computed_again(
    files: list[Path], tmp_path: Path, shape: tuple[int, ...]
) -> None:
    extract, warnings = Extract(), list[str]()
    first = cached(extract, files, CONDITIONS, tmp_path / "cache", warnings.append)
    (file,) = (tmp_path / "cache").iterdir()
    other = first.reshape(shape) if shape else first.sum()
    digest = hashlib.sha256(other.numpy().tobytes()).hexdigest()
    torch.save({"features": other, "sha256": digest}, file)
    assert torch.equal(cached(extract, files, CONDITIONS, tmp_path / "cache", warnings.append), first)
    assert len(warnings) == 1
    assert "is damaged" in warnings[0]


def test_real_images_and_inputs_are_kept_and_outputs_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("outputs", "inputs", "real")):
        for index in range(3):
            save_noise(tmp_path / name / f"{index}.png", seed=10 * number + index)
    request = Request(outputs=tmp_path / "outputs", inputs=tmp_path / "inputs", real=tmp_path / "real",
                      layer="relu1_2", weights="random", bootstrap=0, cache=tmp_path / "cache")
    first = score(request)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    read: list[Path] = []

    def watched(path: Path) -> Tensor:
        read.append(path)
        return read_image(path)

    monkeypatch.setattr("evaluation.feature_extractors.read_image", watched)
    assert score(request) == first
    assert {path.parent.name for path in read} == {"outputs"}
