"""Colour jitter: planned for each image as plain numbers, applied to whole batches. Pure functions.

Each image has four steps in an order of its own. A batch takes all of its images through one list of steps, in which
each image has those of its plan, in its order, and no effect of the others: the number of operations hardly depends on
the number of images, and the device gets all numbers in one tensor.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
STRENGTHS = (0.5, 0.5, 0.5, 0.3)  # of each step, those of the paper; the hue in turns
NO_EFFECT = (1.0, 0.0)  # factors of brightness, contrast and saturation
_TINY = torch.finfo(torch.float32).tiny


class Jitter(NamedTuple):
    """A change of appearance: the steps in their order, and by step a strength in [-1, 1)."""

    order: tuple[int, ...]
    strengths: tuple[float, ...]

    def factors(self, step: int) -> tuple[float, float]:
        """Return the factors of the image and of the image that it is blended with; for the hue, its turns and 0."""
        change = STRENGTHS[step] * self.strengths[step]
        return (change, 0.0) if step == HUE else (1 + change, 1 - (1 + change))


def plan_jitter(generator: torch.Generator) -> Jitter:
    """Draw the strengths of four steps, and their order."""
    strengths = (2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1).tolist()
    return Jitter(tuple(torch.randperm(4, generator=generator).tolist()), tuple(strengths))


def merge(plans: Sequence[Jitter]) -> tuple[tuple[int, ...], Tensor]:
    """Return the steps of a batch, of which each image's are a part, and their factors.

    The hue, the longest step, comes once. A single image has its own steps.

    Returns:
        Steps, and float32 [steps, 2, B]: `Jitter.factors`, or `NO_EFFECT` where an image does not take the step.
    """
    steps: list[int] = []
    rows: list[list[tuple[float, float]]] = []

    def add(parts: Sequence[tuple[int, ...]]) -> None:
        """Take the most frequent next step until there is none."""
        while counts := Counter(part[0] for part in parts if part):
            step = max(sorted(counts), key=counts.__getitem__)
            takes = [part[:1] == (step,) for part in parts]
            steps.append(step)
            rows.append([plan.factors(step) if taken else NO_EFFECT for plan, taken in zip(plans, takes, strict=True)])
            parts = [part[1:] if taken else part for part, taken in zip(parts, takes, strict=True)]

    hues = [plan.order.index(HUE) for plan in plans]
    add([plan.order[:at] for plan, at in zip(plans, hues, strict=True)])
    add([(HUE,)] * len(plans))
    add([plan.order[at + 1:] for plan, at in zip(plans, hues, strict=True)])
    return tuple(steps), torch.tensor(rows).transpose(1, 2).contiguous()


def jitter(images: Tensor, steps: Sequence[int], factors: Tensor) -> Tensor:
    """Change the appearance of images and keep their structure, without waiting for their device.

    Only images of three channels have saturation and hue. Brightness and contrast change all channels alike.

    Args:
        images: [B, C, H, W], float32 in [0, 1].
        steps: of `merge`.
        factors: of `merge`, on the device of the images.

    Returns:
        The same shape and range.
    """
    for step, pair in zip(steps, factors.unflatten(-1, (-1, 1, 1, 1)), strict=True):
        own, other = pair
        if step == BRIGHTNESS:
            images = (images * own).clamp_(0, 1)
        elif step == CONTRAST:
            images = (images * own).add_(other * mean_luminance(images)).clamp_(0, 1)
        elif step == SATURATION and images.shape[1] == 3:
            images = torch.addcmul(images * own, F.rgb_to_grayscale(images), other).clamp_(0, 1)
        elif step == HUE and images.shape[1] == 3:
            images = turn_hue(images, own[:, 0])
    return images


def mean_luminance(images: Tensor) -> Tensor:
    """Return the mean luminance of [B, C, H, W], [B, 1, 1, 1]; of other than three channels, the mean of all.

    A mean in one reduction would round by the number of threads. With rows first it does not: a worker process (one
    thread) computes the same as the main process.
    """
    grey = F.rgb_to_grayscale(images) if images.shape[1] == 3 else images.mean(1, keepdim=True)
    return grey.mean(-1, keepdim=True).mean(-2, keepdim=True)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of [B, 3, H, W] in [0, 1] by [B, 1, 1] turns, through HSV.

    The values are those of torchvision's ``adjust_hue``, which takes one number for the whole batch, launches twice as
    many kernels and waits for a copy to the device.
    """
    red, green, _ = images.unbind(1)
    low, value = torch.aminmax(images, dim=1)
    extent = value - low
    # Of grey pixels both numerators are 0: any divisor but 0 will do.
    saturation = extent / value.clamp_min(_TINY)
    from_red, from_green, from_blue = (
        (value[:, None] - images).div_(extent.clamp_min_(_TINY)[:, None]).unbind(1))
    sixths = torch.where(value == red, from_blue - from_green, torch.where(
        value == green, (from_red + 2).sub_(from_blue), (from_green + 4).sub_(from_red)))
    hue = sixths.mul_(1 / 6).add_(1).fmod_(1).add_(turns).remainder_(1).mul_(6)
    sector = hue.floor()
    within = hue.sub_(sector).mul_(saturation)
    rest = 1 - saturation
    shades = torch.stack([value, rest * value, (1 - within).mul_(value), within.add_(rest).mul_(value)], dim=1)
    return shades.gather(1, _shades_by_sector(images.device)[sector.long().remainder_(6)].movedim(-1, 1))


@cache
def _shades_by_sector(device: torch.device) -> Tensor:
    """Return which of value, low, falling and rising are red, green and blue, [6, 3], by sixths of the colour wheel."""
    shades = torch.tensor([[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]])
    return shades.to(device, non_blocking=True)
