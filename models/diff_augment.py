"""Differentiable augmentation of the images that discriminators see.

With few images a discriminator overfits. Random changes of all images that it sees, real and generated, prevent this.
The changes are differentiable, so the generator learns through them without reproducing them (Zhao, Liu, Lin, Zhu,
Han: "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020, arXiv 2006.10738).
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from options.train import POLICIES

LARGEST_SHIFT = 1 / 8  # of a side, both ways
BLANK_SIDE = 1 / 2  # of a side


def diff_augment(
    images: Tensor, policies: Collection[str], generator: torch.Generator | None = None, *,
    channels: Sequence[int] = (),
) -> Tensor:
    """Change images at random, each in its own way, differentiably, without waiting for the device.

    In this order, as far as they are among ``policies``:

    - ``color``: add brightness in [-0.5, 0.5), scale saturation by [0, 2) and contrast by [0.5, 1.5);
    - ``translation``: shift by up to an eighth of each side, zeros (grey) moving in;
    - ``cutout``: set a rectangle to zero, half as high and as wide as the image, whose centre is anywhere in it.

    Args:
        images: [B, C, H, W] in [-1, 1], of any floating type; ``color`` may leave the range.
        policies: some of `POLICIES`; none: return the images.
        generator: of the random numbers; None: the default one of the images' device.
        channels: of each picture, if an image consists of several pictures side by side as channels. They get the same
            changes, so that they still match.

    Returns:
        [B, C, H, W] of the same type.

    Raises:
        ValueError: an unknown policy.
    """
    if unknown := set(policies) - set(POLICIES):
        raise ValueError(f"policies {sorted(unknown)} are not among {', '.join(POLICIES)}")
    count, _, height, width = images.shape
    device = generator.device if generator else images.device

    def draw(low: float, high: float) -> Tensor:
        numbers = torch.rand(count, generator=generator, device=device)
        return (low + (high - low) * numbers).to(images.device)  # [B]

    def draw_whole(least: int, greatest: int) -> Tensor:
        return draw(least, greatest + 1).floor().clamp(max=greatest).long()  # rounding may give greatest + 1

    if "color" in policies:
        images = recolor(images, draw(-0.5, 0.5), draw(0, 2), draw(0.5, 1.5), channels)
    if "translation" in policies:
        down, right = (round(side * LARGEST_SHIFT) for side in (height, width))
        images = shift(images, draw_whole(-down, down), draw_whole(-right, right))
    if "cutout" in policies:
        sides = round(height * BLANK_SIDE), round(width * BLANK_SIDE)
        images = blank(images, draw_whole(0, height - 1), draw_whole(0, width - 1), *sides)
    return images


def recolor(
    images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor, channels: Sequence[int] = ()
) -> Tensor:
    """Change the colours of [B, C, H, W]: first the brightness, last the contrast.

    Args:
        brightness: [B], added; 0 changes nothing.
        saturation: [B], factor of each pixel's distance from its own mean over the channels; 1 changes nothing.
        contrast: [B], factor of the distance from the picture's mean; 1 changes nothing.
        channels: of each picture, if an image consists of several; each picture has its own means.
    """
    add, saturate, stretch = (of.to(images.dtype).view(-1, 1, 1, 1) for of in (brightness, saturation, contrast))
    changed = []
    for picture in images.split(list(channels) or [images.shape[1]], dim=1):
        grey = picture.mean(dim=1, keepdim=True)
        saturated = grey + saturate * (picture - grey)
        mean = picture.mean(dim=(1, 2, 3), keepdim=True)  # saturation keeps it
        changed.append(mean + stretch * (saturated - mean) + add)
    return torch.cat(changed, dim=1)


def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move each of [B, C, H, W] by ``down`` and ``right`` pixels, integers [B]; zeros move in."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - down.view(-1, 1)  # [B, H]: where each row comes from
    columns = torch.arange(width, device=images.device) - right.view(-1, 1)
    inside = within(rows, 0, height).view(-1, 1, height, 1) & within(columns, 0, width).view(-1, 1, 1, width)
    moved = images.gather(2, rows.clamp(0, height - 1).view(-1, 1, height, 1).expand_as(images))
    moved = moved.gather(3, columns.clamp(0, width - 1).view(-1, 1, 1, width).expand_as(images))
    return moved * inside


def blank(images: Tensor, row: Tensor, column: Tensor, height: int, width: int) -> Tensor:
    """Set to zero in each of [B, C, H, W] the rectangle around (``row``, ``column``), integers [B], as far as it is in.

    Args:
        height, width: of the rectangle; where one is even, the centre is the later one of the two middle pixels.
    """
    sides = images.shape[2:]
    top, left = row.view(-1, 1) - height // 2, column.view(-1, 1) - width // 2
    in_rows = within(torch.arange(sides[0], device=images.device), top, top + height)  # [B, H]
    in_columns = within(torch.arange(sides[1], device=images.device), left, left + width)
    return images * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


def within(values: Tensor, start: Tensor | int, end: Tensor | int) -> Tensor:
    """Check elementwise start <= value < end."""
    return (values >= start) & (values < end)
