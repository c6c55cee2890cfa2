"""Kernel distance, precision, recall, density, coverage and intervals, against the reference packages and by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metrics.bootstrap import Statistic, bootstrap_mean, bootstrap_sets, draw_counts, interval, ones
from metrics.frechet import frechet_statistic
from metrics.kernel import kernel_distance, kernel_statistic
from metrics.manifold import manifold_scores, manifold_statistic

ANYTHING = (-1e9, 1e9)


def draw(count: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * noise + shift


def test_kernel_distance_is_that_of_torch_fidelity() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = draw(50, 12, seed=0), draw(50, 12, seed=1, scale=1.3, shift=0.2)
    expected = kid.kid_features_to_metric(a, b, kid_subsets=1, kid_subset_size=50, verbose=False)
    assert kernel_distance(a, b) == pytest.approx(expected[kid.KEY_METRIC_KID_MEAN], rel=1e-9)


def test_kernel_distance_is_what_means_over_subsets_scatter_around() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = draw(60, 12, seed=0), draw(90, 12, seed=1, scale=1.3, shift=0.2)
    of_subsets = kid.kid_features_to_metric(a, b, kid_subsets=400, kid_subset_size=30, verbose=False)
    error = of_subsets[kid.KEY_METRIC_KID_STD] / 400**0.5
    assert abs(kernel_distance(a, b) - of_subsets[kid.KEY_METRIC_KID_MEAN]) < 4 * error


def test_kernel_distance_is_0_on_average_between_sets_of_one_distribution() -> None:
    distances = torch.tensor([kernel_distance(draw(10, 4, seed=seed), draw(8, 4, seed=1000 + seed))
                              for seed in range(300)])
    assert distances.mean().abs() < 4 * distances.std() / 300**0.5
    assert (distances < 0).any()


@pytest.mark.parametrize(("fakes", "reals"), [(30, 40), (64, 25)])
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.5])
def test_precision_recall_density_and_coverage_are_those_of_prdc(fakes: int, reals: int, scale: float) -> None:
    prdc = pytest.importorskip("prdc")
    fake, real = draw(fakes, 6, seed=2, scale=scale, shift=0.3), draw(reals, 6, seed=3)
    expected = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    assert manifold_scores(fake, real)._asdict() == pytest.approx(expected, rel=1e-9)
    assert all(value > 0 for value in expected.values())


def test_a_row_at_the_edge_of_a_ball_is_outside() -> None:
    line = torch.arange(8.0)[:, None]  # balls of one neighbour reach 1 to each side
    assert manifold_scores(line + 1, line, neighbours=1) == (7 / 8, 7 / 8, 7 / 8, 7 / 8)
    assert manifold_scores(line + 8, line, neighbours=1) == (0, 0, 0, 0)


@pytest.mark.parametrize(("of", "few"), [(kernel_statistic, 1), (manifold_statistic, 5), (frechet_statistic, 1)])
def test_too_few_rows_are_refused(of: Callable[[Tensor, Tensor], Statistic], few: int) -> None:
    with pytest.raises(ValueError, match=str(few)):
        of(torch.zeros(few, 4), torch.zeros(9, 4))


def test_draws_are_with_replacement_of_as_many_and_never_of_one_alone() -> None:
    counts = draw_counts(3, 500, seed=0)
    assert counts.shape == (500, 3)
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
    value, (low, high) = bootstrap_mean(values, 1000, 0, ANYTHING)
    assert value == pytest.approx(values.mean().item())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std().item() / 20, rel=0.15)
    assert bootstrap_mean(values[:1], 1000, 0, ANYTHING).interval is None


@pytest.mark.parametrize("of", [frechet_statistic, kernel_statistic, manifold_statistic], ids=lambda of: of.__name__)
def test_intervals_hold_the_expected_score_most_times_and_are_of_use(
    of: Callable[[Tensor, Tensor], Statistic]
) -> None:
    trials, size = 40, (40, 50)
    values, lows, highs = [], [], []
    for trial in range(trials):
        statistic = of(draw(size[0], 4, seed=trial, scale=1.3, shift=0.3), draw(size[1], 4, seed=1000 + trial))
        values.append(statistic(torch.ones(size[0], dtype=torch.int64), torch.ones(size[1], dtype=torch.int64)))
        scores = bootstrap_sets(statistic, size, 40, trial, [ANYTHING] * len(values[0]))
        assert [score.value for score in scores] == values[-1].tolist()
        lows.append(torch.tensor([score.interval[0] for score in scores if score.interval]))
        highs.append(torch.tensor([score.interval[1] for score in scores if score.interval]))
    expected = torch.stack(values).mean(dim=0)
    held = ((torch.stack(lows) <= expected) & (expected <= torch.stack(highs))).double().mean(dim=0)
    assert (held > 0.8).all(), held
    widths = (torch.stack(highs) - torch.stack(lows)).mean(dim=0) / (4 * torch.stack(values).std(dim=0))
    assert ((widths > 0.6) & (widths < 2.5)).all(), widths


def test_ones_count_each_row_once() -> None:
    assert ones(torch.zeros(3, 2)).tolist() == [1, 1, 1]
