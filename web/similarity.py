"""Self-similarity of one point in the features of the losses, and its picture."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.structure_measures import StructureMeasures
from evaluation.trained_heads import load_heads
from models.structure_flags import layer_names
from util.device import choose_device
from util.state_dicts import state_path

from .checkpoints import Checkpoint

LAYERS = ("relu3_1", "relu4_1")
LEARNED = "learned on "
SIDES = 32, 512  # least and largest side of an image for its features
OPACITY = 0.75  # of a map over its image


def feature_names(checkpoint: Checkpoint) -> list[str]:
    """List the features for a checkpoint: layers of the bundled VGG16, and its learned heads on them.

    Heads on another network, or on weights that may have to be downloaded, are left out.
    """
    recorded = checkpoint.recorded()
    ours = recorded.get("feature_net", "vgg16") == "vgg16" and recorded.get("vgg_weights") in ("bundled", "random")
    learned = recorded.get("learned_attn") and ours and state_path(checkpoint.folder, checkpoint.tag).exists()
    return [*LAYERS, *(LEARNED + layer for layer in (layer_names(recorded["attn_layers"]) if learned else ()))]


def similarity(
    image: Tensor, point: tuple[float, float], features: str, checkpoint: Checkpoint, gpu_ids: str,
) -> Tensor:
    """Compare a point of an image with every other point.

    Args:
        image: [3, H, W] in [-1, 1].
        point: position from the top and from the left, each in [0, 1).
        features: one of `feature_names`.
        checkpoint: has the heads for learned features.
        gpu_ids: see `util.device.choose_device`.

    Returns:
        Cosines [h, w] at the positions of the features.

    Raises:
        UserError: the checkpoint's heads cannot be loaded.
    """
    scale = min(1.0, SIDES[1] / max(image.shape[1:]))
    height, width = (max(round(side * scale), SIDES[0]) for side in image.shape[1:])
    image = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    layer = features.removeprefix(LEARNED)
    measures = (_fixed(features, gpu_ids) if layer == features else
                _learned(layer, checkpoint, checkpoint.changed(), gpu_ids))
    (found,) = measures.similarities(measures.features(image), int(point[1] * width), int(point[0] * height)).values()
    return found


def draw(similarity: Tensor, image: Tensor, point: tuple[float, float]) -> Tensor:
    """Draw a map [h, w] over its image [C, H, W], with a ring around the point: [3, H, W]; all in [-1, 1].

    Dark is -1, bright 1.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - optional

    height, width = image.shape[1:]
    values = F.interpolate(similarity[None, None].cpu(), (height, width), mode="bilinear")[0, 0]
    colours = torch.from_numpy(colormaps["inferno"](values.numpy() / 2 + 0.5)[..., :3]).float().permute(2, 0, 1) * 2 - 1
    return ringed(OPACITY * colours + (1 - OPACITY) * image.mean(0), point)


def ringed(image: Tensor, point: tuple[float, float]) -> Tensor:
    """Draw a white ring with black edges around a point of an image [C, H, W] in [-1, 1]; see `similarity`."""
    height, width = image.shape[1:]
    down, right = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    distance = ((down - point[0] * height) ** 2 + (right - point[1] * width) ** 2).sqrt()  # [H, W]
    radius = max(3, max(height, width) / 50)
    away, line = (distance - radius).abs(), radius / 6 + 0.5
    edged = torch.where(away < line + 1, -torch.ones(()), image)
    return torch.where(away < line, torch.ones(()), edged)


@lru_cache(len(LAYERS))
def _fixed(layer: str, gpu_ids: str) -> StructureMeasures:
    return StructureMeasures([layer], measures=["fsesim_norm"], patch_size=SIDES[1], device=choose_device(gpu_ids))


@lru_cache(2)
def _learned(layer: str, checkpoint: Checkpoint, changed: int, gpu_ids: str) -> StructureMeasures:
    """Load the heads that were trained with a generator, and the network of their features."""
    del changed  # loads a replaced file again
    return StructureMeasures([layer], heads=load_heads(checkpoint.folder, checkpoint.tag), measures=["lsesim_norm"],
                             patch_size=SIDES[1], device=choose_device(gpu_ids))
