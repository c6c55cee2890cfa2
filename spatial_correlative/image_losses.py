"""FSeSim and LSeSim of images: a feature network and the loss on its features in one module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .loss import Mode, SpatialCorrelativeLoss
from .vgg import VGG16Features

PAPER_LAYERS = ("relu3_1", "relu4_1")


class FSeSim(nn.Module):
    """Structure distance between images and their translations, in fixed features.

    Args:
        features: frozen network that maps images to a list of features [B, C, h, w], one for each layer. None: bundled
            VGG16, relu3_1 and relu4_1. For other layers or weights, give a `VGG16Features`.
        patch_count, patch_size, mode, normalize: see `SpatialCorrelativeLoss`.

    Example:
        >>> structure = FSeSim()
        >>> photo, painting = torch.rand(2, 1, 3, 64, 64) * 2 - 1
        >>> structure(photo, painting.requires_grad_()).backward()
    """

    def __init__(
        self, features: nn.Module | None = None, *, patch_count: int | None = 256, patch_size: int = 64,
        mode: Mode = "cos", normalize: bool = False,
    ) -> None:
        super().__init__()
        self.features = VGG16Features(PAPER_LAYERS) if features is None else features
        self.loss = SpatialCorrelativeLoss(
            patch_count=patch_count, patch_size=patch_size, mode=mode, normalize=normalize)

    def forward(self, source: Tensor, target: Tensor, positions: Sequence[Tensor | None] | None = None) -> Tensor:
        """Compute the structure distance, a scalar. Gradients reach the images that require them.

        Args:
            source, target: images [B, 3, H, W] in [-1, 1], and their translations of the same size.
            positions: see `SpatialCorrelativeLoss.forward`.

        Raises:
            ValueError: images that are not [B, C, H, W] or differ in batch, height or width, or that the feature
                network does not take.
        """
        _require_images(source=source, target=target)
        distance: Tensor = self.loss(self.features(source), self.features(target), positions)
        return distance


class LSeSim(nn.Module):
    """Structure distance between images and their translations, in features that pass through learned heads.

    Before each step of the generator, minimise `contrast` with an optimizer of ``heads.parameters()``.

    Args:
        features: see `FSeSim`.
        channels: number of channels of each layer. None: ``features.channels``, which `VGG16Features` has.
        patch_count, patch_size, mode, normalize, temperature: see `SpatialCorrelativeLoss`.

    Raises:
        ValueError: ``channels`` is missing for a network without the attribute ``channels``.
    """

    def __init__(
        self, features: nn.Module | None = None, *, channels: Sequence[int] | None = None,
        patch_count: int | None = 256, patch_size: int = 32, mode: Mode = "cos", normalize: bool = False,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.features = VGG16Features(PAPER_LAYERS) if features is None else features
        channels = getattr(self.features, "channels", None) if channels is None else channels
        if not channels:
            raise ValueError("LSeSim needs channels, the number of channels of each layer of the feature network")
        self.loss = SpatialCorrelativeLoss(
            patch_count=patch_count, patch_size=patch_size, mode=mode, normalize=normalize, temperature=temperature,
            head_channels=channels)
        for name, parameter in self.heads.named_parameters():  # as published
            nn.init.normal_(parameter, 0.0, 0.0 if name.endswith("bias") else 0.02)

    @property
    def heads(self) -> nn.ModuleList:
        """The learned convolutions, one head for each layer."""
        return self.loss.heads

    def forward(self, source: Tensor, target: Tensor, positions: Sequence[Tensor | None] | None = None) -> Tensor:
        """Compute the structure distance, as `FSeSim.forward` does. No gradient reaches the heads."""
        _require_images(source=source, target=target)
        frozen = {name: parameter.detach() for name, parameter in self.loss.named_parameters()}
        distance: Tensor = torch.func.functional_call(
            self.loss, frozen, (self.features(source), self.features(target), positions))
        return distance

    def contrast(
        self, source: Tensor, positive: Tensor, other: Tensor, positions: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Compute the contrastive loss of the heads, a scalar. No gradient reaches the images.

        Args:
            source: images [B, 3, H, W] in [-1, 1].
            positive: the same scenes: copies of ``source`` with jittered colours, or their translations.
            other: other scenes of the target domain.
            positions: see `SpatialCorrelativeLoss.forward`.

        Raises:
            ValueError: as `FSeSim.forward`.
        """
        _require_images(source=source, positive=positive, other=other)
        with torch.no_grad():
            layers = self.features(source), self.features(positive), self.features(other)
        return self.loss.contrast(*layers, positions=positions)


def _require_images(**images: Tensor) -> None:
    """Refuse images that are not [B, C, H, W] or differ in B, H or W; errors name them by their keywords."""
    for name, batch in images.items():
        if batch.dim() != 4:
            raise ValueError(f"{name} must be images [B, C, H, W], not of shape {list(batch.shape)}")
    sizes = {name: [len(batch), *batch.shape[2:]] for name, batch in images.items()}
    if any(size != next(iter(sizes.values())) for size in sizes.values()):
        raise ValueError("the images must agree in batch, height and width, but [B, H, W] is "
                         f"{', '.join(f'{size} in {name}' for name, size in sizes.items())}")
