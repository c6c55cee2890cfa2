"""The spatially-correlative losses FSeSim and LSeSim, with bundled VGG16 features; needs only torch and safetensors.

`FSeSim` and `LSeSim` compare images. `SpatialCorrelativeLoss` compares features of any network. Below it are functions
of tensors. ``loss.py`` imports only torch, so it can also be copied into a project.
"""

from .image_losses import FSeSim, LSeSim
from .loss import (
    SpatialCorrelativeLoss,
    contrastive_loss,
    sample_positions,
    self_similarity,
    similarity_head,
    structure_cosine,
    structure_distance,
    window_positions,
)
from .vgg import VGG16Features

__all__ = [
    "FSeSim", "LSeSim", "SpatialCorrelativeLoss", "VGG16Features", "contrastive_loss", "sample_positions",
    "self_similarity", "similarity_head", "structure_cosine", "structure_distance", "window_positions",
]
