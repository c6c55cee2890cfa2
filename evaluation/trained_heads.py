"""The learned heads of LSeSim, from a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.networks.features import VGG16, canonical_layers, create_features
from spatial_correlative import SpatialCorrelativeLoss
from util.errors import UserError
from util.state_dicts import load_into, load_state, state_path


@dataclass(frozen=True)
class TrainedHeads:
    """Heads, and the settings of their training."""

    path: Path
    """Their file."""
    layers: tuple[str, ...]
    network: str
    """``--feature_net``."""
    weights: str
    """``--vgg_weights``."""
    patch_size: int
    modules: nn.ModuleList
    """A head for each layer."""
    features: Mapping[str, Tensor] | None
    """Weights of the feature network, if it was trained too (``--vgg_lr_scale``)."""

    def module(self, layer: str) -> nn.Module:
        """Return the head of a layer.

        Raises:
            UserError: there is none.
        """
        if layer not in self.layers:
            raise UserError(f"--layers: {self.path} has no head for {layer}; use {', '.join(self.layers)}, or leave "
                            "--heads out")
        head: nn.Module = self.modules[self.layers.index(layer)]
        return head

    def feature_network(self) -> nn.Module:
        """Build the feature network as it was saved with the heads, with all `layers`.

        Raises:
            UserError: its weights are missing or do not fit.
        """
        network = create_features(self.network, self.layers, self.weights)
        if self.features is not None:
            load_into(network, self.features, self.path)
        return network


def load_heads(folder: Path, epoch: str = "latest") -> TrainedHeads:
    """Load the heads of a training with ``--learned_attn`` from its folder.

    Raises:
        UserError: there is no such checkpoint, or it holds no heads.
    """
    path = state_path(folder, epoch)
    state = load_state(folder, epoch)
    if state is None:
        raise UserError(f"--heads: there is no {path}; name a folder such as checkpoints/NAME of a training with "
                        "--learned_attn, and its --epoch")
    networks: dict[str, Any] = state.get("networks", {})
    options: dict[str, Any] = state.get("options", {})
    weights = [value for key, value in networks.get("F", {}).items() if key.endswith(".0.weight") and value.dim() == 4]
    if not weights or len(weights) != len(options.get("attn_layers", ())):
        raise UserError(f"--heads: {path} has no heads of LSeSim; use a checkpoint that was trained with "
                        "--learned_attn")
    loss = SpatialCorrelativeLoss(head_channels=[weight.shape[1] for weight in weights])
    load_into(loss, networks["F"], path)
    network = options.get("feature_net", VGG16)
    return TrainedHeads(
        path=path, layers=canonical_layers(network, options["attn_layers"]), network=network,
        weights=options["vgg_weights"], patch_size=options["patch_size"],
        modules=loss.heads.requires_grad_(False), features=networks.get("VGG"))
