"""The Fréchet distance against scipy's matrix square root, closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from metrics.frechet import frechet_distance, frechet_statistic


def draw(count: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Correlated features [count, width] with a spectrum that falls off, as networks' features have."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    spectrum = torch.linspace(1, 0.1, width, dtype=torch.float64)
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return scale * noise * spectrum @ mix + shift


def rotation(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]


@pytest.mark.parametrize("shape", [(1, 4), (8,), (0, 4)])
def test_a_set_without_a_covariance_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="N >= 2"):
        frechet_distance(torch.zeros(shape), torch.zeros(5, 4))


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(torch.tensor([[0.0, 1.0], [float("nan"), 2.0]]), torch.zeros(2, 2))


@pytest.mark.parametrize(("count", "width"), [(400, 16), (300, 64)])
def test_distance_is_that_of_torch_fidelity(count: int, width: int):
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = draw(count, width, seed=1), draw(count + 20, width, seed=2, scale=1.4, shift=0.1)
    statistics = [fid.fid_features_to_statistics(features) for features in (a, b)]
    expected = fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_a_row_that_counts_twice_is_a_row_repeated():
    a, b = draw(20, 6, seed=1), draw(9, 6, seed=2)
    counts = torch.tensor([0, 2, 1, 3, 0, 1, 1, 0, 1])
    expected = frechet_distance(a, b.repeat_interleave(counts, dim=0))
    assert frechet_statistic(a, b)(torch.ones(20), counts).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distance_equals_the_formula_with_scipys_matrix_square_root(seed: int):
    a, b = draw(400, 16, seed), draw(300, 16, seed + 10, scale=1.7, shift=0.2)
    cov_a, cov_b = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = (a.mean(0) - b.mean(0)).square().sum() + np.trace(cov_a + cov_b) - 2 * np.trace(root).real
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-10)


def test_distance_of_diagonal_gaussians_has_its_closed_form():
    mean_a, mean_b = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])
    spread_a, spread_b = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 4.0])
    corners = 2.5**0.5 * torch.cat([torch.eye(3), -torch.eye(3)]).double()  # mean 0, covariance 1
    result = frechet_distance(mean_a + spread_a * corners, mean_b + spread_b * corners)
    assert result == pytest.approx(1 + 9 + 4 + 2.25 + 16, rel=1e-12)


@pytest.mark.parametrize("count", [400, 20], ids=["full rank", "fewer images than features"])
def test_distance_of_a_set_to_itself_is_zero(count: int):
    features = draw(count, 64, seed=3)
    assert frechet_distance(features, features) <= 1e-10 * features.var(dim=0).sum()


def test_distance_is_exact_when_there_are_fewer_images_than_features():
    """Features in a subspace have the distance that they have in that subspace's own coordinates."""
    a, b = draw(200, 12, seed=4), draw(150, 12, seed=5, shift=0.3)
    embed = rotation(512)[:12]
    assert frechet_distance(a @ embed, b @ embed) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_distance_of_few_images_equals_the_nuclear_norm_of_the_centred_features():
    """At the size of the shipped test set: 160 images, 512 features, means apart."""
    a, b = draw(160, 512, seed=6), draw(160, 512, seed=7, shift=0.05)
    centred_a, centred_b = ((x - x.mean(0)) / 159**0.5 for x in (a, b))
    overlap = torch.linalg.svdvals(centred_a @ centred_b.T).sum()
    spread = centred_a.square().sum() + centred_b.square().sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + spread - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-8)


def test_spreads_in_orthogonal_subspaces_do_not_overlap_at_all():
    """Rounding noise in the zero eigenvalues, whose square roots are a million times larger, must not count."""
    a, b = draw(200, 100, seed=12), draw(150, 100, seed=13)
    basis = rotation(256)
    expected = (a - a.mean(0)).square().sum() / 199 + (b - b.mean(0)).square().sum() / 149
    expected += a.mean(0).square().sum() + b.mean(0).square().sum()
    assert frechet_distance(a @ basis[:100], b @ basis[100:200]) == pytest.approx(float(expected), rel=1e-12)


def test_distance_is_symmetric_and_follows_rotation_shift_and_scale():
    a, b = draw(40, 48, seed=8), draw(60, 48, seed=9, scale=0.6)
    reference = frechet_distance(a, b)
    assert reference > 0.1
    assert frechet_distance(b, a) == pytest.approx(reference, rel=1e-9)
    assert frechet_distance(a @ rotation(48), b @ rotation(48)) == pytest.approx(reference, rel=1e-9)
    assert frechet_distance(a + 5, b + 5) == pytest.approx(reference, rel=1e-9)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * reference, rel=1e-9)


def test_a_shift_of_one_set_adds_its_squared_length():
    a, b = draw(40, 48, seed=10), draw(60, 48, seed=11)
    shift = torch.zeros(48, dtype=torch.float64)
    shift[5] = 2.0
    moved = frechet_distance(a, b - b.mean(0) + a.mean(0) + shift)
    assert moved - frechet_distance(a, b - b.mean(0) + a.mean(0)) == pytest.approx(4.0, rel=1e-9)


def test_sets_without_any_spread_differ_by_their_means():
    assert frechet_distance(torch.zeros(3, 4), torch.ones(5, 4)) == pytest.approx(4.0)
