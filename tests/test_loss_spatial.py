"""The spatially-correlative losses against plain loops in double precision, and what the mathematics promises."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from spatial_correlative import (
    SpatialCorrelativeLoss,
    contrastive_loss,
    sample_positions,
    self_similarity,
    structure_cosine,
    structure_distance,
)
from spatial_correlative import loss as module


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def looped_window(position: int, height: int, width: int, patch: int) -> list[int]:
    if patch >= height or patch >= width:
        return list(range(height * width))
    y, x = divmod(position, width)
    top = min(max(y - patch // 2, 0), height - patch)
    left = min(max(x - patch // 2, 0), width - patch)
    return [(top + i) * width + left + j for i in range(patch) for j in range(patch)]


def looped_similarity(features: Tensor, positions: Tensor, patch: int, normalize: bool) -> Tensor:
    images = []
    for image in features:
        channels, height, width = image.shape
        columns = [image[:, y, x] for y in range(height) for x in range(width)]
        mean = sum(columns) / len(columns)
        columns = [column - mean for column in columns]
        rows = []
        for i in positions.tolist():
            row = []
            for j in looped_window(i, height, width, patch):
                product = sum(a * b for a, b in zip(columns[i].tolist(), columns[j].tolist(), strict=True))
                if normalize:
                    row.append(product / (columns[i].norm().item() * columns[j].norm().item()))
                else:
                    row.append(math.tanh(product / channels / 10))
            rows.append(row)
        images.append(rows)
    return torch.tensor(images, dtype=torch.float64)


def looped_distance(source: Tensor, target: Tensor, mode: str, normalize: bool) -> float:
    def criterion(difference: float) -> float:
        size = abs(difference)
        return size if normalize else (0.5 * size**2 if size < 1 else size - 0.5)

    found = []
    for s, t in zip(source.flatten(0, 1).tolist(), target.flatten(0, 1).tolist(), strict=True):
        quarter = len(t) // 4
        least = sorted(t, reverse=True)[quarter]
        pairs = [(a, b) if b >= least else (0.0, 0.0) for a, b in zip(s, t, strict=True)]
        if mode == "cos":
            product = sum(a * b for a, b in pairs)
            lengths = [math.hypot(*side) for side in zip(*pairs, strict=True)]
            found.append(criterion(1 - product / (lengths[0] * lengths[1])))
        else:
            scale = len(t) / quarter
            found.append(sum(criterion(scale * (a - b)) for a, b in pairs) / len(t))
    return sum(found) / len(found)


def looped_contrast(source: Tensor, positive: Tensor, other: Tensor, temperature: float) -> float:
    losses = []
    for maps in zip(source, positive, other, strict=True):
        s, p, o = ([row / row.norm() for row in rows] for rows in maps)
        for i in range(len(s)):
            logits = [s[i] @ row for row in p] + [s[i] @ row for row in o] + [p[i] @ row for row in o]
            exponentials = [math.exp(logit.item() / temperature) for logit in logits]
            losses.append(-math.log(exponentials[i] / sum(exponentials)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("height", "width"), [(7, 5), (5, 7), (3, 9)])
@pytest.mark.parametrize("patch", [1, 2, 3, 4, 5, 64])
def test_self_similarity_equals_the_loops(height: int, width: int, patch: int) -> None:
    features = 4 * noise(2, 3, height, width, seed=height * width + patch)
    positions = torch.randperm(height * width, generator=torch.Generator().manual_seed(1))[:12]
    keys = height * width if patch >= min(height, width) else patch**2
    for normalize in (False, True):
        actual = self_similarity(features, positions, patch_size=patch, normalize=normalize)
        assert actual.shape == (2, 12, keys)
        expected = looped_similarity(features, positions, patch, normalize)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_neither_a_constant_nor_a_rotation_of_the_channels_nor_with_cosines_a_scale_changes_the_map() -> None:
    features = noise(2, 3, 6, 5)
    rotation, _ = torch.linalg.qr(noise(3, 3, seed=1))
    shifted = features + torch.tensor([100.0, -3.0, 0.5], dtype=torch.float64).view(1, 3, 1, 1)
    rotated = torch.einsum("cd,bdhw->bchw", rotation, features)
    for normalize in (False, True):
        expected = self_similarity(features, patch_size=3, normalize=normalize)
        for changed in (shifted, rotated, *([7.5 * features] if normalize else [])):
            torch.testing.assert_close(self_similarity(changed, patch_size=3, normalize=normalize), expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_uniform_image_has_no_similarity_and_finite_gradients(normalize: bool) -> None:
    flat = torch.full((1, 4, 5, 5), 3.0, requires_grad=True)
    target = noise(1, 4, 5, 5, dtype=torch.float32).requires_grad_()
    maps = [self_similarity(f, patch_size=3, normalize=normalize) for f in (flat, target)]
    assert maps[0].abs().max() == 0
    (structure_distance(*maps, normalize=normalize) + structure_distance(*maps[::-1], normalize=normalize)).backward()
    assert flat.grad.isfinite().all()
    assert target.grad.isfinite().all()


@pytest.mark.parametrize("arguments", [{"features": torch.zeros(3, 4, 4), "patch_size": 2},
                                       {"features": torch.zeros(0, 3, 4, 4), "patch_size": 2},
                                       {"features": torch.zeros(1, 3, 4, 4), "patch_size": 0}])
def test_self_similarity_refuses_wrong_shapes_and_sizes(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        self_similarity(**arguments)


@pytest.mark.parametrize("patch", [1, 3, 64])
@pytest.mark.parametrize("normalize", [False, True])
def test_each_image_may_have_its_own_positions(patch: int, normalize: bool) -> None:
    features = noise(2, 3, 6, 5).requires_grad_()
    positions = torch.tensor([[0, 29, 7], [13, 13, 2]])

    def similarity(images: Tensor, at: Tensor) -> Tensor:
        return self_similarity(images, at, patch_size=patch, normalize=normalize)

    together = similarity(features, positions)
    apart = torch.cat([similarity(image[None], at) for image, at in zip(features, positions, strict=True)])
    torch.testing.assert_close(together, apart)
    gradients = [torch.autograd.grad(maps.sin().sum(), features)[0] for maps in (together, apart)]
    torch.testing.assert_close(*gradients)
    loss = SpatialCorrelativeLoss(patch_size=patch, normalize=normalize)
    layers = [features], [noise(2, 3, 6, 5, seed=1)]
    halves = [loss(*[[f[i:i + 1] for f in layer] for layer in layers], [positions[i]]) for i in range(2)]
    torch.testing.assert_close(loss(*layers, [positions]), sum(halves) / 2)


@pytest.mark.parametrize(("positions", "message"), [
    (torch.zeros(3, 4, dtype=torch.long), r"\[N\] or \[B, N\] with B = 2, not of shape \[3, 4\]"),
    (torch.tensor(4), r"not of shape \[\]"),
    (torch.zeros(4), r"dtype torch.long, not torch.float32"),
])
def test_wrong_positions_are_refused(positions: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        self_similarity(noise(2, 3, 5, 5), positions, patch_size=3)


def test_positions_are_drawn_without_replacement_and_by_the_generator() -> None:
    draws = [sample_positions(9, 7, 20, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert all(draw.dtype == torch.int64 and draw.shape == (20,) for draw in draws)
    assert all(draw.min() >= 0 and draw.max() < 63 and len(draw.unique()) == 20 for draw in draws)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    torch.manual_seed(3)
    first = sample_positions(9, 7, 20)
    torch.manual_seed(3)
    assert torch.equal(first, sample_positions(9, 7, 20))


def test_more_positions_than_the_map_has_means_all_of_them() -> None:
    assert sorted(sample_positions(3, 4, 1000).tolist()) == list(range(12))


@pytest.mark.parametrize("count", [0, -3])
def test_no_positions_is_an_error(count: int) -> None:
    with pytest.raises(ValueError, match=str(count)):
        sample_positions(3, 4, count)


@pytest.mark.parametrize("mode", ["cos", "l1"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("keys", [4, 5, 7, 8, 25])
def test_structure_distance_equals_the_loops(mode: str, normalize: bool, keys: int) -> None:
    source, target = noise(2, 3, keys, seed=1), noise(2, 3, keys, seed=2)
    actual = structure_distance(source, target, mode=mode, normalize=normalize)
    assert actual.shape == ()
    assert actual.item() == pytest.approx(looped_distance(source, target, mode, normalize), rel=1e-9)


@pytest.mark.parametrize("keys", [1, 2, 3])
def test_cosine_distance_with_fewer_than_four_keys_looks_at_the_strongest(keys: int) -> None:
    source, target = noise(2, 3, keys, seed=1), noise(2, 3, keys, seed=2)
    assert structure_distance(source, target, normalize=True).item() == pytest.approx(
        looped_distance(source, target, "cos", True))


def test_ties_at_the_threshold_are_all_kept() -> None:
    target = torch.tensor([[[3.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, -1.0]]])  # the third largest is 1
    source = (10 + torch.arange(8.0)).view(1, 1, 8).requires_grad_()
    structure_distance(source, target, mode="l1", normalize=True).backward()
    assert source.grad.ne(0).flatten().tolist() == [True] * 5 + [False] * 3


def test_only_the_strongest_quarter_and_one_of_the_target_counts() -> None:
    target = torch.arange(16.0).view(1, 1, 16).requires_grad_()
    source = (2.0 + torch.arange(16.0).flip(0)).view(1, 1, 16).requires_grad_()
    structure_distance(source, target, normalize=True).backward()
    for gradient in (source.grad, target.grad):
        assert gradient.ne(0).flatten().tolist() == [False] * 11 + [True] * 5


def test_wrong_maps_and_modes_are_errors_that_say_so() -> None:
    maps = noise(1, 2, 8)
    with pytest.raises(ValueError, match="cos, l1"):
        structure_distance(maps, maps, mode="l2")
    with pytest.raises(ValueError, match="at least four keys a query, these maps have 3"):
        structure_distance(maps[..., :3], maps[..., :3], mode="l1")
    with pytest.raises(ValueError, match="differ in shape"):
        structure_distance(maps, maps[:, :1])
    with pytest.raises(ValueError, match="differ in shape"):
        contrastive_loss(maps, maps, maps[:, :1])
    for wrong in (maps[0], maps[:0], maps[:, :0]):
        for loss in (lambda m: structure_distance(m, m), lambda m: structure_cosine(m, m),
                     lambda m: contrastive_loss(m, m, m)):
            with pytest.raises(ValueError, match=r"maps must be \[B, N, P\] and not empty, not of shape"):
                loss(wrong)


LOSSES = {
    "cos": partial(structure_distance, mode="cos", normalize=True),
    "l1": partial(structure_distance, mode="l1"),
    "contrastive": contrastive_loss,
}


def some_maps(name: str, *, batch: int = 2) -> list[Tensor]:
    return [noise(batch, 3, 9, seed=seed) for seed in range(3 if name == "contrastive" else 2)]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_queries_have_the_loss_as_their_mean(name: str) -> None:
    maps, loss = some_maps(name), LOSSES[name]
    losses = loss(*maps, reduction="none")
    assert losses.shape == (2, 3)
    torch.testing.assert_close(losses.mean(), loss(*maps))
    if name != "contrastive":  # whose negatives are the other queries
        torch.testing.assert_close(losses[1, 2], loss(*(of[1:, 2:] for of in maps)))
    else:
        torch.testing.assert_close(losses[1].mean(), loss(*(of[1:] for of in maps)))


@pytest.mark.parametrize("name", LOSSES)
def test_queries_may_have_weights(name: str) -> None:
    maps, loss = some_maps(name), LOSSES[name]
    losses = loss(*maps, reduction="none")
    shared, own = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([[1.0, 0.0, 2.0], [0.5, 3.0, 0.0]])
    for weights in (shared, own, own > 0):
        torch.testing.assert_close(loss(*maps, weights=weights, reduction="none"), weights * losses)
        expected = sum(w * v for w, v in zip(weights.expand(2, 3).flatten(), losses.flatten(), strict=True))
        torch.testing.assert_close(loss(*maps, weights=weights), expected / weights.expand(2, 3).sum())
    assert loss(*maps, weights=torch.zeros(3)) == 0
    several = torch.func.vmap(lambda of: loss(*maps, weights=of))(torch.stack([shared, shared]))
    torch.testing.assert_close(several[0], loss(*maps, weights=shared))
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*maps, weights=shared), loss(*maps, weights=shared))
    assert torch.autograd.gradcheck(lambda *of: loss(*of, weights=own.double()), [of.requires_grad_() for of in maps])


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_weights_and_reductions_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"weights must be .* with \[B, N\] = \[2, 3\] here, .*\[2, 1\]"):
        LOSSES[name](*some_maps(name), weights=torch.ones(2, 1))
    with pytest.raises(ValueError, match="weights must be at least 0, but some are negative"):
        LOSSES[name](*some_maps(name), weights=torch.tensor([1.0, -0.1, 1.0]))
    with pytest.raises(ValueError, match="reduction 'sum' is unknown; choose one of: mean, none"):
        LOSSES[name](*some_maps(name), reduction="sum")


def compare(loss: SpatialCorrelativeLoss, source: object, target: object) -> None:
    loss(source, target)


def contrast(loss: SpatialCorrelativeLoss, source: object, target: object) -> None:
    loss.contrast(source, source, target)


@pytest.mark.parametrize("call", [compare, contrast])
@pytest.mark.parametrize("heads", [None, (3,)])
def test_images_of_different_size_are_refused_with_both_sizes(call: Callable[..., None], heads: tuple | None) -> None:
    loss = SpatialCorrelativeLoss(patch_count=9, patch_size=8, head_channels=heads)
    for sizes in ((40, 30), (40, 29)), ((40, 30), (30, 40)):
        source, target = (noise(1, 3, *size, dtype=torch.float32) for size in sizes)
        with pytest.raises(ValueError, match=r"\[\[1, 40, 30\]\] in source.* \[\[1, {}, {}\]\] in".format(*sizes[1])):
            call(loss, [source], [target])
    with pytest.raises(ValueError, match=r"\[\[1, 40, 30\]\] in source.* \[\[2, 40, 30\]\] in"):
        call(loss, [noise(1, 3, 40, 30)], [noise(2, 3, 40, 30)])
    with pytest.raises(ValueError, match="must agree in layers"):
        call(loss, [noise(1, 3, 8, 8)], [noise(1, 3, 8, 8)] * 2)


@pytest.mark.parametrize("call", [compare, contrast])
def test_features_of_a_wrong_kind_are_refused_in_a_sentence(call: Callable[..., None]) -> None:
    loss, layer = SpatialCorrelativeLoss(patch_count=9, patch_size=3), noise(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"source must be a list .* not a tensor"):
        call(loss, layer, [layer])
    with pytest.raises(ValueError, match=r"\[B, C, H, W\] that are not empty, not of shape \[3, 8, 8\]"):
        call(loss, [layer[0]], [layer[0]])
    with pytest.raises(ValueError, match=r"not of shape \[0, 3, 8, 8\]"):
        call(loss, [layer[:0]], [layer[:0]])
    with pytest.raises(ValueError, match="source has no layers"):
        call(loss, [], [])


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_contrastive_loss_equals_the_loops(temperature: float) -> None:
    maps = [noise(2, 4, 9, seed=seed) for seed in range(3)]
    actual = contrastive_loss(*maps, temperature=temperature)
    assert actual.shape == ()
    assert actual.item() == pytest.approx(looped_contrast(*maps, temperature), rel=1e-9)


def features_of(layers: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [noise(2, 4, 9 - layer, 6, seed=seed + layer, dtype=dtype) for layer in range(layers)]


def test_half_precision_features_are_compared_in_single_precision() -> None:
    half = [[f.bfloat16() for f in features_of(2, seed=seed)] for seed in (0, 10, 20)]
    full = [[f.float() for f in features] for features in half]
    positions = [torch.arange(0, 36, 5)] * 2
    for normalize in (False, True):
        loss = SpatialCorrelativeLoss(patch_size=3, normalize=normalize)
        expected = loss(*full[:2], positions), loss.contrast(*full, positions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = loss(*half[:2], positions), loss.contrast(*half, positions)
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == torch.float32
            assert torch.equal(a, b)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", ["cos", "l1"])
def test_the_memory_layout_does_not_matter(mode: str, normalize: bool) -> None:
    loss = SpatialCorrelativeLoss(patch_size=3, mode=mode, normalize=normalize)
    features, positions = [features_of(2, seed=seed) for seed in (0, 10, 20)], [torch.arange(0, 36, 5)] * 2
    last = [[f.contiguous(memory_format=torch.channels_last) for f in layers] for layers in features]
    torch.testing.assert_close(loss(*last[:2], positions), loss(*features[:2], positions))
    torch.testing.assert_close(loss.contrast(*last, positions), loss.contrast(*features, positions))


def test_the_meta_device_gives_shapes() -> None:
    features = [[f.to("meta") for f in features_of(2, seed=seed)] for seed in (0, 10, 20)]
    loss = SpatialCorrelativeLoss(patch_size=3, head_channels=(4, 4)).to("meta")
    for value in (loss(*features[:2]), loss.contrast(*features)):
        assert (value.is_meta, value.shape) == (True, ())
    maps = loss.maps(features[0], [torch.zeros(2, 7, dtype=torch.long, device="meta")] * 2)
    assert [of.shape for of in maps] == [(2, 7, 9)] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # two forms of the product on a CPU
def test_vmap_gives_the_losses_and_gradients_of_a_loop(dtype: torch.dtype) -> None:
    loss = SpatialCorrelativeLoss(patch_size=3)
    images = [noise(4, 2, 3, 6, 5, seed=seed, dtype=dtype) for seed in range(3)]
    positions = torch.stack([torch.randperm(30)[:7] for _ in range(4)])

    def both(source: Tensor, target: Tensor, other: Tensor, at: Tensor) -> Tensor:
        return loss([source], [target], [at]) + loss.contrast([source], [target], [other], [at])

    for function in (both, torch.func.grad(both, argnums=1)):
        expected = torch.stack([function(*arguments) for arguments in zip(*images, positions, strict=True)])
        torch.testing.assert_close(torch.func.vmap(function)(*images, positions), expected)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [None, (4, 4)])
def test_the_whole_loss_compiles_to_one_graph(heads: tuple | None) -> None:
    loss = SpatialCorrelativeLoss(patch_count=9, patch_size=3, head_channels=heads)
    features = [features_of(2, seed=seed) for seed in (0, 10, 20)]
    own = [torch.stack([torch.randperm(36)[:5] for _ in range(2)]) for _ in range(2)]
    for function, images in ((loss, features[:2]), (loss.contrast, features)):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        for arguments in ((*images,), (*images, own)):
            values = []
            for call in (function, compiled):
                torch.manual_seed(1)
                values.append(call(*arguments))
            torch.testing.assert_close(*values)


def test_loss_is_the_mean_over_layers() -> None:
    source, target, other = (features_of(3, seed=seed) for seed in (0, 10, 20))
    positions = [torch.tensor([1, 4, 30]), None, torch.tensor([8])]
    loss = SpatialCorrelativeLoss(patch_size=3, temperature=0.5)
    maps = [[self_similarity(f, p, patch_size=3) for f, p in zip(features, positions, strict=True)]
            for features in (source, target, other)]
    distances = [structure_distance(s, t) for s, t in zip(*maps[:2], strict=True)]
    contrasts = [contrastive_loss(*layer, temperature=0.5) for layer in zip(*maps, strict=True)]
    torch.testing.assert_close(loss(source, target, positions), sum(distances) / 3)
    torch.testing.assert_close(loss.contrast(source, target, other, positions), sum(contrasts) / 3)


def test_source_and_target_share_their_random_positions() -> None:
    source = features_of(2)
    loss = SpatialCorrelativeLoss(patch_count=4, patch_size=3)
    assert loss(source, source).item() == pytest.approx(0, abs=1e-6)
    sharp = SpatialCorrelativeLoss(patch_count=4, patch_size=64, temperature=1e-3, normalize=True)
    other = [-f for f in features_of(2, seed=9)]
    assert sharp.contrast(source, source, other).item() == pytest.approx(0, abs=1e-6)


def test_positions_are_drawn_anew_at_each_call_once_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []

    def record(*args: object, **kwargs: object) -> Tensor:
        drawn.append(sample_positions(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(module, "sample_positions", record)
    loss = SpatialCorrelativeLoss(patch_count=5, patch_size=3)
    source, target, other = (features_of(2, seed=seed) for seed in (0, 10, 20))
    loss(source, target)
    loss.contrast(source, target, other)
    assert [len(d) for d in drawn] == [5] * 4
    assert not torch.equal(drawn[0], drawn[2])
    SpatialCorrelativeLoss(patch_count=None, patch_size=3)(source, target)
    assert len(drawn) == 4


def test_heads_exist_from_the_start_under_their_published_places() -> None:
    loss = SpatialCorrelativeLoss(head_channels=(256, 64))
    shapes = {key: tuple(value.shape) for key, value in loss.state_dict().items()}
    assert shapes == {
        "heads.0.0.weight": (64, 256, 1, 1), "heads.0.0.bias": (64,),
        "heads.0.2.weight": (64, 64, 1, 1), "heads.0.2.bias": (64,),
        "heads.1.0.weight": (32, 64, 1, 1), "heads.1.0.bias": (32,),
        "heads.1.2.weight": (32, 32, 1, 1), "heads.1.2.bias": (32,),
    }
    assert list(SpatialCorrelativeLoss().state_dict()) == []


EMPTY = inspect.Parameter.empty


@pytest.mark.parametrize(("function", "parameters"), [
    (sample_positions, "height, width, count, *, generator=None, device=None"),
    (self_similarity, "features, positions=None, *, patch_size, normalize=False"),
    (structure_distance, "source, target, *, mode='cos', normalize=False, weights=None, reduction='mean'"),
    (contrastive_loss, "source, positive, other, *, temperature=0.07, weights=None, reduction='mean'"),
])
def test_public_signatures(function: Callable[..., Tensor], parameters: str) -> None:
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=EMPTY) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({parameters})"


def test_layers_count_alike_however_many_queries_they_have() -> None:
    structure = SpatialCorrelativeLoss(patch_count=30, patch_size=4)
    source, target = ([noise(2, 3, side, side) for side in (4, 8, 8)] for _ in range(2))
    positions = structure.sample(source)
    assert [len(of) for of in positions] == [16, 30, 30]
    each = [structure_distance(*(self_similarity(f[n], positions[n], patch_size=4) for f in (source, target)))
            for n in range(3)]
    torch.testing.assert_close(structure(source, target, positions), torch.stack(each).mean(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_layer_has_positions_of_its_own(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "cuda":  # its code draws the layers of one size together
        draw = torch.rand
        monkeypatch.setattr(torch, "rand", lambda *size, generator, device: draw(*size, generator=generator))

    class Layer:
        def __init__(self, side: int) -> None:
            self.shape, self.device = (1, 2, side, side), torch.device(device)

    drawn = SpatialCorrelativeLoss(patch_count=20).sample([Layer(8), Layer(4), Layer(8)])
    assert [len(set(of.tolist())) for of in drawn] == [20, 16, 20]
    assert [int(of.max()) < size for of, size in zip(drawn, (64, 16, 64), strict=True)] == [True] * 3
    assert drawn[0].tolist() != drawn[2].tolist()
