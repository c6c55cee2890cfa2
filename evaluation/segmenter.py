"""Segmentation networks that a user names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spatial_correlative.vgg import IMAGENET_MEAN, IMAGENET_STD
from util.errors import UserError
from util.state_dicts import load_file, load_into


class Segmenter:
    """Labels each pixel of an image with its class.

    Args:
        name: a file of ``torch.export`` (.pt2) that maps images [1, 3, H, W] in [0, 1] to scores [1, ``classes``, h,
            w], or ``torchvision/NAME``, such as ``torchvision/deeplabv3_resnet50``. A .pt2 file is a program: it must
            come from people whom the user trusts.
        weights: for torchvision, a state dict of the network, for images normalised as ImageNet's.
        classes: number of classes.
        device: of the network.

    Raises:
        UserError: there is no such network or file, or the weights are of another network.
    """

    def __init__(self, name: str, weights: Path | None, classes: int, device: torch.device | str = "cpu") -> None:
        self.name, self.classes, self.device = name, classes, torch.device(device)
        module = _torchvision(name, weights, classes) if name.startswith("torchvision/") else _exported(name)
        self._module = module.to(self.device)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Label an image [3, H, W] in [-1, 1] by the highest score, after bilinear resizing to the image: [H, W].

        Raises:
            UserError: the network does not take the image, or its output has another shape.
        """
        try:
            scores: Any = self._module((image[None].to(self.device) + 1) / 2)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"--network {self.name} does not take images of {image.shape[1]}x{image.shape[2]} pixels "
                            f"({reason}); give --images of a size that it takes") from error
        scores = scores["out"] if isinstance(scores, dict) and "out" in scores else scores
        if not isinstance(scores, Tensor) or scores.dim() != 4 or scores.shape[:2] != (1, self.classes):
            got = f"a tensor {list(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise UserError(f"--network {self.name} gives {got} instead of scores [1, {self.classes}, h, w]; wrap it "
                            "so that it does")
        scores = F.interpolate(scores.float(), image.shape[1:], mode="bilinear", align_corners=False)
        labels: Tensor = scores[0].argmax(dim=0)
        return labels.cpu()


def _torchvision(network: str, weights: Path | None, classes: int) -> nn.Module:
    from torchvision import models, transforms  # noqa: PLC0415 - only if asked for

    name = network.partition("/")[2]
    known = models.list_models(module=models.segmentation)
    if name not in known:
        raise UserError(f"--network: torchvision has no segmentation network '{name}'; use one of {', '.join(known)}")
    if weights is None:
        raise UserError(f"--network {network} needs --network_weights, a state dict with the {classes} classes: "
                        "torchvision's own weights know other classes")
    state = load_file(weights)
    auxiliary = {"aux_loss": True} if any(key.startswith("aux_classifier.") for key in state) else {}
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=classes, **auxiliary)
    load_into(module, state, weights)
    return nn.Sequential(transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD), module).eval()


def _exported(network: str) -> nn.Module:
    path = Path(network)
    if not path.is_file():
        raise UserError(f"--network: '{network}' is neither torchvision/NAME nor a file of torch.export")
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # its tracebacks repeat the message below
    try:
        return torch.export.load(path).module()
    except Exception as error:  # the reader raises many kinds
        raise UserError(f"--network: '{path}' cannot be read as a network ({type(error).__name__}): use a .pt2 file of "
                        "torch.export.save") from error
