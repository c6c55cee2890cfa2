"""VGG16 features for the programs: those of the package `spatial_correlative`, with errors for their users."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from spatial_correlative import vgg
from spatial_correlative.vgg import BUNDLED, IMAGENET_MEAN, IMAGENET_STD, IMAGENET_URL, LAYERS
from util.errors import UserError

from .frozen_vgg import features_beside

__all__ = ["BUNDLED", "IMAGENET_MEAN", "IMAGENET_STD", "IMAGENET_URL", "LAYERS", "VGG16Features", "layer_channels",
           "layer_index", "layer_strides", "read_weights"]


class VGG16Features(vgg.VGG16Features):
    """The same features; raises `UserError` in place of `ValueError`, and names the flags.

    Attributes:
        advice: what to do about images that do not fit.
    """

    advice = "change --crop_size, --load_size, --input_nc or --output_nc, or use no loss on VGG16 features"

    def __init__(self, layers: Sequence[str], weights: str = "bundled", *, frozen: bool = True) -> None:
        layer_channels(layers)  # errors of the layers are not errors of --vgg_weights
        with _for_users("--vgg_weights: "):
            super().__init__(layers, weights, frozen=frozen)

    def forward(
        self, images: Tensor, layers: Sequence[str] | None = None, beside: Tensor | None = None
    ) -> list[Tensor]:
        """Compute features as the class above does; with ``beside``, then those of further images of the same size.

        No gradient reaches these. The weights must be frozen, and ``layers`` left out.
        """
        if beside is None:
            return super().forward(images, layers)
        wanted = sorted({layer_index(layer) for layer in self.layers})
        self.check_images(images, wanted[-1])
        both = features_beside(images, beside, self, wanted)
        return [features[wanted.index(layer_index(layer))] for features in both for layer in self.layers]

    def check_images(self, images: Tensor, deepest: int) -> None:
        try:  # torch.compile does not take a context manager here
            super().check_images(images, deepest)
        except ValueError as error:
            raise UserError(f"{error}: {self.advice}") from error


def layer_index(layer: str) -> int:
    """Do as `spatial_correlative.vgg.layer_index`; raise `UserError`."""
    with _for_users():
        return vgg.layer_index(layer)


def layer_channels(layers: Sequence[str]) -> list[int]:
    """Do as `spatial_correlative.vgg.layer_channels`; raise `UserError`."""
    with _for_users():
        return vgg.layer_channels(layers)


def layer_strides(layers: Sequence[str]) -> list[int]:
    """Do as `spatial_correlative.vgg.layer_strides`; raise `UserError`."""
    with _for_users():
        return vgg.layer_strides(layers)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Do as `spatial_correlative.vgg.read_weights`; raise `UserError`."""
    with _for_users("--vgg_weights: "):
        return vgg.read_weights(path)


@contextmanager
def _for_users(prefix: str = "") -> Iterator[None]:
    """Raise a `UserError` in place of a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{prefix}{error}") from error
