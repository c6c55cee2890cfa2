"""Maps of structure errors, and what they promise about folders of real images."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from cli import ROOT
from torch import Tensor

from evaluation.structure_measures import Comparison, Row
from evaluation.structure_pairs import derangement, ratio_interval, score_pairs
from metrics import error_maps as structure
from metrics.error_maps import cosine_error, perceptual_error, pixel_error, similarity_error, similarity_map
from models.losses.perceptual import perceptual_loss
from models.losses.spatial_correlative import self_similarity, structure_cosine, structure_distance


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
    monkeypatch.setattr(structure, "QUERIES", 5)
    error = similarity_error(*FEATURES, patch_size=3, whole_rows=whole_rows)
    for query in range(42):
        maps = [self_similarity(f, torch.tensor([query]), patch_size=3) for f in FEATURES]
        assert maps[0].shape == (2, 1, 9)
        expected = 1 - structure_cosine(*maps, whole_rows=whole_rows)[:, 0]
        torch.testing.assert_close(error[:, query // 7, query % 7], expected)


def test_whole_rows_are_compared_at_all_keys() -> None:
    source, target = noise(1, 1, 12), noise(1, 1, 12, seed=1)
    weakest = target.argmin()
    changed = source.clone()
    changed[0, 0, weakest] += 5
    assert structure_cosine(source, target) == structure_cosine(changed, target)
    assert structure_cosine(source, target, whole_rows=True) != structure_cosine(changed, target, whole_rows=True)
    expected = torch.nn.functional.cosine_similarity(source, target, dim=-1)
    torch.testing.assert_close(structure_cosine(source, target, whole_rows=True), expected)


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


@pytest.mark.parametrize("count", [2, 3, 17])
def test_everyone_gets_another_ones_image_and_each_is_used_once(count: int) -> None:
    others = derangement(count, seed=3)
    assert sorted(others) == list(range(count))
    assert all(index != other for index, other in enumerate(others))
    assert others == derangement(count, seed=3)


def test_the_interval_holds_the_ratio_and_shrinks_with_the_number_of_pairs() -> None:
    aligned, unaligned = noise(400).abs() + 1, noise(400, seed=1).abs() + 3
    few, many = ratio_interval(aligned[:20], unaligned[:20]), ratio_interval(aligned, unaligned)
    assert many[0] < unaligned.mean() / aligned.mean() < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 2
    assert ratio_interval(aligned, 2 * aligned) == pytest.approx((2, 2))


def test_self_similarity_tells_structure_from_appearance_better_than_the_other_measures() -> None:
    """The paper's claim on drawings and their coloured versions, at 16 pairs: the ratio grows in this order."""
    comparison = Comparison(["relu3_1", "relu4_1"])
    folder = ROOT / "datasets" / "lineart2color"
    errors = score_pairs(comparison, folder / "testA", folder / "testB", limit=16)["errors"]
    for layer in comparison.layers:
        rows = [Row("pixel", ""), *(Row(name, layer) for name in ("perceptual", "patchnce", "fsesim"))]
        ratios = [errors[row.key]["ratio"] for row in rows]
        assert all(1.2 * less < more for less, more in itertools.pairwise(ratios)), (layer, ratios)
        assert errors[f"fsesim_norm_{layer}"]["ratio"] > 1.2 * errors[f"patchnce_{layer}"]["ratio"]


@pytest.mark.slow
def test_the_ratios_of_64_pairs_are_those_of_the_documentation() -> None:
    folder = ROOT / "datasets" / "lineart2color"
    comparison = Comparison(["relu3_1", "relu4_1"], whole_rows=True)
    errors = score_pairs(comparison, folder / "testA", folder / "testB", limit=64)["errors"]
    ratios = {key: round(value["ratio"], 1) for key, value in errors.items()}
    assert ratios == pytest.approx({
        "pixel": 2.8, "perceptual_relu3_1": 4.6, "perceptual_relu4_1": 3.7, "patchnce_relu3_1": 9.1,
        "patchnce_relu4_1": 7.8, "fsesim_relu3_1": 14.5, "fsesim_relu4_1": 14.2, "fsesim_norm_relu3_1": 16.7,
        "fsesim_norm_relu4_1": 15.4}, abs=0.11)


def test_pairs_that_do_not_differ_have_no_ratio(tmp_path: Path) -> None:
    folder = ROOT / "datasets" / "lineart2color" / "testA"
    comparison = Comparison(["relu1_1"], weights="random", measures=["pixel"])
    same = score_pairs(comparison, folder, folder, limit=3)["errors"]["pixel"]
    assert same["aligned"] == 0
    assert same["unaligned"] > 0.01
    assert same["ratio"] is None
    assert math.isfinite(same["separation"])
