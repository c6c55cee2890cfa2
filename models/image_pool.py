"""Images of earlier steps: translations for the discriminator (Shrivastava et al. 2017, section 2.3), and inputs."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class ImagePool:
    """Keeps up to ``size`` past images; half of the images asked for are swapped against older ones of their size.

    Random choices come from torch's global CPU generator, which a resumed run restores.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Return images of the same shape [B, C, H, W], without gradient: each the given one or an older one."""
        images = images.detach()
        return torch.stack([self._exchange(image) for image in images]) if self.size else images

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(finite_copy(image))
            return image
        if torch.rand(()).item() < 0.5:
            index = int(torch.randint(self.size, ()).item())
            older, self.images[index] = self.images[index], finite_copy(image)
            if older.shape == image.shape:  # in training without a crop sizes change from batch to batch
                return older.to(image.device)  # a resumed run's stored images are on the CPU
        return image

    def state_dict(self) -> dict[str, Any]:
        """The stored images, on the CPU: of several processes, one collects them all."""
        return {"images": [image.cpu() for image in self.images]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over stored images, as far as the pool has room."""
        self.images = list(state["images"])[: self.size]


class PreviousImages:
    """Keeps the images of the step before, as other samples of the domain."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def swap(self, images: Tensor) -> Tensor:
        """Keep images [B, C, H, W]; return those of the call before, of the same number and size.

        At the first call, these are the images, flipped in both axes.
        """
        older, self.images = self.images, [finite_copy(image) for image in images]
        if not older:
            return images.flip(2, 3)
        # in training without a crop sizes change from batch to batch; a resumed run's stored images are on the CPU
        return torch.cat([fitted(older[number % len(older)].to(images), images) for number in range(len(images))])

    def state_dict(self) -> dict[str, Any]:
        """The stored images, on the CPU."""
        return {"images": [image.cpu() for image in self.images]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over stored images."""
        self.images = list(state["images"])


def fitted(image: Tensor, images: Tensor) -> Tensor:
    """Scale an image [C, H, W] to the size of others: [1, C, H', W']."""
    if image.shape[1:] == images.shape[2:]:
        return image[None]
    return F.interpolate(image[None], images.shape[2:], mode="bilinear", antialias=True)


def finite_copy(image: Tensor) -> Tensor:
    """A copy without NaN and infinities: one image that is not finite would spoil the steps that it is drawn for."""
    return image.nan_to_num(0.0, 1.0, -1.0)
