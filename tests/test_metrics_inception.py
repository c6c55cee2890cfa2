"""Features of Inception: those of torch-fidelity, from weights that the test makes up; each way of resizing."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from cli import Outcome, run
from PIL import Image
from tiny import save_noise
from torch import Tensor

from evaluation.inception import levels, resize_clean, resize_original
from evaluation.pairing import read_image

inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
NAME = Path(inception.URL_INCEPTION_V3).name


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torch-fidelity's form, filled at random."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)
    with mock.patch.object(inception.FeatureExtractorInceptionV3, "load_state_dict"):
        network = inception.FeatureExtractorInceptionV3("shapes", ["2048"], str(path))
    generator = torch.Generator().manual_seed(0)
    torch.save({key: torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
                if value.dim() > 1 else value for key, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number, name in enumerate(("outputs", "real")):
        for index in range(2 + number):
            save_noise(root / name / f"{index}.png", seed=10 * number + index, size=(40, 28 + index))
    return root


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty cache of torch's, and a machine that reaches nobody."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError("Network is unreachable")

    with mock.patch("torch.hub.urlopen", refuse):
        yield


def evaluate(folder: Path, *more: object) -> Outcome:
    return run("evaluate.py", "metrics", "--outputs", folder / "outputs", "--real", folder / "real", "--gpu_ids", "-1",
               "--cache_dir", "none", "--bootstrap", "10", *more)


def test_features_and_distances_are_those_of_torch_fidelity(weights: Path, folder: Path, tmp_path: Path) -> None:
    """Here alone the whole network runs."""
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    network = inception.FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    features: dict[str, Tensor] = {}
    for name in ("outputs", "real"):
        images = [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
                  for path in sorted((folder / name).iterdir())]
        features[name] = torch.cat([network(image[None])[0] for image in images])
    outcome = evaluate(folder, "--metrics", "fid,kid", "--resize", "original", "--inception_weights", weights,
                       "--cache_dir", tmp_path / "cache", "--json", tmp_path / "scores.json")
    assert (outcome.code, outcome.err.count("\n")) == (0, 1)
    assert "warning: fid: 2 images are fewer than the 2048 features, which makes the distance larger" in outcome.err
    (kept,) = (tmp_path / "cache").iterdir()
    real = torch.load(kept, weights_only=True)["features"]
    assert real.shape == (3, 2048)
    torch.testing.assert_close(real, features["real"], rtol=1e-4, atol=1e-5)
    assert (real[0] - real[1]).abs().max() > 100 * (real - features["real"]).abs().max()
    scores = json.loads((tmp_path / "scores.json").read_text())
    statistics = [fid.fid_features_to_statistics(features[name].double()) for name in ("outputs", "real")]
    expected = fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]
    assert scores["fid_outputs"] == pytest.approx(expected, rel=1e-3)
    of_all = [kid.kid_features_to_metric(features["outputs"], features["real"][[i, j]], kid_subsets=1,
                                         kid_subset_size=2, verbose=False)[kid.KEY_METRIC_KID_MEAN]
              for i, j in ((0, 1), (0, 2), (1, 2))]
    assert scores["kid_outputs"] == pytest.approx(np.mean(of_all), rel=1e-3)
    assert scores["inception_weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert scores["inception_resizing"] == "original"
    assert scores["torch_fidelity_version"]
    assert "feature_network" not in scores  # VGG16 was not asked


def test_levels_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    assert levels(read_image(tmp_path / "grey.png"))[1].tolist() == pixels.tolist()


def test_clean_resizing_is_pillows_bicubic_filter_of_each_channel() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 700, 500)) * 255).float()
    resized = resize_clean(image)
    expected = Image.fromarray(image[2].numpy()).resize((299, 299), Image.Resampling.BICUBIC)
    assert resized.shape == (3, 299, 299)
    assert np.array_equal(resized[2], np.asarray(expected).clip(0, 255))
    assert 0 <= resized.min() < resized.max() <= 255
    assert (resized != resized.round()).any()  # not brought back to 8 bits


def test_clean_resizing_averages_where_the_original_one_skips_pixels() -> None:
    stripes = torch.zeros(3, 8, 299 * 4)
    stripes[:, :, ::4] = 255  # one column in four
    assert resize_original(stripes).eq(255).all()
    assert resize_clean(stripes).mean().item() == pytest.approx(255 / 4, rel=0.02)
    assert resize_clean(stripes).std() < 10


def test_weights_that_cannot_be_downloaded_are_one_sentence(folder: Path, no_network: None) -> None:
    outcome = evaluate(folder, "--metrics", "fid")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    for word in (NAME, "Network is unreachable", "--inception_weights FILE", "checkpoints"):
        assert word in outcome.err


def test_weights_of_something_else_are_one_sentence(folder: Path, weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({**state, "fc.bias": torch.zeros(3)}, tmp_path / "shape.pth")
    torch.save([1], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name, words in {"other": NAME, "shape": "fc.bias", "list": "holds a list", "text": "no readable state"}.items():
        outcome = evaluate(folder, "--metrics", "fid", "--inception_weights", tmp_path / f"{name}.pth")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert f"--inception_weights: {tmp_path / name}.pth" in outcome.err
        assert words in outcome.err


def test_a_file_that_would_run_something_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    torch.save({"bomb": Bomb()}, tmp_path / "bomb.pth")
    assert "no readable state dict" in evaluate(folder, "--metrics", "kid", "--inception_weights",
                                                tmp_path / "bomb.pth").err
    assert not (tmp_path / "ran").exists()


def test_a_package_that_is_not_installed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch_fidelity", "lpips"):
        monkeypatch.setitem(sys.modules, package, None)
    for metric, package in {"fid": "torch-fidelity", "lpips": "lpips"}.items():
        outcome = evaluate(folder, "--metrics", metric, "--truth", folder / "outputs")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert f"pip install {package}" in outcome.err
