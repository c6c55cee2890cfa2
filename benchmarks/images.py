"""Images that every machine can make."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_images(count: int, size: int) -> Tensor:
    """Smooth random colours with some texture: [count, 3, size, size] in [-1, 1], the same at each call."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(count, 3, size, size)
    for cells, contrast in ((8, 1.0), (64, 0.3)):
        noise = contrast * (2 * torch.rand(count, 3, cells, cells, generator=generator) - 1)
        images += F.interpolate(noise, (size, size), mode="bicubic")
    return images.clamp(-1, 1)


def jittered(images: Tensor) -> Tensor:
    """Return the same scenes in other colours: channels exchanged and faded, still in [-1, 1]."""
    return 0.7 * images.flip(1) + 0.2
