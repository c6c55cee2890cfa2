"""Segmentation networks that a user names: images to train ids."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.label_maps import CLASSES
from util.errors import UserError
from util.state_dicts import load_file, load_into


class Segmenter:
    """The class of each pixel, by a network that gives a score for each of the 19 classes.

    Args:
        network: a file of ``torch.export`` (.pt2), which takes images [1, 3, H, W] in [0, 1] to scores
            [1, 19, h, w]; or ``torchvision/NAME``, such as ``torchvision/deeplabv3_resnet50``.
            Such a file is a program: it is to be run from people that one trusts alone.
        weights: for torchvision, a state dict of that network with 19 classes. Its images are normalised as ImageNet's.
        device: where it runs.

    Raises:
        UserError: no such network or file, or weights of another one.
    """

    def __init__(self, network: str, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        self.name, self.device = network, torch.device(device)
        self.module = _torchvision(network, weights) if network.startswith("torchvision/") else _file(network)
        self.module.to(self.device)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Train ids [H, W] of an image [3, H, W] in [-1, 1]: the highest scores, enlarged bilinearly before.

        Raises:
            UserError: the network does not take the image, or gives no scores of 19 classes.
        """
        try:
            scores: Any = self.module((image[None].to(self.device) + 1) / 2)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"--network {self.name} does not take images of {image.shape[1]}x{image.shape[2]} pixels "
                            f"({reason}); give --images of a size that it takes") from error
        scores = scores["out"] if isinstance(scores, dict) and "out" in scores else scores
        if not isinstance(scores, Tensor) or scores.dim() != 4 or scores.shape[:2] != (1, len(CLASSES)):
            got = f"a tensor {list(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise UserError(f"--network {self.name} gives {got} instead of scores [1, {len(CLASSES)}, h, w]; wrap it "
                            "so that it does")
        scores = F.interpolate(scores.float(), image.shape[1:], mode="bilinear", align_corners=False)
        classes: Tensor = scores[0].argmax(dim=0)
        return classes.cpu()


class _Normalized(nn.Module):
    """A network of torchvision behind the normalisation that it was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Any:
        return self.network((images - self.mean) / self.std)


def _torchvision(network: str, weights: Path | None) -> nn.Module:
    from torchvision import models  # noqa: PLC0415 - only where asked for

    name = network.partition("/")[2]
    known = models.list_models(module=models.segmentation)
    if name not in known:
        raise UserError(f"--network: torchvision has no segmentation network '{name}'; use one of {', '.join(known)}")
    if weights is None:
        raise UserError(f"--network {network} needs --network_weights, a state dict with the {len(CLASSES)} classes of "
                        "Cityscapes: torchvision's own weights know other classes")
    state = load_file(weights)
    auxiliary = {"aux_loss": True} if any(key.startswith("aux_classifier.") for key in state) else {}
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=len(CLASSES), **auxiliary)
    load_into(module, state, weights)
    return _Normalized(module).eval()


def _file(network: str) -> nn.Module:
    path = Path(network)
    if not path.is_file():
        raise UserError(f"--network: '{network}' is neither torchvision/NAME nor a file of torch.export")
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # tracebacks of what the sentence below says
    try:
        return torch.export.load(path).module()
    except Exception as error:  # the reader raises many kinds
        raise UserError(f"--network: '{path}' cannot be read as a network ({type(error).__name__}): use a .pt2 file of "
                        "torch.export.save") from error
