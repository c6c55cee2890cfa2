"""Self-similarity of one point, seen by the features that losses compare, and drawn over the image."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.structure_measures import StructureMeasures
from evaluation.trained_heads import load_heads
from models.structure import layer_names
from util.device import choose_device
from util.state_dicts import state_path

from .checkpoints import Checkpoint

LAYERS = ("relu3_1", "relu4_1")
LEARNED = "learned on "
SIDES = 32, 512  # least and largest of an image whose features are computed
OPACITY = 0.75  # of the map over the image


def sights(checkpoint: Checkpoint) -> list[str]:
    """By what self-similarity can be seen: layers of the bundled VGG16, and a checkpoint's own heads on them.

    Heads on another network, or on weights that may have to be downloaded, are left out.
    """
    recorded = checkpoint.recorded()
    ours = recorded.get("feature_net", "vgg16") == "vgg16" and recorded.get("vgg_weights") in ("bundled", "random")
    learned = recorded.get("learned_attn") and ours and state_path(checkpoint.folder, checkpoint.tag).exists()
    return [*LAYERS, *(LEARNED + layer for layer in (layer_names(recorded["attn_layers"]) if learned else ()))]


def similarity(
    image: Tensor, point: tuple[float, float], sight: str, checkpoint: Checkpoint, gpu_ids: str,
) -> Tensor:
    """How much a point of an image resembles every other one.

    Args:
        image: [3, H, W] in [-1, 1].
        point: how far down and to the right, each in [0, 1).
        sight: one of `sights`.
        checkpoint: whose heads see, if ``sight`` is learned.
        gpu_ids: see `util.device.choose_device`.

    Returns:
        Cosines [h, w], at the positions of the features.

    Raises:
        UserError: the checkpoint's heads cannot be loaded.
    """
    scale = min(1.0, SIDES[1] / max(image.shape[1:]))
    height, width = (max(round(side * scale), SIDES[0]) for side in image.shape[1:])
    image = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    layer = sight.removeprefix(LEARNED)
    measures = (_fixed(sight, gpu_ids) if layer == sight else
                _learned(layer, checkpoint, checkpoint.changed(), gpu_ids))
    (found,) = measures.similarities(measures.features(image), int(point[1] * width), int(point[0] * height)).values()
    return found


def drawn(similarity: Tensor, image: Tensor, point: tuple[float, float]) -> Tensor:
    """A map [h, w] in [-1, 1] over its image [C, H, W] in [-1, 1], and a ring around the point: [3, H, W] in [-1, 1].

    Dark stands for -1, bright for 1.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - optional

    height, width = image.shape[1:]
    values = F.interpolate(similarity[None, None].cpu(), (height, width), mode="bilinear")[0, 0]
    colours = torch.from_numpy(colormaps["inferno"](values.numpy() / 2 + 0.5)[..., :3]).float().permute(2, 0, 1) * 2 - 1
    picture = OPACITY * colours + (1 - OPACITY) * image.mean(0)
    down, right = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    distance = ((down - point[0] * height) ** 2 + (right - point[1] * width) ** 2).sqrt()  # [H, W]
    radius = max(3, max(height, width) / 50)
    return torch.where((distance - radius).abs() < radius / 6 + 0.5, torch.ones(()), picture)


@lru_cache(len(LAYERS))
def _fixed(layer: str, gpu_ids: str) -> StructureMeasures:
    return StructureMeasures([layer], measures=["fsesim_norm"], patch_size=SIDES[1], device=choose_device(gpu_ids))


@lru_cache(2)
def _learned(layer: str, checkpoint: Checkpoint, changed: int, gpu_ids: str) -> StructureMeasures:
    """The heads that were trained beside a generator, and the features that they look at."""
    del changed  # a newer save is another entry of the cache
    return StructureMeasures([layer], heads=load_heads(checkpoint.folder, checkpoint.tag), measures=["lsesim_norm"],
                             patch_size=SIDES[1], device=choose_device(gpu_ids))
