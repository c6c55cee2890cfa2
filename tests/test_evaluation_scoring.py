"""The scoring pipeline: partners, one pass over images, and the cache of features."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import save_noise
from torch import Tensor

import evaluate
from evaluation.feature_cache import FeatureCache, default_folder
from evaluation.generator_scores import as_saved
from evaluation.pairing import partners, require_equal_sizes
from evaluation.reports import require_place
from evaluation.scoring import Measured, Sample, ScoreOptions, Scorer
from metrics.frechet import frechet_distance
from metrics.paired import line_iou
from util.errors import UserError
from util.images import load_normalized
from util.picture_files import save_image

OPTIONS = ScoreOptions(layer="relu1_2", vgg_weights="random", batch_size=2, bootstrap=20)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five images of two sizes, not sorted by size."""
    sizes = [(24, 16), (24, 16), (16, 24), (24, 16), (24, 16)]
    return [save_noise(tmp_path / "images" / f"{index}.png", index, size) for index, size in enumerate(sizes)]


def save_blank(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (3, 2)).save(path)
    return path


def test_a_report_that_the_user_has_protected_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scores.json"
    file.write_text("{}")
    require_place(file)
    monkeypatch.setattr("evaluation.reports.os.access", lambda path, mode: path != file)  # root may write everything
    with pytest.raises(UserError, match=r"scores\.json' cannot be written there; choose another file"):
        require_place(file)


# --- partners


def test_partners_share_the_name_and_may_differ_in_suffix(tmp_path: Path) -> None:
    files = [save_blank(tmp_path / "out" / name) for name in ("b.png", "a.v2.png")]
    for name in ("a.v2.bmp", "b.jpg", "unused.png"):
        save_blank(tmp_path / "truth" / name)
    out, truth = tmp_path / "out", tmp_path / "truth"
    assert [path.name for path in partners(files, out, truth, "--truth")] == ["b.jpg", "a.v2.bmp"]
    with pytest.raises(UserError, match=r"--truth: .*c\.png.*no partner.*truth"):
        partners([out / "c.png"], out, truth, "--truth")
    with pytest.raises(UserError, match=r"--truth: '.*b\.png' and '.*b\.jpg' have the same partner in .*truth"):
        partners([*files, out / "b.jpg"], out, truth, "--truth")
    save_blank(tmp_path / "truth" / "b.bmp")
    with pytest.raises(UserError, match=r"b\.png.*several partners"):
        partners(files, out, truth, "--truth")


def test_partners_in_subfolders_share_the_path(tmp_path: Path) -> None:
    names = [f"p{patient}/slice{number}" for patient in (1, 2) for number in (1, 2)]
    files = [save_blank(tmp_path / "out" / f"{name}.png") for name in names]
    expected = [save_blank(tmp_path / "truth" / f"{name}.bmp") for name in names]
    assert partners(files, tmp_path / "out", tmp_path / "truth", "--truth") == expected
    expected[1].unlink()
    with pytest.raises(UserError, match=r"p1/slice2\.png' has no partner in .*: add an image named p1/slice2"):
        partners(files, tmp_path / "out", tmp_path / "truth", "--truth")


def test_partners_of_different_sizes_are_named(files: list[Path]) -> None:
    require_equal_sizes(files[:2], files[3:])
    with pytest.raises(UserError, match=r"1\.png' has 24x16 pixels, its partner '.*2\.png' 16x24"):
        require_equal_sizes(files[:2], files[1:3])


# --- measuring


def test_measured_images_keep_their_order_whatever_the_batches(files: list[Path]) -> None:
    scorer = Scorer(("frechet", "line_iou"), OPTIONS)
    images = [load_normalized(path, 3) for path in files]
    measured = scorer.measure(Sample("x", image, image.flip(-1)) for image in images)
    alone = [scorer.measure([Sample("x", image, image.flip(-1))]) for image in images]
    torch.testing.assert_close(measured.features["vgg16"], torch.cat([of.features["vgg16"] for of in alone]))
    assert measured.comparisons["line_iou"].tolist() == [line_iou(image, image.flip(-1)).item() for image in images]
    parts = [([3, 1], alone[3:4] + alone[1:2]), ([0, 4, 2], [alone[0], alone[4], alone[2]])]
    joined = Measured.joined((numbers, Measured.joined(([place], of) for place, of in enumerate(some)))
                             for numbers, some in [*parts, ([], [alone[0]])])
    torch.testing.assert_close(joined.features["vgg16"], measured.features["vgg16"])
    torch.testing.assert_close(joined.comparisons["line_iou"], measured.comparisons["line_iou"])


def test_scores_are_those_of_the_functions_with_intervals(files: list[Path]) -> None:
    scorer = Scorer(("frechet", "colour_error"), OPTIONS)
    measured = scorer.measure_files(files, "", files[::-1][:2] + files[2:3] + files[:2])
    real = torch.randn(6, 64).abs()
    scores = scorer.scores(measured, {"vgg16": real})
    assert scores["frechet"].value == pytest.approx(frechet_distance(measured.features["vgg16"], real))
    assert scores["colour_error"].value == pytest.approx(measured.comparisons["colour_error"].mean().item())
    for value, interval in scores.values():
        assert interval is not None
        assert interval[0] < value < interval[1]
    assert scorer.scores(measured, {"vgg16": real}) == scores
    assert "5 images are fewer than the 64 features" in scorer.warnings["frechet"]


def test_too_small_images_are_left_out_with_a_warning_or_refused(tmp_path: Path) -> None:
    path = save_noise(tmp_path / "a.png", 0, (16, 8))
    scorer = Scorer(("ssim", "psnr"), OPTIONS)
    assert list(scorer.measure_files([path], "", [path]).comparisons) == ["psnr"]
    assert "ssim is left out" in scorer.warnings["ssim"]
    assert "a.png' has 16x8 pixels, and SSIM needs images of 11x11" in scorer.warnings["ssim"]
    with pytest.raises(UserError, match=r"--metrics ssim: .*11x11"):
        Scorer(("ssim",), ScoreOptions(metrics=("ssim",))).measure_files([path], "", [path])
    with pytest.raises(UserError, match=r"a\.png.*too small for this --layer, which needs 16x16"):
        Scorer(("frechet",), ScoreOptions(layer="relu5_1", vgg_weights="random")).measure_files([path], "")


def test_an_image_in_memory_is_the_one_in_its_file(tmp_path: Path) -> None:
    image = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    image[0, 0, 0] = torch.nan
    save_image(image, tmp_path / "image.png")
    torch.testing.assert_close(as_saved(image), load_normalized(tmp_path / "image.png", 3), rtol=0, atol=1e-6)
    assert as_saved(image[:1]).shape == (3, 7, 5)


# --- the cache of features


def test_features_of_the_same_content_are_extracted_once(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(("frechet",), ScoreOptions(layer="relu1_2", vgg_weights="random", cache=tmp_path / "cache"))
    first = scorer.measure_files(files, "", cached=True).features["vgg16"]
    (kept,) = (tmp_path / "cache").iterdir()
    renamed = [path.rename(path.with_name(f"moved{path.name}")) for path in files]
    monkeypatch.setattr("evaluation.reading.load_picture", pytest.fail)
    assert torch.equal(scorer.measure_files(renamed, "", cached=True).features["vgg16"], first)
    monkeypatch.undo()
    cache = FeatureCache(tmp_path / "cache", pytest.fail)
    conditions = scorer.extractors["vgg16"].conditions
    others = {cache.file_of(of, conditions) for of in (renamed, renamed[::-1], renamed[:2])}
    others.add(cache.file_of(renamed, conditions | {"resizing": "clean"}))
    save_noise(renamed[1], seed=99)
    others.add(cache.file_of(renamed, conditions))
    assert len(others) == 5
    scorer.measure_files(renamed, "")
    assert list((tmp_path / "cache").iterdir()) == [kept], "uncached features are not kept"


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "list", "digest", "count", "shape"])
def test_a_damaged_file_is_replaced_with_a_warning(tmp_path: Path, damage: str) -> None:
    warnings = list[str]()
    cache, file, features = FeatureCache(tmp_path, warnings.append), tmp_path / "x.pt", torch.rand(3, 2)
    cache.save(file, features)
    found = cache.load(file, 3)
    assert found is not None
    assert torch.equal(found, features)
    content = file.read_bytes()
    place = content.index(features.numpy().tobytes()) + 2
    if damage == "list":
        torch.save([1, 2], file)
    elif damage == "digest":
        torch.save({"features": features, "sha256": "0"}, file)
    elif damage in ("count", "shape"):
        cache.save(file, features[:2] if damage == "count" else features[0])
    else:
        file.write_bytes({"empty": b"", "cut": content[: len(content) // 2],
                          "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]}[damage])
    assert cache.load(file, 3) is None
    assert len(warnings) == 1
    assert f"{file} is damaged" in warnings[0]


def test_a_folder_that_cannot_be_written_is_a_warning(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    scorer = Scorer(("frechet",), ScoreOptions(layer="relu1_2", vgg_weights="random", cache=tmp_path / "cache"))
    found: Tensor = scorer.measure_files(files, "", cached=True).features["vgg16"]
    assert found.shape == (5, 64)
    (warning,) = scorer.warnings
    assert "cannot be kept" in warning
    assert "--cache_dir" in warning


def test_the_cache_is_where_the_users_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.sep + "caches")
    assert default_folder() == Path(os.sep, "caches", "spatial-correlative", "features")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_folder() == Path.home() / ".cache" / "spatial-correlative" / "features"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder() is None
    assert evaluate.parse(["metrics", "--outputs", "x", "--real", "y", "--cache_dir", "none"])[1].cache_dir is None
