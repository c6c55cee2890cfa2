"""Scaling, cropping and mirroring."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.transforms import (
    Crop,
    Policy,
    cut,
    plan_crop,
    resize,
    scale,
    scaled_size,
    size_of,
)
from options import has_crop
from options.common import PREPROCESS_MODES

POLICY = Policy("resize_and_crop", load_size=40, crop_size=32, random_crop=True, random_flip=True)


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
    ("zoom_and_patch", (32, 48), (32, 32)),  # 27x40 would be lower than the crop
    ("none", (60, 90), (60, 90)),
])
def test_every_mode_gives_its_size_on_an_image_that_is_not_square(mode, scaled, cropped):
    policy = replace(POLICY, preprocess=mode)
    image = scale(picture(60, 90), policy)
    assert size_of(image) == scaled_size(60, 90, policy) == scaled
    assert cut(image, plan_crop(scaled, policy, seeded())).shape == (3, *cropped)


@pytest.mark.parametrize(("size", "scaled"), [((10, 20), (32, 64)), ((33, 8), (132, 32)), ((32, 32), (32, 32))])
def test_image_smaller_than_the_crop_is_enlarged_in_its_aspect(size, scaled):
    assert scaled_size(*size, replace(POLICY, preprocess="crop")) == scaled


policies = st.builds(
    Policy, preprocess=st.sampled_from(PREPROCESS_MODES), load_size=st.integers(1, 70),
    crop_size=st.integers(1, 70), random_crop=st.booleans(), random_flip=st.booleans(), zoom_max=st.floats(1, 9),
)


@settings(deadline=None, max_examples=100)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)), policy=policies, seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
)
def test_crop_box_lies_inside_and_the_output_has_the_promised_size(size, policy, seed, dtype):
    height, width = scaled_size(*size, policy)
    crop = plan_crop((height, width), policy, seeded(seed))
    assert 0 <= crop.top <= height - crop.height
    assert 0 <= crop.left <= width - crop.width
    if policy.preprocess == "zoom_and_patch":
        assert crop.resized == (policy.crop_size, policy.crop_size)
        assert all(policy.crop_size <= side <= math.ceil(policy.crop_size * policy.zoom_max)
                   for side in (crop.height, crop.width))
    elif has_crop(policy.preprocess):
        assert (crop.height, crop.width) == (policy.crop_size, policy.crop_size)
    elif policy.preprocess == "none":
        assert (crop.height, crop.width) == size
    else:
        assert crop.width == policy.load_size
    assert crop.mirror <= policy.random_flip
    if height * width < 10**5:
        image = torch.full((1, *size), 255 if dtype == torch.uint8 else 1.0, dtype=dtype)
        out = cut(scale(image, policy), crop)
        assert out.shape == (1, *(crop.resized or (crop.height, crop.width)))
        assert out.dtype == dtype
        torch.testing.assert_close(out, image[0, 0, 0].expand_as(out))


def test_random_crops_reach_every_position_and_both_flips():
    policy = replace(POLICY, load_size=34)
    crops = [plan_crop((34, 34), policy, seeded(seed)) for seed in range(200)]
    assert {(crop.top, crop.left, crop.mirror) for crop in crops} == {
        (top, left, mirror) for top in range(3) for left in range(3) for mirror in (False, True)
    }


ZOOM = Policy("zoom_and_patch", load_size=1024, crop_size=24, random_crop=True, random_flip=True, zoom_max=3)


def test_zooms_of_both_sides_fill_their_range_evenly_and_by_themselves():
    crops = [plan_crop((720, 1024), ZOOM, seeded(seed)) for seed in range(1000)]
    factors = 24 / torch.tensor([[crop.height, crop.width] for crop in crops])
    assert factors.min() == 1 / 3
    assert factors.max() == 1
    torch.testing.assert_close(factors.mean(0), torch.full((2,), 2 / 3), atol=0.03, rtol=0)
    assert torch.corrcoef(factors.T)[0, 1].abs() < 0.1
    assert {crop.mirror for crop in crops} == {False, True}
    assert max(crop.top + crop.height for crop in crops) > 710
    assert max(crop.left + crop.width for crop in crops) > 1010


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_patch_is_what_zooming_out_of_the_whole_image_and_cropping_would_give(dtype):
    levels = 255 if dtype == torch.uint8 else 1
    image = (picture(96, 144) * levels).to(dtype)
    for height, width in ((48, 72), (24, 36), (72, 48)):
        naive = resize(image, (96 * 24 // height, 144 * 24 // width))
        top, left = height // 8, width // 6  # 3 and 4 pixels of the small image
        patch = cut(image, Crop(top, left, height, width, mirror=False, resized=(24, 24)))
        assert patch.dtype == dtype
        difference = (patch.double() - naive[:, 3:27, 4:28].double()).abs() / levels
        assert difference[:, 2:-2, 2:-2].max() < 1.01 / 255  # the naive filter also sees what lies around the patch
        assert difference.mean() < 0.01


def test_image_beyond_load_size_is_scaled_down_to_it_before_the_zoom():
    assert scaled_size(3000, 2000, ZOOM) == (1024, 683)
    assert scaled_size(720, 1000, ZOOM) == (720, 1000)


def test_without_random_choices_the_centre_is_shown_unmirrored():
    policy = replace(POLICY, random_crop=False, random_flip=False)
    for seed in range(20):
        assert plan_crop((40, 40), policy, seeded(seed)) == Crop(4, 4, 32, 32, mirror=False)


def test_crop_is_cut_from_where_the_plan_says():
    image = picture(6, 8)
    assert torch.equal(cut(image, Crop(1, 2, 4, 3, mirror=True)), image[:, 1:5, 2:5])


@pytest.mark.parametrize("white", [torch.tensor(255, dtype=torch.uint8), torch.tensor(1.0)])
def test_checkerboard_is_grey_when_scaled_down(white):
    checkerboard = (torch.arange(65)[:, None] + torch.arange(65)) % 2 * white
    out = scale(checkerboard[None].to(white.dtype), replace(POLICY, load_size=10, crop_size=10))
    assert out.dtype == white.dtype
    assert (out.float() / white - 0.5).abs().max() < 0.03


@pytest.mark.parametrize("white", [255, 1.0])
def test_enlarging_an_edge_stays_in_range(white):
    dtype = torch.uint8 if white == 255 else torch.float32
    edge = torch.zeros(1, 8, 8, dtype=dtype)
    edge[..., 4:] = white
    out = scale(edge, replace(POLICY, load_size=32))
    assert out.min() == 0  # unclamped cubic interpolation would be negative, or wrap round
    assert out.max() == white
    assert out[0, 0].float().diff().min() > -1e-6
