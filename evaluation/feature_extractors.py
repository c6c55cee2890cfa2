"""Networks that map images to one feature vector each: VGG16, and Inception-v3 through torch-fidelity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from models.networks.vgg import VGG16Features, layer_index, layer_strides
from spatial_correlative.vgg import BUNDLED, IMAGENET_URL, LAYERS
from util.errors import UserError
from util.files import sha256
from util.picture_files import levels

from .network_weights import read_state, weights_file

SIDE = 299
"""Side of Inception's images, in pixels."""

FLAG = "--inception_weights"


class Extractor(Protocol):
    """Maps images [B, 3, H, W] in [-1, 1] to features, float32 [B, D] on the CPU."""

    conditions: dict[str, Any]
    """Settings that the features depend on, for the JSON file."""
    least: int
    """Smallest side of an image, in pixels."""

    def __call__(self, images: Tensor) -> Tensor: ...


class VGGExtractor:
    """Spatial means of a VGG16 feature map, without resizing.

    Args:
        layer, weights: see `VGG16Features`.
        device: of the network.

    Raises:
        UserError: an unknown layer, or missing weights.
    """

    def __init__(self, layer: str, weights: str, device: torch.device | str) -> None:
        self._network, self._device = VGG16Features([layer], weights).to(device), device
        self.least = layer_strides([layer])[0]
        self.conditions: dict[str, Any] = {
            "feature_network": "vgg16",
            "feature_layer": LAYERS[layer_index(layer)],
            "feature_pooling": "spatial mean",
            "resizing": "none",
            "vgg_weights": weights,
            "vgg_weights_sha256": weights_sha256(weights),
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        means: Tensor = self._network(images.to(self._device))[0].mean(dim=(-2, -1)).cpu()
        return means


def weights_sha256(weights: str) -> str | None:
    """Hash the file behind VGG16's ``weights``; None for ``random``. A network must have loaded ``imagenet`` before."""
    if weights == "random":
        return None
    if weights == "imagenet":
        path = Path(torch.hub.get_dir(), "checkpoints", Path(IMAGENET_URL).name)
    else:
        path = BUNDLED if weights == "bundled" else Path(weights)
    return sha256(path)


class InceptionExtractor:
    """The 2048 outputs of the last pooling layer, the features of FID and KID.

    Args:
        weights: torch-fidelity's ``weights-inception-2015-12-05-6726825d.pth``; None: downloaded once.
        resize: a name of `RESIZERS`.
        device: of the network.

    Raises:
        UserError: torch-fidelity is not installed, or the weights are missing or of another network.
    """

    least = 1

    def __init__(self, weights: Path | None, resize: str, device: torch.device | str) -> None:
        self._network, path, version = _load_inception(weights)
        self._network.to(device)
        self._resize, self._device = RESIZERS[resize], device
        self.conditions: dict[str, Any] = {
            "inception_network": "torch-fidelity's Inception-v3 of 2015-12-05, 2048 features",
            "inception_resizing": resize,
            "inception_weights_sha256": sha256(path),
            "torch_fidelity_version": version,
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        resized = torch.stack([self._resize(levels(image).cpu()) for image in images])
        features: Tensor = self._network((resized.to(self._device) - 128) / 128).flatten(1).cpu()
        return features


def resize_clean(image: Tensor) -> Tensor:
    """Resize with antialiasing and without rounding (Parmar et al., 2022): [3, H, W] -> [3, 299, 299].

    Pillow's bicubic filter on each channel in floats, clipped to the range of levels.
    """
    channels = [np.asarray(Image.fromarray(channel.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
                for channel in image]
    return torch.from_numpy(np.stack(channels)).clamp(0, 255)


def resize_original(image: Tensor) -> Tensor:
    """Resize by TensorFlow 1's bilinear interpolation, which skips pixels (FID of 2017): [3, H, W] -> [3, 299, 299]."""
    from torch_fidelity.interpolate_compat_tensorflow import (  # noqa: PLC0415 - optional
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(image[None], size=(SIDE, SIDE), align_corners=False)
    return resized[0]


RESIZERS: dict[str, Callable[[Tensor], Tensor]] = {"clean": resize_clean, "original": resize_original}
"""Map levels, 0 to 255, to levels."""


def _load_inception(weights: Path | None) -> tuple[nn.Module, Path, str]:
    """Load the network up to its last pooling layer; returns it, its weights' file, and torch-fidelity's version."""
    try:
        import torch_fidelity  # noqa: PLC0415 - optional
        from torch_fidelity import feature_extractor_inceptionv3 as inception  # noqa: PLC0415
    except ImportError:
        raise UserError("FID, KID and inception_prdc need torch-fidelity: pip install torch-fidelity") from None
    path = weights_file(weights, inception.URL_INCEPTION_V3, FLAG)
    read_state(path, FLAG)  # as data only: torch-fidelity reads it next, and would run code that it holds
    try:
        with torch.random.fork_rng(devices=[]):  # its layers are initialised before they are filled
            network = inception.FeatureExtractorInceptionV3("inception", ["2048"], str(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{FLAG}: {path} does not fit torch-fidelity's Inception-v3 ({reason}); use "
                        f"{Path(inception.URL_INCEPTION_V3).name}") from None
    # Its own forward resizes in its own way; its layers are registered in the order of their calls.
    layers = [layer for name, layer in network.named_children() if name != "fc"]
    return nn.Sequential(*layers).eval(), path, torch_fidelity.__version__
