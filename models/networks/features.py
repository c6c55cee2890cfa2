"""Features of any network of torchvision or timm, behind the interface of `VGG16Features`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spatial_correlative.vgg import LAYERS
from util.errors import UserError

from .backbones import build_backbone, first_line
from .vgg import VGG16Features, layer_channels, layer_index, layer_strides, read_weights

VGG16 = "vgg16"
USUAL_SIDE = 224  # pixels; what every one of these networks takes


class FeatureNetwork(nn.Module):
    """Features of some layers: images [B, 3, H, W] in [-1, 1] -> a list of [B, C, h, w], in the layers' order.

    The images are normalised as the network was trained; one-channel images are repeated to three. Of transformers
    the maps are those of their patches. Nothing is computed beyond the deepest layer. The module stays in evaluation
    mode.

    Args:
        name, layers: see `build_backbone`.
        weights: ``imagenet`` (the library's pretrained ones of this name, downloaded once), ``random`` (the same every
            time), or the path of a .safetensors or .pth state dict with the library's keys.
        frozen: the weights get no gradients; the images still do.

    Attributes:
        channels: C of each layer.

    Raises:
        UserError: unknown name or layer, timm or weights that are missing, or a network that is of no use here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, layers: Sequence[str], weights: str = "imagenet", *, frozen: bool = True) -> None:
        super().__init__()
        if weights == "bundled":
            raise UserError(f"--vgg_weights bundled are those of VGG16: --feature_net {name} needs imagenet, random or "
                            "a file")
        self.layers = tuple(layers)
        self.channels = [channels for channels, _, _ in feature_shapes(name, layers, USUAL_SIDE, USUAL_SIDE)]
        self.backbone = build_backbone(name, layers, pretrained=weights == "imagenet")
        if weights not in ("imagenet", "random"):
            self.backbone.load_state_dict(_chosen(weights, self.backbone.state_dict()))
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(getattr(self.backbone, key)).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(not frozen)
        self.train(False)

    def train(self, mode: bool = True) -> FeatureNetwork:
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.backbone((images.expand(-1, 3, -1, -1) * 0.5 + 0.5 - self.mean) / self.std)
        return maps


def create_features(
    name: str, layers: Sequence[str], weights: str, *, frozen: bool = True
) -> VGG16Features | FeatureNetwork:
    """Build `VGG16Features` or a `FeatureNetwork`, as ``name`` says."""
    if name == VGG16:
        return VGG16Features(layers, weights, frozen=frozen)
    return FeatureNetwork(name, layers, weights, frozen=frozen)


def feature_shapes(name: str, layers: Sequence[str], height: int, width: int) -> list[tuple[int, int, int]]:
    """Return (C, h, w) of each layer's features for images of a size in pixels, without weights or images.

    Raises:
        UserError: as `FeatureNetwork`; or the images are too small, or of a size that the network does not take.
    """
    if name == VGG16:
        return [(channels, height // stride, width // stride)
                for channels, stride in zip(layer_channels(layers), layer_strides(layers), strict=True)]
    with torch.device("meta"):
        try:
            maps: list[Tensor] = build_backbone(name, layers, pretrained=False)(torch.empty(1, 3, height, width))
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise UserError(f"--feature_net {name} takes no images of {height}x{width} pixels ({first_line(error)}): "
                            "choose another network or size") from error
    shapes = []
    for layer, features in zip(layers, maps, strict=True):
        if features.dim() != 4:
            raise UserError(f"--feature_net {name}: '{layer}' gives no map of features but {tuple(features.shape)}: "
                            "choose another layer, or for a transformer one of timm")
        _, channels, *sides = features.shape
        shapes.append((channels, sides[0], sides[1]))
    return shapes


def canonical_layers(name: str, layers: Sequence[str]) -> tuple[str, ...]:
    """Return layers under one name each: those of VGG16 may also be numbers; others are taken as they are."""
    return tuple(LAYERS[layer_index(layer)] for layer in layers) if name == VGG16 else tuple(layers)


def distinct_layers(network: str, layers: Sequence[str], flag: str) -> tuple[str, ...]:
    """Return the `canonical_layers` that a user typed after ``flag``, each once.

    Raises:
        UserError: the network has no such layer, or one is named twice.
    """
    try:
        names = canonical_layers(network, layers)
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None
    if len(set(names)) < len(names):
        raise UserError(f"{flag} {','.join(layers)} names a layer twice")
    return names


def _chosen(weights: str, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of the ``expected`` keys, which begin with ``network.``, from a file."""
    state = read_weights(Path(weights))
    chosen = {}
    for key, value in expected.items():
        found = state.get(key.removeprefix("network."))
        if found is None or found.shape != value.shape:
            what = "nothing" if found is None else f"a tensor {tuple(found.shape)}"
            raise UserError(f"--vgg_weights {weights} has {what} for '{key.removeprefix('network.')}' instead of "
                            f"{tuple(value.shape)}: use a state dict of this --feature_net")
        chosen[key] = found
    return chosen
