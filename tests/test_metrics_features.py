"""Features of files: each image at its own size, in order, whatever the batches."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.feature_extractors import VGGFeatures, weights_sha256
from evaluation.pairing import read_image
from models.networks.vgg import BUNDLED, VGG16Features
from util.errors import UserError

LAYER = "relu2_1"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Seven different images of three sizes, not sorted by size."""
    random = np.random.default_rng(0)
    sizes = [(24, 16), (24, 16), (16, 24), (24, 16), (24, 16), (24, 16), (18, 18)]
    paths = [tmp_path / f"{index}.png" for index in range(len(sizes))]
    for path, (height, width) in zip(paths, sizes, strict=True):
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_features_are_the_spatial_means_of_each_images_own_map(files: list[Path], batch_size: int):
    network = VGG16Features([LAYER], "random")
    expected = [network(read_image(path)[None])[0].mean(dim=(0, 2, 3)) for path in files]
    features = VGGFeatures(LAYER, "random", batch_size=batch_size)(files)
    assert features.shape == (7, 128)
    assert not features.requires_grad
    torch.testing.assert_close(features, torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert (features[0] - features[1]).abs().max() > 1e-2  # different images are told apart


def test_bundled_weights_are_the_default(files: list[Path]):
    features = VGGFeatures(LAYER)(files[:1])
    torch.testing.assert_close(features, VGGFeatures(LAYER, str(BUNDLED))(files[:1]))
    assert not torch.allclose(features, VGGFeatures(LAYER, "random")(files[:1]))


def test_an_image_smaller_than_one_feature_is_named(tmp_path: Path):
    Image.new("RGB", (20, 3)).save(tmp_path / "flat.png")
    with pytest.raises(UserError, match=r"flat\.png.*4x4"):
        VGGFeatures("relu3_1", "random")([tmp_path / "flat.png"])


def test_hash_is_that_of_the_weights_file(tmp_path: Path):
    assert weights_sha256("bundled") == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert weights_sha256(str(tmp_path / "w.pth")) == hashlib.sha256(b"weights").hexdigest()
    assert weights_sha256("random") is None
