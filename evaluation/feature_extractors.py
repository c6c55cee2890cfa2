"""Features of image files in a fixed network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.pairing import read_image
from models.networks.vgg import BUNDLED, IMAGENET_URL, LAYERS, VGG16Features, layer_index, layer_strides
from util.errors import UserError
from util.files import sha256


class VGGFeatures:
    """Spatial means of VGG16 feature maps, each image at its own size and none resized: image files -> [N, C].

    Args:
        layer: name or index of the layer, as `VGG16Features` takes it.
        weights: as `VGG16Features` takes them.
        device: where the network runs.
        batch_size: the most images in a batch; the features do not depend on it beyond rounding.

    Raises:
        UserError: an unknown layer, or missing weights.
    """

    def __init__(
        self, layer: str = "relu4_3", weights: str = "bundled", device: torch.device | str = "cpu",
        batch_size: int = 16,
    ) -> None:
        self._network = VGG16Features([layer], weights).to(device)
        self._least, self.device, self._batch_size = layer_strides([layer])[0], device, batch_size
        self.conditions: dict[str, Any] = {
            "feature_network": "vgg16",
            "feature_layer": LAYERS[layer_index(layer)],
            "feature_pooling": "spatial mean",
            "resizing": "none",
            "vgg_weights": weights,
            "vgg_weights_sha256": weights_sha256(weights),
        }

    def __call__(self, paths: Iterable[Path]) -> Tensor:
        """Features of image files, float32 [N, C] on the CPU, in their order; neighbours of one size share a batch.

        Raises:
            UserError: a file that is no image, or one too small for the layer.
        """
        return torch.cat([self.of(batch) for batch in _batches(paths, self._batch_size, self._least)])

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Features of images [B, 3, H, W] in [-1, 1]: float32 [B, C] on the CPU."""
        means: Tensor = self._network(images.to(self.device))[0].mean(dim=(-2, -1)).cpu()
        return means


def weights_sha256(weights: str) -> str | None:
    """SHA-256 of the file behind ``weights`` (hexadecimal), `None` for ``random``, which has no file.

    Call it once the network has been built: the file of ``imagenet`` lies in torch's cache from then on.
    """
    if weights == "random":
        return None
    if weights == "imagenet":
        path = Path(torch.hub.get_dir(), "checkpoints", Path(IMAGENET_URL).name)
    else:
        path = BUNDLED if weights == "bundled" else Path(weights)
    return sha256(path)


def _batches(paths: Iterable[Path], batch_size: int, least: int) -> Iterator[Tensor]:
    """Images as [B, 3, H, W], in order, no side below ``least``; a batch ends where the size changes."""
    batch: list[Tensor] = []
    for path in paths:
        image = read_image(path)
        if min(image.shape[1:]) < least:
            raise UserError(f"'{path}' is too small for this --layer, which needs {least}x{least} pixels; "
                            "choose an earlier layer or larger images")
        if batch and (len(batch) == batch_size or batch[0].shape != image.shape):
            yield torch.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield torch.stack(batch)
