"""Error maps of structure, against the losses and by their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metrics import error_maps
from metrics.error_maps import cosine_error, perceptual_error, pixel_error, similarity_error, similarity_map
from models.losses.perceptual import perceptual_loss
from spatial_correlative import self_similarity, structure_cosine, structure_distance


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FEATURES = noise(2, 5, 6, 7), noise(2, 5, 6, 7, seed=1)


def test_pixels_differ_between_0_and_1() -> None:
    black, white = -torch.ones(1, 3, 4, 5), torch.ones(1, 3, 4, 5)
    assert pixel_error(black, white).shape == (1, 4, 5)
    assert (pixel_error(black, white) == 1).all()
    assert (pixel_error(black, black) == 0).all()
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    torch.testing.assert_close(pixel_error(black, red), torch.full((1, 4, 5), 1 / 3))


def test_the_mean_of_the_perceptual_map_is_the_perceptual_loss() -> None:
    source, candidate = FEATURES
    torch.testing.assert_close(perceptual_error(source, candidate).mean(), perceptual_loss([source], [candidate]))


def test_the_cosine_looks_at_one_position_and_not_at_the_length_of_its_features() -> None:
    source, candidate = FEATURES
    changed = candidate.clone()
    changed[:, :, 2, 3] = 4 * source[:, :, 2, 3]
    error, other = cosine_error(source, candidate), cosine_error(source, changed)
    assert other[:, 2, 3].abs().max() < 1e-12
    assert (other != error).sum() == 2  # that position, in both images


@pytest.mark.parametrize("normalize", [False, True])
def test_the_mean_of_the_similarity_map_is_the_structure_distance(normalize: bool) -> None:
    source, candidate = FEATURES
    error = similarity_error(source, candidate, patch_size=64, normalize=normalize)
    assert error.shape == (2, 6, 7)
    maps = [self_similarity(f, patch_size=64, normalize=normalize) for f in FEATURES]
    of_loss = error if normalize else torch.where(error < 1, error.square() / 2, error - 0.5)  # smooth L1
    torch.testing.assert_close(of_loss.mean(), structure_distance(*maps, normalize=normalize))
    own = similarity_error(source, source, patch_size=64, normalize=normalize)
    assert own.abs().max() < 1e-12


@pytest.mark.parametrize("whole_rows", [False, True])
def test_windows_and_portions_of_queries_give_each_position_its_own_row(
    monkeypatch: pytest.MonkeyPatch, whole_rows: bool
) -> None:
    monkeypatch.setattr(error_maps, "QUERIES", 5)
    error = similarity_error(*FEATURES, patch_size=3, whole_rows=whole_rows)
    for query in range(42):
        maps = [self_similarity(f, torch.tensor([query]), patch_size=3) for f in FEATURES]
        assert maps[0].shape == (2, 1, 9)
        cosine = torch.cosine_similarity(*maps, dim=2) if whole_rows else structure_cosine(*maps)
        expected = 1 - cosine[:, 0]
        torch.testing.assert_close(error[:, query // 7, query % 7], expected)


def test_the_cosine_of_maps_ignores_the_weakest_keys() -> None:
    source, target = noise(1, 1, 12), noise(1, 1, 12, seed=1)
    changed = source.clone()
    changed[0, 0, target.argmin()] += 5
    assert structure_cosine(source, target) == structure_cosine(changed, target)


def test_a_points_similarity_is_its_row_where_its_window_reaches() -> None:
    features = FEATURES[0]
    everywhere = similarity_map(features, 1, 6, patch_size=64, normalize=True)
    rows = self_similarity(features, patch_size=64, normalize=True)
    torch.testing.assert_close(everywhere, rows[:, 13].view(2, 6, 7))
    torch.testing.assert_close(everywhere[:, 1, 6], torch.ones(2, dtype=torch.float64))
    window = similarity_map(features, 1, 6, patch_size=3, normalize=True)
    assert window.isfinite().nonzero().tolist() == [[b, y, x] for b in (0, 1) for y in (0, 1, 2) for x in (4, 5, 6)]
    torch.testing.assert_close(window[:, :3, 4:], everywhere[:, :3, 4:])


@pytest.mark.parametrize("error", [pixel_error, perceptual_error, cosine_error])
def test_different_shapes_are_refused(error: object) -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        error(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 1))  # type: ignore[operator]
