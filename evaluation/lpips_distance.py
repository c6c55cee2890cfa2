"""LPIPS, the learned perceptual distance of Zhang et al. (2018), through the package of its authors."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.network_weights import read_state, weights_file
from evaluation.pairing import Unsuited
from models.networks.vgg import IMAGENET_URL
from util.errors import UserError
from util.files import sha256

FLAG = "--lpips_weights"

TRUNKS = {
    "alex": ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", 31),
    "vgg": (IMAGENET_URL, 16),
}
"""By the package's name of each network: its ImageNet weights of torchvision, and the least side of an image."""


class PerceptualDistance:
    """LPIPS 0.1 of images [..., 3, H, W] in [-1, 1]: 0 for the same image, rarely above 1.

    The package brings its learned weights of channels; the network's own are torchvision's.

    Args:
        net: a name of `TRUNKS`.
        weights: the network's state dict as torchvision publishes it; `None`: downloaded once.
        device: where the network runs.

    Raises:
        UserError: the package lpips is not installed, or the weights cannot be had.
    """

    def __init__(self, net: str, weights: Path | None, device: torch.device | str) -> None:
        try:
            import lpips  # noqa: PLC0415 - only where it is asked for
        except ImportError:
            raise UserError("LPIPS needs the package lpips: pip install lpips") from None
        url, self._least = TRUNKS[net]
        path = weights_file(weights, url, FLAG)
        state = read_state(path, FLAG)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore", UserWarning)  # it calls torchvision by names of old
            self._network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        for name, parameter in self._network.net.named_parameters():
            # Its slice2.3.weight is torchvision's features.3.weight.
            key = f"features.{name.partition('.')[2]}"
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
    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        """The distance of each image from its truth: [...], of one shape.

        Raises:
            Unsuited: the images are too small.
        """
        if min(image.shape[-2:]) < self._least:
            raise Unsuited(f"LPIPS needs images of {self._least}x{self._least} pixels")
        flat = [images.reshape(-1, *images.shape[-3:]).to(self._device) for images in (image, truth)]
        distances: Tensor = self._network(*flat)
        return distances.cpu().reshape(image.shape[:-3])
