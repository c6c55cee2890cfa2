"""Pictures of images of any size and number of channels: for people, VGG16 and scores."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def shown_bands(channels: int, bands: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the channels that a picture shows, numbered from 1: one as grey, or three as red, green and blue.

    Images of one or three channels are shown as they are. Of any other number of channels, ``bands`` are shown;
    without them the first three, or the first of two.
    """
    if channels in (1, 3):
        return tuple(range(1, channels + 1))
    return tuple(bands) or ((1, 2, 3) if channels > 3 else (1,))


def picture(images: Tensor, bands: Sequence[int] = ()) -> Tensor:
    """Select the channels to show: [..., C, H, W] -> [..., 1 or 3, H, W], see `shown_bands`."""
    channels = images.shape[-3]
    if channels in (1, 3):
        return images
    # not by a list of indices, which a GPU would wait for
    return torch.cat([images.narrow(-3, band - 1, 1) for band in shown_bands(channels, bands)], dim=-3)


def bands_note(name: str, channels: int, bands: Sequence[int]) -> list[str]:
    """Say which channels the pictures of images called ``name`` show; nothing if they show all."""
    if channels in (1, 3):
        return []
    numbers = ", ".join(map(str, shown_bands(channels, bands)))
    return [f"pictures of {name} show {'channel' if numbers.isdecimal() else 'channels'} {numbers} of {channels} "
            "(--rgb_bands chooses others)"]


def size_within(size: tuple[int, int], longest: float) -> tuple[int, int]:
    """Return (height, width) scaled down so that no side is longer than ``longest``; a smaller size as it is."""
    if (side := max(size)) <= longest:
        return size
    height, width = (max(round(of * longest / side), 1) for of in size)
    return height, width


def scaled_down(images: Tensor, longest: float, mode: str = "bicubic") -> Tensor:
    """Scale [B, C, H, W] to its `size_within` ``longest``; bicubic values may then lie outside [-1, 1]."""
    size = size_within((images.shape[2], images.shape[3]), longest)
    return images if size == images.shape[2:] else F.interpolate(images, size, mode=mode, antialias=True)
