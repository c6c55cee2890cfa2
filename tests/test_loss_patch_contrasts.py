"""MoNCE, hDCE, SRC and attention's queries against loops over single patches in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from models.losses.patch_contrasts import hard_negative_contrast, monce, semantic_relation_loss, transport_plan
from models.losses.patch_nce import PatchNCELoss, attend, attention_rows, patch_nce

Rows = list[list[float]]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(rows: Rows) -> Rows:
    return [[value / math.hypot(*row) for value in row] for row in rows]


def dot(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def softmax(values: dict[int, float]) -> dict[int, float]:
    total = sum(math.exp(value) for value in values.values())
    return {key: math.exp(value) / total for key, value in values.items()}


def plan(w: Rows, z: Rows, epsilon: float) -> Rows:
    """Run Sinkhorn's algorithm: scale rows, then columns, until both sum to 1."""
    count = len(w)
    of = [[0.0 if i == j else math.exp(dot(w[i], z[j]) / epsilon) for j in range(count)] for i in range(count)]
    for _ in range(2000):
        of = [[value / sum(row) for value in row] for row in of]
        sums = [sum(row[j] for row in of) for j in range(count)]
        of = [[value / sums[j] for j, value in enumerate(row)] for row in of]
    return of


def looped_monce(w: Rows, z: Rows) -> float:
    count, shares, total = len(w), plan(w, z, 0.5), 0.0
    for i in range(count):
        positive = math.exp(dot(w[i], z[i]) / 0.2)
        negatives = sum(shares[i][j] * math.exp(dot(w[i], z[j]) / 0.2) for j in range(count) if j != i)
        total -= math.log(positive / (positive + (count - 1) * negatives))
    return total / count


def looped_hdce(w: Rows, z: Rows) -> float:
    count, total = len(w), 0.0
    for i in range(count):
        shares = softmax({j: 3 * dot(z[i], z[j]) for j in range(count) if j != i})
        mean = sum(share * math.exp(dot(w[i], z[j]) / 0.2) for j, share in shares.items())
        total -= math.log(math.exp(dot(w[i], z[i]) / 0.2) / ((count - 1) * mean))
    return total / count


def looped_src(w: Rows, z: Rows) -> float:
    count, total = len(w), 0.0
    for i in range(count):
        p, q = (softmax({j: dot(of[i], of[j]) for j in range(count)}) for of in (z, w))
        for j in range(count):
            middle = (p[j] + q[j]) / 2
            total += (p[j] * math.log(p[j] / middle) + q[j] * math.log(q[j] / middle)) / 2
    return total


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Rows, Rows], float]]] = {
    "MoNCE": (partial(monce, temperature=0.2, epsilon=0.5), looped_monce),
    "hDCE": (partial(hard_negative_contrast, temperature=0.2, gamma=3.0), looped_hdce),
    "SRC": (semantic_relation_loss, looped_src),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("batch", "count", "channels"), [(1, 5, 4), (3, 7, 2), (2, 2, 3)])
def test_a_loss_equals_the_loops_over_patches(name: str, batch: int, count: int, channels: int) -> None:
    queries, keys = noise(batch, count, channels), noise(batch, count, channels, seed=1)
    loss, looped = LOSSES[name]
    expected = [looped(unit(w), unit(z)) for w, z in zip(queries.tolist(), keys.tolist(), strict=True)]
    assert loss(queries, keys).item() == pytest.approx(sum(expected) / batch, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_reach_the_queries_alone_and_half_precision_changes_nothing(name: str) -> None:
    queries, keys = noise(2, 5, 3).requires_grad_(), noise(2, 5, 3, seed=1).requires_grad_()
    loss, _ = LOSSES[name]
    loss(queries, keys).backward()
    assert keys.grad is None
    if name != "MoNCE":  # whose weights depend on the queries, and are constants
        assert torch.autograd.gradcheck(lambda rows: loss(rows, keys), queries)
    single = [rows.detach().float() for rows in (queries, keys)]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(*single), LOSSES[name][0](*single).float())
        assert loss(*single).dtype == torch.float32
    torch.testing.assert_close(loss(*single).double(), loss(queries, keys), rtol=1e-4, atol=1e-6)


def test_the_gradient_of_monce_is_that_of_constant_weights() -> None:
    queries, keys = noise(1, 5, 3).requires_grad_(), noise(1, 5, 3, seed=1)
    monce(queries, keys, temperature=0.2, epsilon=0.5).backward()
    again = queries.detach().clone().requires_grad_()
    similarities = torch.nn.functional.normalize(again[0], dim=1) @ torch.nn.functional.normalize(keys[0], dim=1).T
    shares = torch.tensor(plan(unit(queries[0].tolist()), unit(keys[0].tolist()), 0.5), dtype=torch.float64)
    scores = (similarities / 0.2).exp()
    expected = -(scores.diagonal() / (scores.diagonal() + 4 * (shares * scores).sum(dim=1))).log().mean()
    expected.backward()
    torch.testing.assert_close(queries.grad, again.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0.02, 1.0])
def test_a_plan_sums_to_1_in_rows_and_columns_in_single_precision(epsilon: float) -> None:
    similarities = torch.nn.functional.normalize(noise(2, 64, 3, dtype=torch.float32), dim=2)
    of = transport_plan(similarities @ similarities.mT, epsilon)
    assert of.isfinite().all()
    assert (of.diagonal(dim1=1, dim2=2) == 0).all()
    torch.testing.assert_close(of.sum(dim=1), torch.ones(2, 64))
    torch.testing.assert_close(of.sum(dim=2), torch.ones(2, 64), rtol=0.05, atol=0)


def test_alike_negatives_weigh_alike_and_give_the_plain_losses() -> None:
    queries, keys = noise(1, 6, 3), noise(1, 6, 3, seed=1)
    assert monce(queries, keys, epsilon=1e6).item() == pytest.approx(patch_nce(queries, keys).item(), rel=1e-4)
    w, z = (torch.nn.functional.normalize(rows[0], dim=1) for rows in (queries, keys))
    products = w @ z.T / 0.07
    others = products.masked_fill(torch.eye(6, dtype=torch.bool), -math.inf)
    decoupled = (others.logsumexp(1) - products.diagonal()).mean()
    assert hard_negative_contrast(queries, keys, gamma=0).item() == pytest.approx(decoupled.item(), rel=1e-9)


# --- queries by attention -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [3, 1024])
def test_the_places_of_lowest_entropy_attend(chunk: int) -> None:
    features = noise(2, 3, 2, 4)
    attention = attention_rows(features, 3, chunk=chunk)
    for image, rows in zip(features, attention, strict=True):
        places = image.flatten(1).T.tolist()
        all_rows = [softmax({j: dot(place, other) for j, other in enumerate(places)}) for place in places]
        entropies = [-sum(share * math.log(share) for share in row.values()) for row in all_rows]
        for row, place in zip(rows.tolist(), sorted(range(8), key=entropies.__getitem__), strict=False):
            assert row == pytest.approx(list(all_rows[place].values()), rel=1e-9)
    for routed, rows, image in zip(attend(attention, features), attention, features, strict=True):
        expected = [[sum(share * image[channel, j // 4, j % 4].item() for j, share in enumerate(row))
                     for channel in range(3)] for row in rows.tolist()]
        torch.testing.assert_close(routed, torch.tensor(expected, dtype=torch.float64))


def test_attention_chooses_in_the_smallest_maps_only() -> None:
    torch.manual_seed(0)
    loss = PatchNCELoss([3, 5, 2], width=4, patch_count=3, by_entropy=True).double()
    target, source = ([noise(2, 3, 4, 6, seed=seed), noise(2, 5, 2, 3, seed=seed), noise(2, 2, 2, 3, seed=seed)]
                      for seed in (0, 1))
    places = torch.tensor([7, 0, 21])
    rows = loss.rows(target, source, [places] * 3)
    for number, (queries, keys) in enumerate(rows):
        for found, features in ((queries, target[number]), (keys, source[number])):
            expected = features.flatten(2).mT[:, places] if number == 0 else (
                attention_rows(source[number], 3) @ features.flatten(2).mT)
            torch.testing.assert_close(found, loss.heads[number](expected))
    assert not rows[2][1].requires_grad
