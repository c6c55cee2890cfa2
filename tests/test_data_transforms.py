"""Scaling, cropping, mirroring and colour jitter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.transforms import (
    Geometry,
    Policy,
    adjust_contrast,
    apply_geometry,
    jitter,
    network_inputs,
    plan_geometry,
)
from options.common import PREPROCESS_MODES

POLICY = Policy("resize_and_crop", load_size=40, crop_size=32, random_crop=True, random_flip=True)
IDENTITY = Geometry(height=6, width=8, top=0, left=0, crop_height=6, crop_width=8, flip=False)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(channels, height, width, generator=seeded(height * width))


@pytest.mark.parametrize(("mode", "scaled", "cropped"), [
    ("resize_and_crop", (40, 40), (32, 32)),
    ("crop", (60, 90), (32, 32)),
    ("scale_width", (27, 40), (27, 40)),
    ("scale_width_and_crop", (32, 48), (32, 32)),  # 27x40 is lower than the crop: enlarged
    ("scale_shortside_and_crop", (40, 60), (32, 32)),
    ("none", (60, 90), (60, 90)),
])
def test_every_mode_gives_its_size_on_an_image_that_is_not_square(mode, scaled, cropped):
    geometry = plan_geometry((60, 90), replace(POLICY, preprocess=mode), seeded())
    assert (geometry.height, geometry.width) == scaled
    assert apply_geometry(picture(60, 90), geometry).shape == (3, *cropped)


@pytest.mark.parametrize(("size", "scaled"), [((10, 20), (32, 64)), ((33, 8), (132, 32)), ((32, 32), (32, 32))])
def test_image_smaller_than_the_crop_is_enlarged_in_its_aspect(size, scaled):
    geometry = plan_geometry(size, replace(POLICY, preprocess="crop"), seeded())
    assert (geometry.height, geometry.width) == scaled


policies = st.builds(
    Policy, preprocess=st.sampled_from(PREPROCESS_MODES), load_size=st.integers(1, 70),
    crop_size=st.integers(1, 70), random_crop=st.booleans(), random_flip=st.booleans(),
)


@settings(deadline=None, max_examples=300)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)), policy=policies, seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
)
def test_crop_box_lies_inside_and_the_output_has_the_promised_size(size, policy, seed, dtype):
    plan = plan_geometry(size, policy, seeded(seed))
    assert 0 <= plan.top <= plan.height - plan.crop_height
    assert 0 <= plan.left <= plan.width - plan.crop_width
    if "crop" in policy.preprocess:
        assert (plan.crop_height, plan.crop_width) == (policy.crop_size, policy.crop_size)
    elif policy.preprocess == "none":
        assert (plan.crop_height, plan.crop_width) == size
    else:
        assert plan.crop_width == policy.load_size
    assert plan.flip <= policy.random_flip
    if plan.height * plan.width < 10**5:
        image = torch.full((1, *size), 255 if dtype == torch.uint8 else 1.0, dtype=dtype)
        out = apply_geometry(image, plan)
        assert out.shape == (1, plan.crop_height, plan.crop_width)
        assert out.dtype == dtype
        torch.testing.assert_close(out, image[0, 0, 0].expand_as(out))


def test_random_crops_reach_every_position_and_both_flips():
    policy = replace(POLICY, load_size=34)
    plans = [plan_geometry((50, 50), policy, seeded(seed)) for seed in range(200)]
    assert {(plan.top, plan.left, plan.flip) for plan in plans} == {
        (top, left, flip) for top in range(3) for left in range(3) for flip in (False, True)
    }


def test_without_random_choices_the_centre_is_shown_unmirrored():
    policy = replace(POLICY, random_crop=False, random_flip=False)
    for seed in range(20):
        assert plan_geometry((50, 70), policy, seeded(seed)) == Geometry(40, 40, 4, 4, 32, 32, False)


def test_flip_mirrors_left_and_right():
    image = picture(6, 8)
    assert torch.equal(apply_geometry(image, replace(IDENTITY, flip=True)), image.flip(2))


def test_image_of_the_right_size_is_not_resampled():
    image = picture(6, 8)
    assert torch.equal(apply_geometry(image, IDENTITY), image)


def test_crop_is_cut_from_where_the_geometry_says():
    image = picture(6, 8)
    box = replace(IDENTITY, top=1, left=2, crop_height=4, crop_width=3)
    assert torch.equal(apply_geometry(image, box), image[:, 1:5, 2:5])


@pytest.mark.parametrize("white", [torch.tensor(255, dtype=torch.uint8), torch.tensor(1.0)])
def test_checkerboard_is_grey_when_scaled_down(white):
    checkerboard = (torch.arange(65)[:, None] + torch.arange(65)) % 2 * white
    out = apply_geometry(checkerboard[None].to(white.dtype), Geometry(10, 10, 0, 0, 10, 10, False))
    assert out.dtype == white.dtype
    assert (out.float() / white - 0.5).abs().max() < 0.03


@pytest.mark.parametrize("white", [255, 1.0])
def test_enlarging_an_edge_stays_in_range(white):
    dtype = torch.uint8 if white == 255 else torch.float32
    edge = torch.zeros(1, 8, 8, dtype=dtype)
    edge[..., 4:] = white
    out = apply_geometry(edge, Geometry(32, 32, 0, 0, 32, 32, False))
    assert out.min() == 0  # unclamped cubic interpolation would be negative, or wrap round
    assert out.max() == white
    assert out[0, 0].float().diff().min() > -1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_changes_the_image_and_stays_in_range(channels):
    image = picture(20, 30, channels)
    for seed in range(20):
        out = jitter(image, seeded(seed))
        assert out.shape == image.shape
        assert out.min() >= 0
        assert out.max() <= 1
        assert (out - image).abs().mean() > 1e-4


def test_jitter_is_a_function_of_its_generator_alone():
    image = picture(20, 30)
    state = torch.get_rng_state()
    assert torch.equal(jitter(image, seeded(1)), jitter(image, seeded(1)))
    assert not torch.equal(jitter(image, seeded(1)), jitter(image, seeded(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_jitter_leaves_its_input_alone():
    image = picture(20, 30)
    before = image.clone()
    jitter(image, seeded())
    assert torch.equal(image, before)


def test_contrast_is_a_blend_with_the_mean_luminance():
    image = picture(9, 11) * 0.5 + 0.25
    mean = (image * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(0).mean()
    torch.testing.assert_close(adjust_contrast(image, 0.5), (image + mean) / 2, atol=1e-4, rtol=0)
    assert torch.equal(adjust_contrast(image, 1.0), image)


def test_jitter_does_not_depend_on_the_number_of_threads():
    image = picture(400, 500)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [jitter(image, seeded(seed)) for seed in range(5)]
        torch.set_num_threads(3)
        together = [jitter(image, seeded(seed)) for seed in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("image", [
    torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2), torch.tensor([0.0, 1.0]).reshape(1, 1, 2),
])
def test_network_inputs_span_minus_one_to_one(image):
    plan = Geometry(1, 2, 0, 0, 1, 2, False)
    assert network_inputs("A", image, plan)["A"].tolist() == [[[-1.0, 1.0]]]


def test_augmented_copy_is_the_jittered_crop_itself():
    image = picture(50, 60)
    plan = plan_geometry((50, 60), POLICY, seeded(3))
    sample = network_inputs("B", image, plan, seeded(4))
    assert set(sample) == {"B", "B_aug"}
    torch.testing.assert_close((sample["B_aug"] + 1) / 2, jitter((sample["B"] + 1) / 2, seeded(4)), atol=1e-5, rtol=0)
