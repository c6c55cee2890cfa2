"""Perceptual and style losses over the features of a fixed network.

After Johnson et al., 'Perceptual losses for real-time style transfer', ECCV 2016, section 3.2, with the L1 distances
of the published F-LSeSim code in place of the paper's squared ones.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PERCEPTUAL_LAYERS = ("relu3_3",)
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


def perceptual_loss(source_features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """Compute the mean absolute difference of features, summed over layers.

    Args:
        source_features, target_features: a list over layers of [B, C, H, W], the same shapes in both.

    Returns:
        Scalar. Gradients flow to both sides; detach the one that should stay.

    Raises:
        ValueError: no layers, not equally many, or different shapes in a layer.
    """
    pairs = _pairs(source_features, target_features)
    for source, target in pairs:
        if source.shape != target.shape:
            raise ValueError(f"features of shapes {tuple(source.shape)} and {tuple(target.shape)}: both need the same")
    return torch.stack([F.l1_loss(source, target) for source, target in pairs]).sum()


def style_loss(source_features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """Compute the mean absolute difference of Gram matrices, averaged over images and summed over layers.

    Args:
        source_features, target_features: a list over layers of [B, C, H, W]; H and W may differ between them.

    Returns:
        Scalar. Gradients flow to both sides; detach the one that should stay.

    Raises:
        ValueError: no layers, or not equally many.
    """
    pairs = _pairs(source_features, target_features)
    return torch.stack([F.l1_loss(gram_matrix(source), gram_matrix(target)) for source, target in pairs]).sum()


def gram_matrix(features: Tensor) -> Tensor:
    """Compute the products of channels, summed over positions, divided by C * H * W: [B, C, H, W] -> [B, C, C].

    In float32, also under autocast, or for float64 features in float64: half precision overflows in the sum.
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = (features if features.dtype == torch.float64 else features.float()).flatten(2)
        return flat @ flat.mT / (flat.shape[1] * flat.shape[2])


def _pairs(source: Sequence[Tensor], target: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if not source or len(source) != len(target):
        raise ValueError(f"features of {len(source)} and {len(target)} layers: both need the same, at least one")
    return list(zip(source, target, strict=True))
