"""Features of Inception-v3 as the FID uses them, through torch-fidelity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.network_weights import read_state, weights_file
from evaluation.pairing import read_image
from util.errors import UserError
from util.files import sha256
from util.images import levels

SIDE = 299
"""Pixels along the sides of what the network takes."""

FLAG = "--inception_weights"


class InceptionFeatures:
    """The 2048 outputs of the last pooling layer, which FID and KID are made of: image files -> [N, 2048].

    Args:
        weights: torch-fidelity's ``weights-inception-2015-12-05-6726825d.pth``; `None`: downloaded once.
        resize: a name of `RESIZERS`.
        device: where the network runs.
        batch_size: the most images in a batch; the features do not depend on it beyond rounding.

    Raises:
        UserError: torch-fidelity is not installed, or the weights cannot be had.
    """

    def __init__(self, weights: Path | None, resize: str, device: torch.device | str, batch_size: int) -> None:
        self._trunk, path, version = _load(weights)
        self._trunk.to(device)
        self._resize, self._device, self._batch_size = RESIZERS[resize], device, batch_size
        self.conditions: dict[str, Any] = {
            "inception_network": "torch-fidelity's Inception-v3 of 2015-12-05, 2048 features",
            "inception_resizing": resize,
            "inception_weights_sha256": sha256(path),
            "torch_fidelity_version": version,
        }

    @torch.no_grad()
    def __call__(self, paths: Iterable[Path]) -> Tensor:
        """Features of image files, float32 [N, 2048] on the CPU, in their order.

        Raises:
            UserError: a file that is no image.
        """
        images = (self._resize(levels(read_image(path))) for path in paths)
        features = []
        while batch := list(islice(images, self._batch_size)):
            centred = (torch.stack(batch).to(self._device) - 128) / 128
            features.append(self._trunk(centred).flatten(1).cpu())
        return torch.cat(features)


def resize_clean(image: Tensor) -> Tensor:
    """Antialiased, without rounding to 8 bits: Parmar et al. (2022), "On Aliased Resizing".

    Pillow's bicubic filter, channel by channel in floats, clipped to the range of levels: [3, H, W] -> [3, 299, 299].
    """
    channels = [np.asarray(Image.fromarray(channel.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
                for channel in image]
    return torch.from_numpy(np.stack(channels)).clamp(0, 255)


def resize_original(image: Tensor) -> Tensor:
    """TensorFlow 1's bilinear interpolation, which skips pixels where it shrinks: the FID of 2017.

    torch-fidelity's copy of it: [3, H, W] -> [3, 299, 299].
    """
    from torch_fidelity.interpolate_compat_tensorflow import (  # noqa: PLC0415 - optional
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(image[None], size=(SIDE, SIDE), align_corners=False)
    return resized[0]


RESIZERS: dict[str, Callable[[Tensor], Tensor]] = {"clean": resize_clean, "original": resize_original}
"""Levels [3, H, W] -> levels [3, 299, 299]."""


def _load(weights: Path | None) -> tuple[nn.Module, Path, str]:
    """The network up to its last pooling layer, the file of its weights, and torch-fidelity's version."""
    try:
        import torch_fidelity  # noqa: PLC0415 - only where these features are asked for
        from torch_fidelity import feature_extractor_inceptionv3 as inception  # noqa: PLC0415
    except ImportError:
        raise UserError("FID, KID and what else looks through Inception need torch-fidelity: pip install "
                        "torch-fidelity") from None
    path = weights_file(weights, inception.URL_INCEPTION_V3, FLAG)
    read_state(path, FLAG)  # as data alone: torch-fidelity, which reads it next, may run what it finds
    try:
        with torch.random.fork_rng(devices=[]):  # its layers are drawn at random before they are filled
            network = inception.FeatureExtractorInceptionV3("inception", ["2048"], str(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{FLAG}: {path} does not fit torch-fidelity's Inception-v3 ({reason}); use "
                        f"{Path(inception.URL_INCEPTION_V3).name}") from None
    # Its own forward resizes in its own way; its layers are registered in the order in which it calls them.
    layers = [layer for name, layer in network.named_children() if name != "fc"]
    return nn.Sequential(*layers).eval(), path, torch_fidelity.__version__
