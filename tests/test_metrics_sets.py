"""Scores of two sets of features, against reference packages and by hand; their confidence intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from metrics.bootstrap import (
    Statistic,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_sets,
    draw_counts,
    draw_pairs,
    interval,
    ones,
)
from metrics.frechet import frechet_distance, frechet_statistic
from metrics.kernel import kernel_statistic
from metrics.manifold import MANIFOLD_SCORES, manifold_statistic

ANYTHING = (-1e9, 1e9)


def draw(count: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * noise + shift


def correlated(count: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Return features with a falling spectrum, as networks have them."""
    spectrum = torch.linspace(1, 0.1, width, dtype=torch.float64)
    return scale * draw(count, width, seed) * spectrum @ draw(width, width, seed + 100) / width**0.5 + shift


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(draw(width, width, seed=9))[0]


@pytest.mark.parametrize(("of", "few"), [(kernel_statistic, 1), (manifold_statistic, 5), (frechet_statistic, 1)])
def test_too_few_rows_are_refused(of: Callable[[Tensor, Tensor], Statistic], few: int) -> None:
    with pytest.raises(ValueError, match=str(few)):
        of(torch.zeros(few, 4), torch.zeros(9, 4))


# --- the Fréchet distance


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(torch.tensor([[0.0, 1.0], [float("nan"), 2.0]]), torch.zeros(2, 2))


def test_frechet_distance_equals_the_formula_and_torch_fidelity() -> None:
    a, b = correlated(400, 16, 0), correlated(300, 16, 10, scale=1.7, shift=0.2)
    cov_a, cov_b = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = (a.mean(0) - b.mean(0)).square().sum() + np.trace(cov_a + cov_b) - 2 * np.trace(root).real
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    statistics = [fid.fid_features_to_statistics(features) for features in (a, b)]
    found = fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]
    assert frechet_distance(a, b) == pytest.approx(found, rel=1e-6)


def test_fewer_images_than_features_have_the_distance_of_their_subspace() -> None:
    a, b = correlated(200, 12, seed=4), correlated(150, 12, seed=5, shift=0.3)
    embed = rotation(512)[:12]
    assert frechet_distance(a @ embed, b @ embed) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_spreads_in_orthogonal_subspaces_do_not_overlap() -> None:
    """The square root of a rounding error in an eigenvalue of 0 is a million times larger; it must not count."""
    a, b = correlated(200, 100, seed=12), correlated(150, 100, seed=13)
    basis = rotation(256)
    expected = (a - a.mean(0)).square().sum() / 199 + (b - b.mean(0)).square().sum() / 149
    expected += a.mean(0).square().sum() + b.mean(0).square().sum()
    assert frechet_distance(a @ basis[:100], b @ basis[100:200]) == pytest.approx(float(expected), rel=1e-12)


# --- the kernel distance, precision, recall, density and coverage


def test_kernel_distance_is_that_of_torch_fidelity_and_of_its_subsets_on_average() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = draw(60, 12, seed=0), draw(60, 12, seed=1, scale=1.3, shift=0.2)
    expected = kid.kid_features_to_metric(a, b, kid_subsets=1, kid_subset_size=60, verbose=False)
    distance = kernel_statistic(a, b)(ones(a), ones(b)).item()
    assert distance == pytest.approx(expected[kid.KEY_METRIC_KID_MEAN], rel=1e-9)
    of_subsets = kid.kid_features_to_metric(a, b, kid_subsets=400, kid_subset_size=30, verbose=False)
    error = of_subsets[kid.KEY_METRIC_KID_STD] / 400**0.5
    assert abs(distance - of_subsets[kid.KEY_METRIC_KID_MEAN]) < 4 * error


@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_precision_recall_density_and_coverage_are_those_of_prdc(scale: float) -> None:
    prdc = pytest.importorskip("prdc")
    fake, real = draw(64, 6, seed=2, scale=scale, shift=0.3), draw(25, 6, seed=3)
    expected = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    scores = manifold_statistic(fake, real)(ones(fake), ones(real)).tolist()
    assert dict(zip(MANIFOLD_SCORES, scores, strict=True)) == pytest.approx(expected, rel=1e-9)
    assert all(value > 0 for value in expected.values())


def test_a_row_at_the_edge_of_a_ball_is_outside() -> None:
    line = torch.arange(8.0)[:, None]  # balls of one neighbour reach 1 to each side
    for shift, score in (1, 7 / 8), (8, 0):
        assert manifold_statistic(line + shift, line, 1)(ones(line), ones(line)).tolist() == [score] * 4


# --- intervals


def test_a_row_that_counts_twice_is_a_row_repeated() -> None:
    a, b = draw(20, 6, seed=1), draw(9, 6, seed=2)
    counts = torch.tensor([0, 2, 1, 3, 0, 1, 1, 0, 1])
    expected = frechet_distance(a, b.repeat_interleave(counts, dim=0))
    assert frechet_statistic(a, b)(ones(a), counts).item() == pytest.approx(expected, rel=1e-10)


def test_draws_are_with_replacement_and_never_of_one_member_only() -> None:
    counts = draw_counts(3, 500, seed=0)
    assert counts.sum(dim=1).eq(3).all()
    assert counts.max() == 2
    assert torch.equal(counts[:7], draw_counts(3, 7, seed=0))
    assert not torch.equal(counts, draw_counts(3, 500, seed=1))
    assert counts.double().mean(dim=0) == pytest.approx([1, 1, 1], abs=0.1)


def test_an_interval_is_centred_on_its_score_and_within_the_bounds() -> None:
    replicates = torch.linspace(10, 20, 101, dtype=torch.float64)
    assert interval(3.0, replicates, ANYTHING) == pytest.approx((-1.75, 7.75))
    assert interval(3.0, replicates, (0, 4)) == (0, 4)


def test_the_interval_of_a_mean_is_about_two_standard_errors_to_each_side() -> None:
    values = draw(400, 1, seed=5)[:, 0]
    value, found = bootstrap_mean(values, 1000, 0, ANYTHING)
    assert found is not None
    assert value == pytest.approx(values.mean().item())
    assert (found[1] - found[0]) / 2 == pytest.approx(1.96 * values.std().item() / 20, rel=0.15)
    assert bootstrap_mean(values[:1], 1000, 0, ANYTHING).interval is None
    assert bootstrap_mean(values, 0, 0, ANYTHING).interval is None


def test_the_interval_of_a_ratio_holds_it_and_shrinks_with_the_number_of_pairs() -> None:
    aligned, unaligned = draw(400, 1, 0)[:, 0].abs() + 1, draw(400, 1, 1)[:, 0].abs() + 3
    few, many = (bootstrap_ratio(unaligned[:count], aligned[:count], 2000, 0) for count in (20, 400))
    assert many[0] < unaligned.mean() / aligned.mean() < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 2
    assert bootstrap_ratio(2 * aligned, aligned, 2000, 0) == pytest.approx((2, 2))


@pytest.mark.parametrize("of", [frechet_statistic, kernel_statistic, manifold_statistic], ids=lambda of: of.__name__)
def test_intervals_hold_the_expected_score_most_times_and_are_of_use(
    of: Callable[[Tensor, Tensor], Statistic]
) -> None:
    trials, sizes = 40, (40, 50)
    values, lows, highs = [], [], []
    for trial in range(trials):
        statistic = of(draw(sizes[0], 4, seed=trial, scale=1.3, shift=0.3), draw(sizes[1], 4, seed=1000 + trial))
        bounds = [ANYTHING] * (4 if of is manifold_statistic else 1)
        scores = bootstrap_sets(statistic, sizes, draw_pairs(sizes, 40, trial), bounds)
        values.append(torch.tensor([score.value for score in scores]))
        lows.append(torch.tensor([score.interval[0] for score in scores if score.interval]))
        highs.append(torch.tensor([score.interval[1] for score in scores if score.interval]))
    expected = torch.stack(values).mean(dim=0)
    held = ((torch.stack(lows) <= expected) & (expected <= torch.stack(highs))).double().mean(dim=0)
    assert (held > 0.8).all(), held
    widths = (torch.stack(highs) - torch.stack(lows)).mean(dim=0) / (4 * torch.stack(values).std(dim=0))
    assert ((widths > 0.6) & (widths < 2.5)).all(), widths
