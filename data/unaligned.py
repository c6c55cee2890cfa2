"""Two folders of images without pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from options import DataFlags, Options
from util.errors import UserError
from util.shards import is_folder

from .base import Domain, Reading, TwoDomainDataset, mask_entry, raw_entries
from .flags import AugmentFlags
from .sampler import SampleKey
from .transforms import plan_crop, size_of


class UnalignedDataset(TwoDomainDataset):
    """``{phase}A`` and ``{phase}B`` in --dataroot.

    ``A`` is the image to translate, ``B`` an image of the target domain: --direction BtoA exchanges the folders. In
    training A comes by index and B at random (with --serial_batches by index), and the longer folder sets the length
    of an epoch. In testing each A comes once, without B.

    A finished sample: ``A``, ``B`` [C, H, W] float32 in [-1, 1] with --input_nc and --output_nc channels;
    ``A_paths``, ``B_paths``; with --augment ``A_aug``, ``B_aug``.
    """

    takes_masks = True

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        flags = options[DataFlags]
        source, target = ("A", "B") if flags.direction == "AtoB" else ("B", "A")
        folder_a, folder_b = (Path(flags.dataroot, flags.phase + domain) for domain in (source, target))
        folders = (folder_a, folder_b) if training else (folder_a,)
        for folder in folders:
            if not is_folder(folder):
                raise UserError(
                    f"--dataroot: there is no folder {folder}, which --dataset_mode {flags.dataset_mode} needs;"
                    + (" datasets/from_folder.py makes them of two folders of images" if training else
                       " for a plain folder or one file use --dataset_mode single")
                )
        self.paths_a, *paths_b = (self.find(folder, flags.max_dataset_size) for folder in folders)
        self.paths_b = paths_b[0] if training else []
        self.items, self.root = len(self.paths_a) + len(self.paths_b), folder_a
        self.of_a, self.of_b = Reading.of(flags)
        self.domains = [Domain(folder.name, paths, reading) for folder, paths, reading in
                        zip(folders, (self.paths_a, self.paths_b), (self.of_a, self.of_b), strict=False)]
        self.serial = flags.serial_batches
        self.augment = training and options[AugmentFlags].augment
        self.find_masks(options, self.paths_a)

    def __len__(self) -> int:
        return max(len(self.paths_a), len(self.paths_b))

    def files(self, item: int) -> Sequence[Path]:
        """Return the item's file; items of A come first."""
        first = len(self.paths_a)
        return [self.paths_a[item] if item < first else self.paths_b[item - first]]

    def group(self, item: int) -> range:
        """Return the items of the same domain."""
        first = len(self.paths_a)
        return range(first) if item < first else range(first, self.items)

    def decode(self, item: int) -> Sequence[Tensor]:
        reading = self.of_a if item < len(self.paths_a) else self.of_b
        return [reading.load(file) for file in self.files(item)]

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        generator = key.generator()
        # Always drawn, and before the jitter, so that neither flag changes the crops.
        drawn = int(torch.randint(2**31, (), generator=generator))
        items = [key.index % len(self.paths_a)]
        if self.paths_b:
            items.append(len(self.paths_a) + (key.index if self.serial else drawn) % len(self.paths_b))
        loaded = [self.load(item) for item in items]
        crops = [plan_crop(size_of(image), self.policy, generator) for _, (image, *_) in loaded]
        sample: dict[str, Any] = {}
        for name, (item, (image, *_)), crop in zip("AB", loaded, crops, strict=False):
            (file,) = self.files(item)
            sample |= raw_entries(name, file, image, crop, generator if self.augment else None)
        (_, (_, *mask)), *_ = loaded
        return sample | mask_entry(mask, crops[0])
