"""PatchNCE against loops over single patches in double precision, and what the mathematics promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.losses.patch_nce import PatchNCELoss, patch_nce, rows_at


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def looped(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Compute the loss number by number, from equation 4."""
    total = 0.0
    for image_q, image_k in zip(queries.tolist(), keys.tolist(), strict=True):
        for i, query in enumerate(image_q):
            similarities = []
            for key in image_k:
                product = sum(a * b for a, b in zip(query, key, strict=True))
                similarities.append(product / math.hypot(*query) / math.hypot(*key))
            weights = [math.exp(similarity / temperature) for similarity in similarities]
            total -= math.log(weights[i] / sum(weights))
    return total / len(queries) / queries.shape[1]


@pytest.mark.parametrize(("batch", "count", "channels", "temperature"), [
    (1, 5, 4, 0.07), (3, 7, 2, 0.07), (2, 1, 3, 0.5), (2, 6, 8, 1.0),
])
def test_loss_equals_the_loop_over_patches(batch: int, count: int, channels: int, temperature: float) -> None:
    queries, keys = noise(batch, count, channels), noise(batch, count, channels, seed=1)
    loss = patch_nce(queries, keys, temperature=temperature)
    assert loss.item() == pytest.approx(looped(queries, keys, temperature), rel=1e-10, abs=1e-12)


def test_gradient_is_that_of_the_queries_alone() -> None:
    queries, keys = noise(2, 5, 3).requires_grad_(), noise(2, 5, 3, seed=1).requires_grad_()
    patch_nce(queries, keys).backward()
    assert keys.grad is None
    assert torch.autograd.gradcheck(lambda q: patch_nce(q, keys), queries)


def test_rows_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"queries \[2, 5, 3\] and keys \[2, 4, 3\] differ"):
        patch_nce(noise(2, 5, 3), noise(2, 4, 3))


def test_half_precision_around_the_loss_changes_nothing() -> None:
    queries, keys = (noise(2, 5, 3, seed=seed, dtype=torch.float32) for seed in range(2))
    expected = patch_nce(queries, keys)
    with torch.autocast("cpu", torch.bfloat16):
        loss = patch_nce(queries, keys)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


# --- the module -----------------------------------------------------------------------------------------------------


@pytest.fixture
def loss() -> PatchNCELoss:
    torch.manual_seed(0)
    return PatchNCELoss([3, 5], width=4, patch_count=6).double()


def layers(seed: int) -> list[Tensor]:
    return [noise(2, 3, 4, 5, seed=seed), noise(2, 5, 2, 2, seed=seed + 10)]


def test_positions_are_rows_first() -> None:
    features = noise(2, 3, 4, 5)
    rows = rows_at(features, torch.tensor([0, 7, 19]))
    assert rows.shape == (2, 3, 3)
    for row, (y, x) in enumerate([(0, 0), (1, 2), (3, 4)]):
        assert torch.equal(rows[:, row], features[:, :, y, x])


def test_module_is_the_mean_over_layers_through_their_heads(loss: PatchNCELoss) -> None:
    target, source = layers(0), layers(1)
    positions = [torch.tensor([3, 17, 0]), torch.tensor([2, 1])]
    expected = 0.0
    for (first, _, second), t, s, places in zip(loss.heads, target, source, positions, strict=True):
        rows = []
        for features in (t, s):
            picked = torch.stack([features.flatten(2)[:, :, place] for place in places.tolist()], dim=1)
            hidden = (picked @ first.weight.T + first.bias).clamp(min=0)
            rows.append(hidden @ second.weight.T + second.bias)
        expected += looped(rows[0].detach(), rows[1].detach(), 0.07) / 2
    assert loss(target, source, positions).item() == pytest.approx(expected, rel=1e-9)
