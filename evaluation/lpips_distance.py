"""LPIPS, the learned perceptual distance of Zhang et al. (2018), through its authors' package."""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spatial_correlative.vgg import IMAGENET_URL
from util.errors import UserError
from util.files import sha256

from .network_weights import read_state, weights_file

FLAG = "--lpips_weights"

TRUNKS = {
    "alex": ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", 31),
    "vgg": (IMAGENET_URL, 16),
}
"""Torchvision's weights and the smallest side of an image, by the package's name of the network."""


class LPIPSDistance:
    """LPIPS 0.1 of images [N, 3, H, W] in [-1, 1] and their truths: [N], 0 for equal images, rarely above 1.

    The package brings its learned weights of channels; the network's own are torchvision's.

    Args:
        net: a name of `TRUNKS`.
        weights: the network's state dict as torchvision publishes it; None: downloaded once.
        device: of the network.

    Raises:
        UserError: the package is not installed, or the weights are missing or of another network.
    """

    def __init__(self, net: str, weights: Path | None, device: torch.device | str) -> None:
        try:
            import lpips  # noqa: PLC0415 - optional
        except ImportError:
            raise UserError("LPIPS needs the package lpips: pip install lpips") from None
        url, self.least = TRUNKS[net]
        path = weights_file(weights, url, FLAG)
        state = read_state(path, FLAG)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore", UserWarning)  # it calls torchvision by deprecated names
            self._network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        for name, parameter in self._network.net.named_parameters():
            key = f"features.{name.partition('.')[2]}"  # its slice2.3.weight is torchvision's features.3.weight
            if key not in state or state[key].shape != parameter.shape:
                raise UserError(f"{FLAG}: {path} has no '{key}' of shape {tuple(parameter.shape)}; use torchvision's "
                                f"{Path(url).name}, which --lpips_net {net} needs")
            parameter.data.copy_(state[key])
        self._network.to(device).eval()
        self._device = device
        self.conditions: dict[str, Any] = {
            "lpips_network": net, "lpips_weights_sha256": sha256(path), "lpips_version": version("lpips"),
        }

    @torch.no_grad()
    def __call__(self, images: Tensor, truths: Tensor) -> Tensor:
        distances: Tensor = self._network(images.to(self._device), truths.to(self._device))
        return distances.cpu().flatten()
