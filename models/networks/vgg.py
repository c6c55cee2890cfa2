"""VGG16 features for the programs: those of the package `spatial_correlative`, with errors for their users."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from spatial_correlative import vgg
from util.errors import UserError

from .frozen_vgg import features_beside


@contextmanager
def _for_users(prefix: str = "") -> Iterator[None]:
    """Raise a `UserError` in place of a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{prefix}{error}") from error


layer_index = _for_users()(vgg.layer_index)
layer_channels = _for_users()(vgg.layer_channels)
layer_strides = _for_users()(vgg.layer_strides)
read_weights = _for_users("--vgg_weights: ")(vgg.read_weights)


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
