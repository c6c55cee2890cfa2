"""Perceptual and style losses."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch import Tensor

from models.losses.perceptual import PERCEPTUAL_LAYERS, STYLE_LAYERS, gram_matrix, perceptual_loss, style_loss
from models.networks import VGG16Features


def random_features(seed: int, sides: tuple[int, int] = (6, 5)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, channels, *sides, generator=generator) for channels in (3, 4)]


def naive_gram(features: Tensor) -> Tensor:
    channels, height, width = features.shape
    gram = torch.zeros(channels, channels)
    for i in range(channels):
        for j in range(channels):
            gram[i, j] = (features[i] * features[j]).sum() / (channels * height * width)
    return gram


def test_style_loss_sums_over_layers_the_mean_distance_of_naive_gram_matrices() -> None:
    source, target = random_features(0), random_features(1, sides=(3, 8))
    distances = [
        (naive_gram(a[b]) - naive_gram(t[b])).abs().mean() / 2  # of two images
        for a, t in zip(source, target, strict=True) for b in range(2)
    ]
    torch.testing.assert_close(style_loss(source, target), torch.stack(distances).sum())


def test_perceptual_loss_by_hand() -> None:
    source = [torch.zeros(1, 2, 2, 2), torch.zeros(1, 8, 1, 1)]
    target = [torch.full((1, 2, 2, 2), 3.0), torch.ones(1, 8, 1, 1)]
    assert perceptual_loss(source, target).item() == pytest.approx(3 + 1)


def test_no_layers_and_unequal_layers_are_refused() -> None:
    for loss in (perceptual_loss, style_loss):
        with pytest.raises(ValueError, match="2 and 1 layers"):
            loss(random_features(0), random_features(0)[:1])
        with pytest.raises(ValueError, match="0 and 0 layers"):
            loss([], [])


def test_maps_of_another_shape_are_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 6, 5\) and \(2, 3, 1, 1\)"):
        perceptual_loss(random_features(0), random_features(0, sides=(1, 1)))


def test_gram_matrix_of_large_features_does_not_overflow_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.float16):
        gram = gram_matrix(torch.full((1, 2, 32, 32), 200.0, dtype=torch.float16))
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 20000.0))


def test_features_in_float64_are_compared_in_float64() -> None:
    source, target = ([f.double().requires_grad_() for f in random_features(seed)] for seed in (0, 1))
    assert gram_matrix(source[0]).dtype == torch.float64
    assert style_loss(source, target).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda *features: style_loss(features, target), source)


def test_bundled_weights_have_the_default_layers_and_tell_photographs_apart() -> None:
    vgg = VGG16Features((*PERCEPTUAL_LAYERS, *STYLE_LAYERS))
    cat, cup = (torch.from_numpy(image[:96, :120].copy()).permute(2, 0, 1)[None] / 127.5 - 1
                for image in (data.chelsea(), data.coffee()))
    brighter = (cat + 0.02).clamp(-1, 1)
    features, near, far = vgg(cat), vgg(brighter), vgg(cup)
    split = len(PERCEPTUAL_LAYERS)
    assert 0 < perceptual_loss(features[:split], near[:split]) < 0.1 * perceptual_loss(features[:split], far[:split])
    assert 0 < style_loss(features[split:], near[split:]) < 0.1 * style_loss(features[split:], far[split:])
