"""One plain folder of images, or one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from options import DataFlags, Options
from util.image_folders import pages_of

from .base import Domain, ImageDataset, Reading, mask_entry, raw_entries
from .sampler import SampleKey
from .transforms import plan_crop, size_of


class SingleDataset(ImageDataset):
    """The images in --dataroot, or the file that it names; of --direction only the range depends.

    A finished sample: ``A`` [C, H, W] float32 in [-1, 1] with --input_nc channels, ``A_paths``.
    """

    takes_masks = True

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        flags = options[DataFlags]
        root = Path(flags.dataroot)
        if root.is_file():
            self.paths: Sequence[Path] = pages_of(root)[:flags.max_dataset_size] if self.pages == "all" else [root]
        else:
            self.paths = self.find(root, flags.max_dataset_size)
        self.root = root.parent if root.is_file() else root
        self.reading_of_files, _ = Reading.of(flags)
        self.domains = [Domain(root.name, self.paths, self.reading_of_files)]
        self.items = len(self.paths)
        self.find_masks(options, self.paths)

    def files(self, item: int) -> Sequence[Path]:
        return [self.paths[item]]

    def decode(self, item: int) -> Sequence[Tensor]:
        return [self.reading_of_files.load(self.paths[item])]

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        item, (image, *mask) = self.load(key.index)
        crop = plan_crop(size_of(image), self.policy, key.generator())
        return raw_entries("A", self.paths[item], image, crop) | mask_entry(mask, crop)
