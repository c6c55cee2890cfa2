"""Images of earlier steps: translations for the discriminator (Shrivastava et al. 2017, section 2.3), and inputs."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .networks.blocks import is_channels_last


class ImagePool:
    """Keeps up to ``size`` past images; a query exchanges about half of its images for older ones of their size.

    A full pool of images of one size is one tensor. A query draws places in it on the device of the images, and changes
    it in place without waiting for the device, so that a CUDA graph can repeat the query. Images stay channels last.

    Attributes:
        images: the stored images, [C, H, W] each.
        rows: [size + 1, C, H, W]: the stored images of a full pool, and the image of the query; None while the pool is
            not full or its images differ in size.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []
        self.rows: Tensor | None = None

    @property
    def steady(self) -> bool:
        """Check whether the next query of images of the same shape takes the same operations as the last one."""
        return not self.size or self.rows is not None

    def query(self, images: Tensor) -> Tensor:
        """Return images of the same shape [B, C, H, W], without gradient: each the given one or an older one."""
        images = images.detach()
        if not self.size:
            return images
        rows = self._rows_for(images)
        if rows is None:
            return torch.stack([self._exchange(image) for image in images], out=torch.empty_like(images))
        places = torch.randint(2 * self.size, (len(images),), device=images.device).clamp(max=self.size)
        return torch.cat([_exchange_row(rows, image, finite, place) for image, finite, place in zip(
            images.split(1), finite_copy(images).split(1), places.split(1), strict=True)])

    def _rows_for(self, images: Tensor) -> Tensor | None:
        """Return the pool as one tensor on the device of ``images``, if it is full and all images have one size."""
        if self.rows is not None and self.rows.shape[1:] == images.shape[1:]:
            return self.rows
        self.rows = None
        if len(self.images) == self.size and all(image.shape == images.shape[1:] for image in self.images):
            rows = torch.stack([image.to(images.device) for image in (*self.images, images[0])])
            self.rows = rows.contiguous(memory_format=torch.channels_last) if is_channels_last(images) else rows
            self.images = list(self.rows[:-1])
        return self.rows

    def _exchange(self, image: Tensor) -> Tensor:
        """Fill the pool, or exchange an image [C, H, W] in a pool of images that differ in size."""
        if len(self.images) < self.size:
            self.images.append(finite_copy(image))
        elif (place := int(torch.randint(2 * self.size, ()).item())) < self.size:
            older, self.images[place] = self.images[place], finite_copy(image)
            if older.shape == image.shape:  # in training without a crop sizes change from batch to batch
                return older.to(image.device)  # a resumed run's stored images are on the CPU
        return image

    def state_dict(self) -> dict[str, Any]:
        """Copy the stored images to the CPU."""
        return {"images": [image.to("cpu", copy=True) for image in self.images]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over stored images, as far as the pool has room."""
        self.images, self.rows = list(state["images"])[: self.size], None


def _exchange_row(rows: Tensor, image: Tensor, finite: Tensor, place: Tensor) -> Tensor:
    """Put ``finite``, the `finite_copy` of ``image`` [1, C, H, W], at ``place`` [1] of ``rows``.

    Return the row before: of the last row, ``image``.
    """
    rows[-1:] = image
    older = rows[place]  # unlike index_select it keeps channels last
    rows.index_copy_(0, place, finite)
    return older


class PreviousImages:
    """Keeps the images of the step before, as other samples of the domain.

    Attributes:
        rows: [N, C, H, W]: the images, which the next call changes in place; None before the first call.
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None

    @property
    def steady(self) -> bool:
        """Check whether the next query of images of the same shape takes the same operations as the last one."""
        return self.rows is not None

    def swap(self, images: Tensor) -> Tensor:
        """Keep images [B, C, H, W]; return earlier ones, of the same number and size.

        At the first call, these are the images, flipped in both axes. Fewer images than before replace only the first.
        """
        kept, count = finite_copy(images), len(images)
        if self.rows is None:
            self.rows = kept
            return images.flip(2, 3)
        self.rows = self.rows.to(images.device)  # a resumed run's stored images are on the CPU
        if count <= len(self.rows) and images.shape[1:] == self.rows.shape[1:]:
            older = self.rows[:count].clone()
            self.rows[:count] = kept
            return older
        # in training without a crop sizes change from batch to batch
        older = torch.cat([fitted(self.rows[number % len(self.rows)], images) for number in range(count)])
        self.rows = kept
        return older

    def state_dict(self) -> dict[str, Any]:
        """Copy the stored images to the CPU."""
        return {"images": [] if self.rows is None else [row.to("cpu", copy=True) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over stored images."""
        self.rows = torch.stack(images) if (images := list(state["images"])) else None


def fitted(image: Tensor, images: Tensor) -> Tensor:
    """Scale an image [C, H, W] to the size of others: [1, C, H', W']."""
    if image.shape[1:] == images.shape[2:]:
        return image[None]
    return F.interpolate(image[None], images.shape[2:], mode="bilinear", antialias=True)


def finite_copy(image: Tensor) -> Tensor:
    """Copy without NaN and infinities: one image that is not finite would spoil the steps that it is drawn for."""
    return image.nan_to_num(0.0, 1.0, -1.0)
