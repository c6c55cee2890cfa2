"""Colour jitter of batches, against torchvision's functions for one image."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from data.jitter import HUE, Jitter, jitter, merge, plan_jitter


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def difficult_images(count: int, *size: int) -> Tensor:
    """Return levels of 8 bits, with grey pixels, black and white ones, and channels that are equal."""
    images = torch.randint(256, (count, 3, *size), generator=seeded(0)) / 255
    images[..., :4] = images[:, :1, :, :4]
    images[..., 4], images[..., 5] = 0, 1
    images[:, :2, :, 6:9] = images[:, :1, :, 6:9]
    images[:, 1:, :, 9:12] = images[:, 1:2, :, 9:12]
    return images


def torchvisions(image: Tensor, plan: Jitter) -> Tensor:
    """Jitter one image, [3, H, W], step by step."""
    change = [0.5 * plan.strengths[0], 0.5 * plan.strengths[1], 0.5 * plan.strengths[2], 0.3 * plan.strengths[3]]
    steps = [
        lambda image: (image * (1 + change[0])).clamp(0, 1),
        lambda image: F.adjust_contrast(image, 1 + change[1]),
        lambda image: F.adjust_saturation(image, 1 + change[2]),
        lambda image: F.adjust_hue(image, change[3]),
    ]
    for step in plan.order:
        image = steps[step](image)
    return image


def test_jitter_is_planned_within_its_range_and_in_every_order():
    plans = [plan_jitter(seeded(seed)) for seed in range(400)]
    assert {plan.order for plan in plans} == set(itertools.permutations(range(4)))
    assert all(-1 <= strength < 1 for plan in plans for strength in plan.strengths)
    assert max(plan.strengths[3] for plan in plans) > 0.9
    assert plan_jitter(seeded(3)) == plans[3]


def test_a_batch_of_all_orders_is_jittered_as_torchvision_does_with_each_image():
    plans = [Jitter(order, plan_jitter(seeded(seed)).strengths)
             for seed, order in enumerate(itertools.permutations(range(4)))]
    images = difficult_images(len(plans), 20, 24)
    expected = torch.stack([torchvisions(image, plan) for image, plan in zip(images, plans, strict=True)])
    torch.testing.assert_close(jitter(images, *merge(plans)), expected, atol=2e-6, rtol=0)


def test_an_image_is_jittered_to_the_same_bits_alone_and_in_a_batch():
    plans = [plan_jitter(seeded(seed)) for seed in range(8)]
    images = difficult_images(8, 20, 24)
    together = jitter(images, *merge(plans))
    for index, plan in enumerate(plans):
        assert torch.equal(jitter(images[index:index + 1], *merge([plan])), together[index:index + 1])


def test_a_single_image_takes_only_its_own_steps_and_a_batch_the_hue_once():
    plans = [plan_jitter(seeded(seed)) for seed in range(8)]
    assert all(merge([plan])[0] == plan.order for plan in plans)
    steps, factors = merge(plans)
    assert steps.count(HUE) == 1
    assert factors.shape == (len(steps), 2, 8)
    assert len(steps) <= 15  # at most seven before and after the hue, whatever the number of images


def test_jitter_of_many_channels_changes_brightness_and_contrast_of_all_together():
    image, strengths = torch.rand(1, 5, 12, 10, generator=seeded(1)), (0.8, -0.6, 0.9, -0.5)
    bright = (image * 1.4).clamp(0, 1)
    expected = (0.7 * bright + 0.3 * bright.mean()).clamp(0, 1)
    torch.testing.assert_close(jitter(image, *merge([Jitter((2, 0, 3, 1), strengths)])), expected)


@pytest.mark.parametrize("size", [(20, 24), (400, 500)])
def test_jitter_does_not_depend_on_the_number_of_threads(size):
    images, plans = difficult_images(3, *size), [plan_jitter(seeded(seed)) for seed in range(3)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = jitter(images, *merge(plans))
        torch.set_num_threads(3)
        together = jitter(images, *merge(plans))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone, together)
