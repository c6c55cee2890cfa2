"""Label maps from the colours of an atlas: NOAA's ETOPO1, whose relief colours tell the height of the ground."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

NAMES = ("deep sea", "shelf", "lowland", "highland", "mountains")
LOWEST = (-1250, 0, 500, 2000)
"""Lowest height of each class but the first, in metres."""
WATER = 2
"""The first classes are water, the others land. Lakes have the atlas' colour of a shelf."""

PALETTE = (
    (-8000, (0, 14, 203)), (-7000, (0, 30, 216)), (-6000, (12, 68, 231)), (-5000, (19, 117, 244)),
    (-4000, (21, 158, 252)), (-3000, (43, 186, 255)), (-2000, (65, 200, 255)), (-1000, (94, 223, 255)),
    (-500, (138, 227, 255)), (-1, (188, 230, 255)), (0, (51, 102, 0)), (100, (51, 204, 102)), (200, (187, 228, 146)),
    (500, (255, 220, 185)), (1000, (243, 202, 137)), (1500, (230, 184, 88)), (2000, (217, 166, 39)),
    (2500, (168, 154, 31)), (4000, (159, 123, 13)), (5000, (153, 102, 0)), (5500, (162, 89, 89)),
    (6000, (178, 118, 118)), (6500, (183, 147, 147)),
)
"""Heights in metres and their colours in ETOPO1's palette. Colours between them are interpolated."""
SHADE = 0.92
"""Mean brightness of the shaded relief, in units of the palette's."""
BRIGHTNESS = 0.25
"""Weight of the brightness beside the chromaticity: shading changes the brightness most."""
STEPS = 5
"""Interpolated colours from one of the palette to the next."""


def relief_labels(image: Tensor) -> Tensor:
    """Label the pixels of an atlas sheet by the height that their colours stand for.

    Water is decided by the mean colour of 3x3 pixels. Then each pixel takes the height of the nearest colour of the
    palette to the mean of the 7x7 pixels around it, of water or land alike, which averages the shading of the relief.
    The most frequent class of 5x5 pixels removes specks of JPEG.

    Args:
        image: [3, H, W] in [-1, 1].

    Returns:
        LongTensor [H, W], indices of `NAMES`.
    """
    levels = (image.float() + 1) * 127.5
    red, green, blue = _mean(levels, 3)
    water = ((blue > red + 15) & (blue > green))[None].float()
    sea, land = (_height(_mean(levels * of, 7) / _mean(of, 7).clamp(min=1e-6)) for of in (water, 1 - water))
    height = torch.where(water[0] > 0, sea.clamp(max=-1), land.clamp(min=0))
    labels = torch.bucketize(height, torch.tensor(LOWEST), right=True)
    return _mean(F.one_hot(labels, len(NAMES)).permute(2, 0, 1).float(), 5).argmax(dim=0)


def _mean(maps: Tensor, side: int) -> Tensor:
    """Average [C, H, W] over windows of an odd side; the border is repeated."""
    border = (side // 2,) * 4
    return F.avg_pool2d(F.pad(maps[None], border, mode="replicate"), side, stride=1)[0]


def _height(levels: Tensor) -> Tensor:
    """Find the height of the palette's nearest colour: levels [3, H, W] -> metres [H, W]."""
    heights, colours = _interpolated()
    nearest = torch.cdist(_described(levels.flatten(1).T), _described(colours)).argmin(dim=1)
    return heights[nearest].view(levels.shape[1:])


def _described(colours: Tensor) -> Tensor:
    """Describe colours [N, 3] by chromaticity and weighted brightness: [N, 4]."""
    total = colours.sum(dim=1, keepdim=True)
    return torch.cat([colours / total.clamp(min=1), BRIGHTNESS * total / 765], dim=1)


def _interpolated() -> tuple[Tensor, Tensor]:
    """Return heights [K] and shaded colours [K, 3]; the colour jumps at the coast."""
    heights, colours = [], []
    for (low, first), (high, second) in pairwise(PALETTE):
        for step in range(1 if low == -1 else STEPS):
            share = step / STEPS
            heights.append(low + (high - low) * share)
            colours.append([(a + (b - a) * share) * SHADE for a, b in zip(first, second, strict=True)])
    return torch.tensor(heights), torch.tensor(colours)
