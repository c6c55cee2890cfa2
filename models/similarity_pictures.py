"""Pictures of self-similarity."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spatial_correlative import self_similarity

RED = (1.0, -1.0, -1.0)


def draw_centre(layers: Sequence[Tensor], height: int, width: int, *, normalize: bool) -> Tensor:
    """Draw the similarity of the central position to every position, and the centre in red.

    Args:
        layers: features [B, C, h, w] of each layer. The images share one scale of brightness.
        height, width: of the pictures.
        normalize: see `self_similarity`.

    Returns:
        [B, 3, H, W] in [-1, 1], the mean over the layers: black is the least similar, white the most similar.
    """
    maps = [_stretched(_centre_similarity(features, normalize)) for features in layers]
    mean = torch.stack([F.interpolate(of, (height, width), mode="bilinear") for of in maps]).mean(dim=0)
    pictures = (2 * mean - 1).repeat(1, 3, 1, 1)
    reach = max(1, min(height, width) // 64)
    top, left = max(0, height // 2 - reach), max(0, width // 2 - reach)
    centre = pictures[:, :, top : height // 2 + reach, left : width // 2 + reach]
    centre[:] = pictures.new_tensor(RED).view(3, 1, 1)
    return pictures


def _centre_similarity(features: Tensor, normalize: bool) -> Tensor:
    """Compare the central position of [B, C, H, W] with every position: [B, 1, H, W]."""
    height, width = features.shape[2:]
    centre = torch.tensor([height // 2 * width + width // 2], device=features.device)
    rows = self_similarity(features, centre, patch_size=max(height, width), normalize=normalize)  # [B, 1, H * W]
    return rows.view(-1, 1, height, width)


def _stretched(values: Tensor) -> Tensor:
    """Scale values to [0, 1]."""
    least, greatest = values.aminmax()
    return (values - least) / (greatest - least).clamp(min=1e-12)
