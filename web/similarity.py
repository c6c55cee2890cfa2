"""Self-similarity of one point, seen by the features that losses compare, and drawn over the image."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from models.losses.spatial_correlative import SpatialCorrelativeLoss, self_similarity
from models.networks.vgg import VGG16Features
from models.structure import layer_names
from util.checkpoints import load_state, refusing_foreign_state, state_path
from util.device import choose_device
from util.errors import UserError
from util.state_dicts import load_into

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


def features(images: Tensor, sight: str, checkpoint: Checkpoint, gpu_ids: str) -> Tensor:
    """What ``sight`` sees of [B, 1 or 3, H, W] in [-1, 1]: [B, C, h, w].

    Raises:
        UserError: the checkpoint's heads cannot be loaded.
    """
    height, width = images.shape[2:]
    scale = min(1.0, SIDES[1] / max(height, width))
    size = [max(round(side * scale), SIDES[0]) for side in (height, width)]
    images = F.interpolate(images, size, mode="bilinear", antialias=True).to(choose_device(gpu_ids))
    layer = sight.removeprefix(LEARNED)
    if layer == sight:
        seen: list[Tensor] = _vgg(gpu_ids)(images, [layer])
        return seen[0]
    vgg, heads = _learned(checkpoint, checkpoint.changed(), gpu_ids)
    of_layer: Tensor = heads.heads[vgg.layers.index(layer)](vgg(images, [layer])[0])
    return of_layer


def point_map(seen: Tensor, point: tuple[float, float]) -> Tensor:
    """How much a point resembles every other one, as cosine: [B, C, h, w] to [B, h, w] in [-1, 1].

    Args:
        seen: features.
        point: how far down and to the right, each in [0, 1).
    """
    height, width = seen.shape[2:]
    query = int(point[0] * height) * width + int(point[1] * width)
    rows = self_similarity(seen, torch.tensor([query], device=seen.device), patch_size=max(height, width),
                           normalize=True)
    return rows.view(-1, height, width)


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


@lru_cache(1)
def _vgg(gpu_ids: str) -> VGG16Features:
    return VGG16Features(LAYERS).to(choose_device(gpu_ids))


@lru_cache(2)
def _learned(checkpoint: Checkpoint, changed: int, gpu_ids: str) -> tuple[VGG16Features, SpatialCorrelativeLoss]:
    """The heads that were trained beside a generator, and the features that they look at."""
    del changed
    recorded, path = checkpoint.recorded(), state_path(checkpoint.folder, checkpoint.tag)
    vgg = VGG16Features(layer_names(recorded["attn_layers"]), recorded["vgg_weights"])
    heads = SpatialCorrelativeLoss(head_channels=vgg.channels)
    state = load_state(checkpoint.folder, checkpoint.tag) or {}
    with refusing_foreign_state(path):
        networks = state["networks"]
        if "F" not in networks:
            raise UserError(f"{path} holds no learned heads: choose other features")
        load_into(heads, networks["F"], path)
        if "VGG" in networks:  # trained, too
            load_into(vgg, networks["VGG"], path)
    device = choose_device(gpu_ids)
    return vgg.to(device), heads.to(device)
