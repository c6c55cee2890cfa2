"""History of translations for the discriminator (Shrivastava et al. 2017, section 2.3)."""

from collections.abc import Mapping
from typing import Any

import torch
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


def finite_copy(image: Tensor) -> Tensor:
    """A copy without NaN and infinities: one image that is not finite would spoil the steps that it is drawn for."""
    return image.nan_to_num(0.0, 1.0, -1.0)
