"""The networks of the scores: VGG16, Inception and LPIPS, with weights that the tests make up; missing weights."""

from __future__ import annotations

import hashlib
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.feature_extractors import (
    InceptionExtractor,
    VGGExtractor,
    resize_clean,
    resize_original,
    weights_sha256,
)
from evaluation.lpips_distance import LPIPSDistance
from evaluation.network_weights import read_state, weights_file
from models.networks.vgg import VGG16Features
from spatial_correlative.vgg import BUNDLED
from util.errors import UserError
from util.picture_files import levels

URL = "https://example.org/network-0123abcd.pth"


def pictures(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, height, width), generator=generator) / 255 * 2 - 1


def test_vgg_features_are_spatial_means_without_resizing() -> None:
    images = pictures(2, 24, 16)
    extractor = VGGExtractor("relu2_1", "random", "cpu")
    expected = VGG16Features(["relu2_1"], "random")(images)[0].mean(dim=(2, 3))
    torch.testing.assert_close(extractor(images), expected)
    assert not extractor(images).requires_grad
    assert extractor.least == 2
    assert (extractor.conditions["feature_layer"], extractor.conditions["vgg_weights_sha256"]) == ("relu2_1", None)


def test_the_hash_is_that_of_the_weights_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert weights_sha256(str(tmp_path / "w.pth")) == hashlib.sha256(b"weights").hexdigest()
    assert weights_sha256("bundled") == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()


# --- Inception


def test_inception_features_are_those_of_torch_fidelity(tmp_path: Path) -> None:
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path / "weights.pth"
    torch.save({}, path)
    with mock.patch.object(inception.FeatureExtractorInceptionV3, "load_state_dict"):
        network = inception.FeatureExtractorInceptionV3("shapes", ["2048"], str(path))
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
             if value.dim() > 1 else value for key, value in network.state_dict().items()}
    torch.save(state, path)
    images = pictures(2, 40, 28)
    extractor = InceptionExtractor(path, "original", "cpu")
    network = inception.FeatureExtractorInceptionV3("inception", ["2048"], str(path))
    expected = network(levels(images).to(torch.uint8))[0]
    found = extractor(images)
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 100 * (found - expected).abs().max()
    assert extractor.conditions["inception_weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    torch.save({**state, "fc.bias": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"--inception_weights: .*weights\.pth does not fit .*fc\.bias.*6726825d\.pth"):
        InceptionExtractor(path, "clean", "cpu")


def test_clean_resizing_is_pillows_bicubic_filter_of_each_channel() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 700, 500)) * 255).float()
    resized = resize_clean(image)
    expected = Image.fromarray(image[2].numpy()).resize((299, 299), Image.Resampling.BICUBIC)
    assert resized.shape == (3, 299, 299)
    assert np.array_equal(resized[2], np.asarray(expected).clip(0, 255))
    assert (resized != resized.round()).any()  # not brought back to 8 bits


def test_clean_resizing_averages_where_the_original_one_skips_pixels() -> None:
    pytest.importorskip("torch_fidelity")
    stripes = torch.zeros(3, 8, 299 * 4)
    stripes[:, :, ::4] = 255  # one column in four
    assert resize_original(stripes).eq(255).all()
    assert resize_clean(stripes).mean().item() == pytest.approx(255 / 4, rel=0.02)


# --- LPIPS


def test_lpips_is_that_of_the_package_with_these_weights(tmp_path: Path) -> None:
    lpips = pytest.importorskip("lpips")
    sizes = {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)}
    alexnet = nn.Sequential(*(nn.Conv2d(*sizes[index]) if index in sizes else nn.Identity() for index in range(13)))
    path = tmp_path / "alexnet.pth"
    torch.save({f"features.{key}": value for key, value in alexnet.state_dict().items()}, path)
    before = torch.random.get_rng_state()
    distance = LPIPSDistance("alex", path, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for key, parameter in package.net.named_parameters():
        parameter.data = alexnet.state_dict()[key.partition(".")[2]]
    images, truths = pictures(4, 40, 33).chunk(2)
    found = distance(images, truths)
    torch.testing.assert_close(found, package(images, truths).flatten())
    assert (found > 1e-4).all()
    assert distance(images, images).tolist() == [0, 0]
    with pytest.raises(UserError, match=r"--lpips_weights: .*alexnet\.pth has no .*vgg16-397923af.*--lpips_net vgg"):
        LPIPSDistance("vgg", path, "cpu")


# --- weights


def test_weights_are_downloaded_once_and_what_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", mock.Mock(side_effect=OSError("unreachable")))
    with pytest.raises(UserError, match=r"network-0123abcd\.pth cannot be downloaded \(unreachable\).*--x FILE"):
        weights_file(None, URL, "--x")
    kept = tmp_path / "hub" / "checkpoints" / "network-0123abcd.pth"
    kept.write_bytes(b"weights")
    assert weights_file(None, URL, "--x") == kept
    with pytest.raises(UserError, match=r"--x: there is no file .*none\.pth; give the path of network-0123abcd\.pth"):
        weights_file(tmp_path / "none.pth", URL, "--x")


def test_a_file_of_something_else_is_told_and_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "w.pth"
    for content, words in (([1], "holds a list"), ({1: torch.ones(1)}, "is no state dict"), ({"a": 3}, "a int as 'a'"),
                           ({"bomb": Bomb()}, "no readable state dict")):
        torch.save(content, path)
        with pytest.raises(UserError, match=words):
            read_state(path, "--x")
    assert not (tmp_path / "ran").exists()
    torch.save({"a": torch.ones(1)}, path)
    assert read_state(path, "--x") == {"a": torch.ones(1)}


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, build in (("torch_fidelity", lambda: InceptionExtractor(None, "clean", "cpu")),
                        ("lpips", lambda: LPIPSDistance("alex", None, "cpu"))):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=f"pip install {name.replace('_', '-')}"):
            build()
