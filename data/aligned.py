"""Pairs of images of the same scene, aligned pixel by pixel."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from options import DataFlags, Options
from util.errors import UserError
from util.image_folders import find_images, images_by_name
from util.shards import is_folder
from util.words import counted

from .base import Domain, Reading, TwoDomainDataset, mask_entry, raw_entries
from .flags import AugmentFlags
from .sampler import SampleKey
from .transforms import plan_crop, size_of


class AlignedDataset(TwoDomainDataset):
    """Pairs with equal names in ``{phase}A`` and ``{phase}B``, or side by side (A left, B right) in ``{phase}``.

    Both images of a pair get the same scale, crop and flip. ``A`` is the image to translate: --direction BtoA exchanges
    the two.

    A finished sample: ``A``, ``B`` [C, H, W] float32 in [-1, 1] with --input_nc and --output_nc channels;
    ``A_paths``, ``B_paths``; with --augment ``A_aug``, ``B_aug``.
    """

    takes_masks = True

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        flags = options[DataFlags]
        root, phase = Path(flags.dataroot), flags.phase
        folder_a, folder_b, together = root / f"{phase}A", root / f"{phase}B", root / phase
        self.side_by_side = not is_folder(folder_a) and is_folder(together)
        if self.side_by_side:
            self.pairs = [(path, path) for path in self.find(together)]
        elif is_folder(folder_a) and is_folder(folder_b):
            self.pairs = match_pairs(folder_a, folder_b, find=self.find)
        else:
            raise UserError(
                f"--dataroot: --dataset_mode aligned needs the folders {folder_a} and {folder_b},"
                f" or {together} with both images of a pair side by side"
            )
        self.pairs = self.pairs[:flags.max_dataset_size]
        self.items = len(self.pairs)
        self.swap = flags.direction == "BtoA"
        self.root = together if self.side_by_side else folder_b if self.swap else folder_a
        self.readings = Reading.of(flags)
        names = [together.name] * 2 if self.side_by_side else [folder_a.name, folder_b.name][::-1 if self.swap else 1]
        files = zip(*(self.files(item) for item in range(self.items)), strict=True)
        self.domains = [Domain(*facts) for facts in zip(names, files, self.readings, strict=True)]
        self.augment = training and options[AugmentFlags].augment
        self.find_masks(options, [self.files(item)[0] for item in range(self.items)])

    def files(self, item: int) -> Sequence[Path]:
        return self.pairs[item][::-1] if self.swap else self.pairs[item]

    def decode(self, item: int) -> Sequence[Tensor]:
        return self._halves(item) if self.side_by_side else self._partners(item)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        generator = key.generator()
        item, (image_a, image_b, *mask) = self.load(key.index)
        crop = plan_crop(size_of(image_a), self.policy, generator)
        sample: dict[str, Any] = {}
        for name, file, image in zip("AB", self.files(item), (image_a, image_b), strict=True):
            sample |= raw_entries(name, file, image, crop, generator if self.augment else None)
        return sample | mask_entry(mask, crop)

    def _partners(self, item: int) -> list[Tensor]:
        """Read the two files of a pair, A first."""
        files = self.files(item)
        images = [reading.load(file) for file, reading in zip(files, self.readings, strict=True)]
        first, second = (f"{image.shape[-1]}x{image.shape[-2]}" for image in images)
        if first != second:
            raise UserError(
                f"a pair must have one size, but {files[0]} is {first} and {files[1]} is {second};"
                " scale one of them or remove the pair"
            )
        return images

    def _halves(self, item: int) -> list[Tensor]:
        """Read a file that holds a pair, and return its halves, A first."""
        file, _ = self.pairs[item]
        decoded = {reading: reading.load(file) for reading in set(self.readings)}
        width = decoded[self.readings[0]].shape[-1]
        if width % 2:
            raise UserError(
                f"{file} is {width} pixels wide, but two images of one size side by side have an even width;"
                " crop it"
            )
        left, right = slice(None, width // 2), slice(width // 2, None)
        sides = (right, left) if self.swap else (left, right)
        return [decoded[reading][..., side] for reading, side in zip(self.readings, sides, strict=True)]


def match_pairs(
    folder_a: Path, folder_b: Path, flag: str = "--dataroot", find: Callable[[Path], Sequence[Path]] | None = None
) -> list[tuple[Path, Path]]:
    """Match the files of two folders by name, without suffix; return the pairs in the order of their names.

    Args:
        folder_a, folder_b: the folders.
        flag: errors begin with it.
        find: lists the images of a folder; None: `find_images`.

    Raises:
        UserError: an image has no partner, or two images of a folder have the same name.
    """
    find = find or partial(find_images, flag=flag)
    by_name_a, by_name_b = (images_by_name(folder, find(folder), flag) for folder in (folder_a, folder_b))
    for present, missing, folder in ((by_name_a, by_name_b, folder_b), (by_name_b, by_name_a, folder_a)):
        lonely = [present[name] for name in present if name not in missing]
        if lonely:
            some = ", ".join(str(path) for path in lonely[:3]) + (", ..." if len(lonely) > 3 else "")
            raise UserError(
                f"{flag}: {counted(len(lonely), 'image')} without a partner of the same name in {folder}: {some};"
                " add the partners or remove these"
            )
    return [(by_name_a[name], by_name_b[name]) for name in by_name_a]
