"""Features that LSeSim's heads learn from in ``experiments.head_settings``."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from data.jitter import jitter, merge, plan_jitter
from evaluation.pairing import partners
from inference import load
from models.networks.vgg import VGG16Features
from models.structure import negative
from util.image_folders import find_images
from util.images import load_normalized

COPIES = 4  # jittered or recoloured, of each sheet


def recolour(image: Tensor, generator: torch.Generator) -> Tensor:
    """Give an image [3, H, W] in [-1, 1] other colours: mix its channels at random, and in half of the cases bend them.

    The curve of each channel goes through six random values. Regions of one colour stay regions of one colour.
    """
    mixed = (torch.randn(3, 3, generator=generator) @ image.flatten(1)).view_as(image)
    mixed = (mixed - mixed.mean(dim=(1, 2), keepdim=True)) / (mixed.std(dim=(1, 2), keepdim=True) + 0.05)
    knots = torch.randn(3, 6, generator=generator)
    at = (mixed.clamp(-2, 2) + 2) / 4 * 4.999
    left = at.floor().long()
    rows = torch.arange(3)[:, None, None]
    bent = torch.lerp(knots[rows, left], knots[rows, left + 1], at - left)
    values = mixed if torch.rand((), generator=generator) < 0.5 else bent
    contrast = 0.3 + 0.5 * torch.rand((), generator=generator)
    return torch.tanh(values * contrast + 0.3 * torch.randn(3, 1, 1, generator=generator))


def jittered(image: Tensor, generator: torch.Generator) -> Tensor:
    """Jitter the colours of an image [3, H, W] in [-1, 1], as in training."""
    return 2 * jitter((image[None] + 1) / 2, *merge([plan_jitter(generator)]))[0] - 1


class Features:
    """Features of the images of ``datasets/atlas2satellite``, [N, C, h, w] in half precision, computed when needed."""

    def __init__(self, root: Path, limit: int | None) -> None:
        self.root, self.limit = root, limit
        self.network = VGG16Features(("relu3_1",)).eval()

    @torch.no_grad()
    def of(self, images: Sequence[Tensor]) -> Tensor:
        """Compute the features of images [3, H, W]."""
        return torch.cat([self.network(image[None])[0].half() for image in images])

    def images(self, folder: str) -> list[Tensor]:
        """Read a folder."""
        return [load_normalized(path, 3) for path in find_images(self.root / folder, "--dataroot")[:self.limit]]

    @cached_property
    def others(self) -> Tensor:
        """Return photographs upside down: other scenes, as in training."""
        return self.of([negative(image[None], like=image[None])[0] for image in self.images("trainB")])

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test pairs."""
        return self.of(self.images("testA")), self.of(self.images("testB"))

    @cached_property
    def jitter(self) -> tuple[Tensor, ...]:
        """Return sheets, and copies of them in jittered colours, as in training."""
        generator, sheets = torch.Generator().manual_seed(0), self.images("trainA")
        return self.of(sheets), *(self.of([jittered(sheet, generator) for sheet in sheets]) for _ in range(COPIES))

    @cached_property
    def recoloured(self) -> tuple[Tensor, ...]:
        """Return sheets, and copies of them in other colours."""
        generator, sheets = torch.Generator().manual_seed(5), self.images("trainA")
        return self.of(sheets), *(self.of([recolour(sheet, generator) for sheet in sheets]) for _ in range(COPIES))

    @cached_property
    def translated(self) -> tuple[Tensor, ...]:
        """Return sheets, and their translations by a generator that FSeSim has trained."""
        translator, sheets = load("atlas2satellite", device="-1"), self.images("trainA")
        return self.of(sheets), self.of([translator(sheet) for sheet in sheets])

    @cached_property
    def true(self) -> tuple[Tensor, ...]:
        """Return training photographs behind the sheets of the same places, which no unpaired training has."""
        photographs = find_images(self.root / "trainB", "--dataroot")[:self.limit]
        sheets = partners(photographs, self.root / "trainB", self.root / "judgeA", "--dataroot")
        return tuple(self.of([load_normalized(path, 3) for path in paths]) for paths in (sheets, photographs))
