"""What holds for every input: transforms, options, and the mathematics of structure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.transforms import (
    Crop,
    Jitter,
    Policy,
    cut,
    jitter,
    plan_crop,
    plan_jitter,
    scale,
    scaled_size,
    size_of,
)
from models.losses.spatial_correlative import (
    contrastive_loss,
    sample_positions,
    self_similarity,
    structure_distance,
    window_positions,
)
from options.common import PREPROCESS_MODES, has_crop
from options.flag import count_or_all, flag, flags_of, plain_name
from training.monitor import Symptoms

FEW = settings(max_examples=60, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31 - 1)
SIDES = st.integers(1, 40)
POLICIES = st.builds(
    lambda mode, crop, more, random_crop, flip, zoom: Policy(mode, crop + more, crop, random_crop, flip, zoom),
    st.sampled_from(PREPROCESS_MODES), st.integers(1, 24), st.integers(0, 12), st.booleans(), st.booleans(),
    st.floats(1, 5))


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- transforms


@FEW
@given(height=SIDES, width=SIDES, policy=POLICIES, seed=SEEDS)
def test_a_crop_lies_inside_its_image_and_has_the_promised_size(
    height: int, width: int, policy: Policy, seed: int
) -> None:
    size = scaled_size(height, width, policy)
    crop = plan_crop(size, policy, torch.Generator().manual_seed(seed))
    assert 0 <= crop.top <= crop.top + crop.height <= size[0]
    assert 0 <= crop.left <= crop.left + crop.width <= size[1]
    wanted = (policy.crop_size, policy.crop_size) if has_crop(policy.preprocess) else size
    assert (crop.resized or (crop.height, crop.width)) == wanted
    assert crop.height >= wanted[0], "zooming is out of the crop, not into it"
    assert crop.width >= wanted[1]
    assert policy.random_flip or not crop.mirror
    if not policy.random_crop:
        assert abs(2 * crop.top - (size[0] - crop.height)) <= 1, "tests show the centre"


@FEW
@given(height=SIDES, width=SIDES, policy=POLICIES, seed=SEEDS, deep=st.booleans(), channels=st.sampled_from((1, 3)))
def test_scaling_keeps_range_type_and_channels(
    height: int, width: int, policy: Policy, seed: int, deep: bool, channels: int
) -> None:
    image = noise(seed, channels, height, width).float()
    image = image if deep else (255 * image).to(torch.uint8)
    scaled = scale(image, policy)
    assert scaled.dtype == image.dtype
    assert size_of(scaled) == scaled_size(height, width, policy)
    assert scaled.shape[0] == channels
    if deep:
        assert 0 <= scaled.min() <= scaled.max() <= 1


@FEW
@given(height=SIDES, width=SIDES, level=st.integers(0, 255), policy=POLICIES)
def test_a_plain_image_stays_plain(height: int, width: int, level: int, policy: Policy) -> None:
    image = torch.full((3, height, width), level, dtype=torch.uint8)
    assert (scale(image, policy) == level).all()


@FEW
@given(top=st.integers(0, 9), left=st.integers(0, 9), height=st.integers(1, 6), width=st.integers(1, 6))
def test_cutting_takes_these_pixels_and_no_others(top: int, left: int, height: int, width: int) -> None:
    image = torch.arange(15 * 15).reshape(1, 15, 15)
    part = cut(image, Crop(top, left, height, width, mirror=False))
    assert part.shape == (1, height, width)
    assert part[0, 0, 0] == 15 * top + left
    assert part[0, -1, -1] == 15 * (top + height - 1) + left + width - 1


@FEW
@given(seed=SEEDS)
def test_a_jitters_plan_is_in_range_and_the_same_for_a_seed(seed: int) -> None:
    plan, again = (plan_jitter(torch.Generator().manual_seed(seed)) for _ in range(2))
    assert plan == again
    assert sorted(plan.order) == [0, 1, 2, 3]
    assert all(-1 <= strength < 1 for strength in plan.strengths)


@FEW
@given(seed=SEEDS, channels=st.sampled_from((1, 3)), order=st.permutations(range(4)),
       strengths=st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_jitter_stays_in_range_and_changes_nothing_at_strength_zero(
    seed: int, channels: int, order: list[int], strengths: list[float]
) -> None:
    image = noise(seed, channels, 7, 9).float()
    changed = jitter(image, Jitter(tuple(order), tuple(strengths)))
    assert changed.shape == image.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    same = jitter(image, Jitter(tuple(order), (0.0, 0.0, 0.0, 0.0)))
    torch.testing.assert_close(same, image, rtol=0, atol=1e-5)


@FEW
@given(seed=SEEDS, strengths=st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_jitter_keeps_the_structure_pixel_by_pixel(seed: int, strengths: list[float]) -> None:
    """A change of appearance moves nothing: it commutes with mirroring."""
    image = noise(seed, 3, 6, 8).float()
    plan = Jitter((0, 1, 2, 3), tuple(strengths))
    torch.testing.assert_close(jitter(image.flip(-1), plan), jitter(image, plan).flip(-1), rtol=0, atol=1e-5)


# --- options


@FEW
@given(value=st.integers(-10**6, 10**6), low=st.integers(-100, 100), high=st.integers(-100, 100))
def test_a_number_is_taken_exactly_if_it_is_within_its_limits(value: int, low: int, high: int) -> None:
    assume(low <= high)
    import dataclasses

    group = dataclasses.make_dataclass("Group", [("n", int, flag(low, "a number", minimum=low, maximum=high))],
                                       frozen=True)
    (declared,) = flags_of(group)
    try:
        taken = declared.convert(str(value)) == value
    except ValueError:
        taken = False
    assert taken == (low <= value <= high)


@FEW
@given(text=st.text(max_size=20))
def test_a_plain_name_is_a_single_part_of_a_path(text: str) -> None:
    from pathlib import PurePosixPath, PureWindowsPath

    try:
        name = plain_name(text)
    except ValueError:
        return
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert name not in (".", "..")


@FEW
@given(text=st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(str)))
def test_a_count_is_positive_or_all(text: str) -> None:
    try:
        count = count_or_all(text)
    except ValueError:
        return
    assert count is None or count >= 1


# --- self-similarity


MAPS = {"seed": SEEDS, "batch": st.integers(1, 3), "channels": st.integers(1, 6), "height": st.integers(2, 9),
        "width": st.integers(2, 9), "patch": st.integers(1, 10), "normalize": st.booleans()}


def similarity(features: Tensor, seed: int, patch: int, normalize: bool) -> Tensor:
    height, width = features.shape[2:]
    positions = sample_positions(height, width, 5, generator=torch.Generator().manual_seed(seed))
    return self_similarity(features, positions, patch_size=patch, normalize=normalize)


@FEW
@given(**MAPS)
def test_similarity_is_bounded_and_has_its_shape(
    seed: int, batch: int, channels: int, height: int, width: int, patch: int, normalize: bool
) -> None:
    maps = similarity(100 * noise(seed, batch, channels, height, width), seed, patch, normalize)
    keys = patch**2 if patch < min(height, width) else height * width
    assert maps.shape == (batch, min(5, height * width), keys)
    assert maps.abs().max() <= 1 + 1e-9


@FEW
@given(**MAPS)
def test_similarity_does_not_see_what_is_added_to_a_channel(
    seed: int, batch: int, channels: int, height: int, width: int, patch: int, normalize: bool
) -> None:
    features = noise(seed, batch, channels, height, width)
    offsets = 10 * noise(seed + 1, batch, channels, 1, 1)
    # Of a single channel the cosine is a sign, which rounding may turn where the value is the mean.
    assume(channels > 1 or not normalize)
    torch.testing.assert_close(similarity(features + offsets, seed, patch, normalize),
                               similarity(features, seed, patch, normalize), rtol=1e-6, atol=1e-8)


@FEW
@given(**MAPS, factor=st.floats(1e-3, 1e3))
def test_cosine_similarity_does_not_see_contrast(
    seed: int, batch: int, channels: int, height: int, width: int, patch: int, normalize: bool, factor: float
) -> None:
    del normalize
    assume(channels > 1)
    features = noise(seed, batch, channels, height, width)
    torch.testing.assert_close(similarity(factor * features, seed, patch, True),
                               similarity(features, seed, patch, True), rtol=1e-6, atol=1e-8)


@FEW
@given(**MAPS, turn=SEEDS)
def test_similarity_does_not_see_a_rotation_of_the_channels(
    seed: int, batch: int, channels: int, height: int, width: int, patch: int, normalize: bool, turn: int
) -> None:
    assume(channels > 1)
    features = noise(seed, batch, channels, height, width)
    rotation, _ = torch.linalg.qr(noise(turn, channels, channels) - 0.5)
    rotated = torch.einsum("cd,bdhw->bchw", rotation, features)
    torch.testing.assert_close(similarity(rotated, seed, patch, normalize),
                               similarity(features, seed, patch, normalize), rtol=1e-6, atol=1e-7)


@FEW
@given(**MAPS)
def test_similarity_takes_each_image_by_itself(
    seed: int, batch: int, channels: int, height: int, width: int, patch: int, normalize: bool
) -> None:
    features = noise(seed, batch, channels, height, width)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    together = similarity(features, seed, patch, normalize)
    torch.testing.assert_close(similarity(features[order], seed, patch, normalize), together[order])
    torch.testing.assert_close(similarity(features[:1], seed, patch, normalize), together[:1])


@FEW
@given(seed=SEEDS, channels=st.integers(1, 5), height=st.integers(1, 6), width=st.integers(1, 6), cosine=st.booleans())
def test_similarity_of_all_places_is_symmetric(seed: int, channels: int, height: int, width: int, cosine: bool) -> None:
    maps = self_similarity(noise(seed, 1, channels, height, width), patch_size=1, normalize=cosine)
    torch.testing.assert_close(maps, maps.mT)


@FEW
@given(height=st.integers(1, 12), width=st.integers(1, 12), patch=st.integers(1, 12), seed=SEEDS)
def test_a_window_lies_inside_the_map_and_holds_its_query(height: int, width: int, patch: int, seed: int) -> None:
    assume(patch <= min(height, width))
    positions = sample_positions(height, width, 9, generator=torch.Generator().manual_seed(seed))
    windows = window_positions(positions, height, width, patch)
    assert windows.shape == (len(positions), patch**2)
    assert 0 <= windows.min() <= windows.max() < height * width
    assert (windows == positions[:, None]).any(dim=1).all()
    assert all(len(set(window.tolist())) == patch**2 for window in windows)
    columns = windows % width
    assert (columns.amax(1) - columns.amin(1) == patch - 1).all(), "no window runs over the edge into the next row"


# --- structure distance


ROWS = {"seed": SEEDS, "batch": st.integers(1, 3), "queries": st.integers(1, 5), "keys": st.integers(4, 40),
        "mode": st.sampled_from(("cos", "l1")), "normalize": st.booleans()}


def pair(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    return 2 * noise(seed, *shape) - 1, 2 * noise(seed + 1, *shape) - 1


@FEW
@given(**ROWS)
def test_the_distance_of_equal_maps_is_zero_and_none_is_below(
    seed: int, batch: int, queries: int, keys: int, mode: str, normalize: bool
) -> None:
    source, target = pair(seed, batch, queries, keys)
    assert abs(structure_distance(source, source, mode=mode, normalize=normalize)) < 1e-12  # type: ignore[arg-type]
    distance = structure_distance(source, target, mode=mode, normalize=normalize)  # type: ignore[arg-type]
    assert 0 <= distance <= (2 if mode == "cos" else 20)


@FEW
@given(**ROWS)
def test_the_distance_does_not_depend_on_the_order_of_images_queries_or_keys(
    seed: int, batch: int, queries: int, keys: int, mode: str, normalize: bool
) -> None:
    maps = pair(seed, batch, queries, keys)
    expected = structure_distance(*maps, mode=mode, normalize=normalize)  # type: ignore[arg-type]
    for axis, length in enumerate((batch, queries, keys)):
        order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
        moved = (of.index_select(axis, order) for of in maps)
        torch.testing.assert_close(structure_distance(*moved, mode=mode, normalize=normalize),  # type: ignore[arg-type]
                                   expected)


@FEW
@given(**ROWS, factor=st.floats(0.01, 100))
def test_the_cosine_distance_does_not_see_the_maps_scale(
    seed: int, batch: int, queries: int, keys: int, mode: str, normalize: bool, factor: float
) -> None:
    del mode
    source, target = pair(seed, batch, queries, keys)
    torch.testing.assert_close(structure_distance(factor * source, target, normalize=normalize),
                               structure_distance(source, target, normalize=normalize), rtol=1e-6, atol=1e-9)


# --- contrastive loss


@FEW
@given(seed=SEEDS, batch=st.integers(1, 3), queries=st.integers(1, 6), keys=st.integers(2, 12))
def test_the_contrastive_loss_does_not_depend_on_order_or_scale(
    seed: int, batch: int, queries: int, keys: int
) -> None:
    source, positive = pair(seed, batch, queries, keys)
    other, _ = pair(seed + 2, batch, queries, keys)
    expected = contrastive_loss(source, positive, other)
    for axis, length in enumerate((batch, queries, keys)):
        order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
        moved = (of.index_select(axis, order) for of in (source, positive, other))
        torch.testing.assert_close(contrastive_loss(*moved), expected)
    shuffled = other[:, torch.randperm(queries, generator=torch.Generator().manual_seed(seed + 1))]
    torch.testing.assert_close(contrastive_loss(3 * source, positive / 7, other), expected)
    if queries == 1:
        torch.testing.assert_close(contrastive_loss(source, positive, shuffled), expected)


@FEW
@given(seed=SEEDS, queries=st.integers(2, 6), keys=st.integers(8, 12), temperature=st.floats(0.05, 1))
def test_the_contrastive_loss_is_least_for_the_right_answer(
    seed: int, queries: int, keys: int, temperature: float
) -> None:
    source, other = pair(seed, 1, queries, keys)
    right = contrastive_loss(source, source, other, temperature=temperature)
    wrong = contrastive_loss(source, source.roll(1, dims=1), other, temperature=temperature)
    assert 0 <= right < wrong
    assert right >= F.cross_entropy(torch.tensor([[1.0] + [-1.0] * (3 * queries - 1)], dtype=torch.float64)
                                    / temperature, torch.tensor([0])) - 1e-9


# --- symptoms


@FEW
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), scale_of=st.floats(1, 1e5))
def test_a_young_training_has_no_symptoms_whatever_its_losses(values: list[float], scale_of: float) -> None:
    symptoms = Symptoms()
    assert not [text for value in values for text in symptoms.see({"G": value, "D_real": value}, scale_of)]
