"""Base classes of data sets: reading images, and replacing unreadable ones."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from options import DataFlags, FlagOwner, LoadingFlags, Options
from util.errors import UserError
from util.image_files import BadImage, file_size
from util.image_folders import list_images, split_page
from util.images import load_image
from util.value_ranges import Range
from util.words import counted

from .batch import CHOICES, MASK, Choices
from .flags import AugmentFlags, check_data_flags
from .jitter import plan_jitter
from .masks import FLAG, load_mask, mask_folder, match_masks
from .sampler import SampleKey
from .transforms import Crop, Policy, cut, scale, size_of
from .workers import LoadingError


class Reading(NamedTuple):
    """Conversion of the files of a domain to tensors."""

    channels: int
    value_range: Range | None
    """The stored values that become -1 and 1; None: all of the stored type."""
    flag: str
    """The flag of the range."""

    @classmethod
    def of(cls, flags: DataFlags) -> tuple["Reading", "Reading"]:
        """Return those of the source and of the target domain."""
        names = ("--range_A", "--range_B") if flags.direction == "AtoB" else ("--range_B", "--range_A")
        source, target = map(cls, (flags.input_nc, flags.output_nc), flags.ranges, names)
        return source, target

    def load(self, path: Path) -> Tensor:
        """Read a file: [C, H, W], uint8 or float32 in [0, 1].

        Raises:
            BadImage: the file is unreadable.
            UserError: its values need a range.
        """
        return load_image(path, self.channels, self.value_range, flag=self.flag)


class Domain(NamedTuple):
    """The files of a domain, and their conversion to tensors."""

    name: str
    files: Sequence[Path]
    reading: Reading


class ImageDataset(FlagOwner, ABC):
    """Base of every data set: a pure function from a `SampleKey` to a raw sample.

    An item is what is read at once: an image, or a pair.

    Attributes:
        policy: how images are scaled and cropped.
        items: number of items.
        root: folder that holds the images to translate, in subfolders too; names of results are relative to it.
        max_bad_images: largest number of unreadable items; with 0, none is replaced.
        unreadable: for each item that is known to be unreadable, a sentence.
        cache: scaled images by item, with ``--cache ram``.
        reading: for each worker process the item that it has read last, [workers] in shared memory; -1: none yet.
        domains: files of each domain, for the survey at the start of a training.
        notes: sentences about files that are left out.
        masks: the mask of each image to translate, with ``--mask_A``.
        takes_masks: whether the class calls `find_masks`.
    """

    takes_masks: ClassVar[bool] = False

    policy: Policy
    items: int
    root: Path
    cache: Sequence[list[Tensor]] | None = None
    reading: Tensor | None = None

    def __init__(self, options: Options, *, training: bool) -> None:
        """Find the images; those of the target domain only in training."""
        # Outside training nothing is replaced: a translation would get the name of another image.
        self.max_bad_images = options[LoadingFlags].max_bad_images if training and LoadingFlags in options else 0
        self.unreadable: dict[int, str] = {}
        self.policy = Policy.of(options[DataFlags], training=training)
        self.pages = options[DataFlags].pages
        self.domains: list[Domain] = []
        self.notes: list[str] = []
        self.masks: Mapping[Path, Path] = {}

    def find(self, folder: Path, limit: int | None = None) -> Sequence[Path]:
        """Find the images in a folder, at most ``limit``, and note files that are left out.

        Raises:
            UserError: the folder is missing, cannot be read, or holds no image.
        """
        listing = list_images(folder, "--dataroot", limit, pages=self.pages)
        self.notes += [f"{folder}: {left_out}"] if (left_out := listing.left_out()) else []
        return listing.images

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other."""
        check_data_flags(options)
        if options[DataFlags].mask_A and not cls.takes_masks:
            raise UserError(f"{FLAG}: --dataset_mode {options[DataFlags].dataset_mode} has no masks; leave it out")

    def find_masks(self, options: Options, images: Sequence[Path]) -> None:
        """Find the masks of the images to translate, if ``--mask_A`` asks for them.

        Raises:
            UserError: one is missing, or there is no folder of masks.
        """
        if flag := options[DataFlags].mask_A:
            folder = mask_folder(Path(flag), self.root)
            masks = list_images(folder, FLAG, pages=self.pages).images
            self.masks = match_masks(self.root, images, folder, masks)

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return self.items

    @abstractmethod
    def __getitem__(self, key: SampleKey) -> dict[str, Any]: ...

    @abstractmethod
    def files(self, item: int) -> Sequence[Path]:
        """Return the file of each image of an item."""

    @abstractmethod
    def decode(self, item: int) -> Sequence[Tensor]:
        """Read the images of an item: uint8, or float32 in [0, 1], [C, H, W]."""

    def group(self, item: int) -> range:
        """Return the items that may replace an unreadable one."""
        del item
        return range(self.items)

    def fingerprint(self) -> dict[str, Any]:
        """Return the number of files and a digest of their names and sizes: a resumed run compares them.

        Names are relative to the common folder of all files, which may have moved.
        """
        files = sorted({path for item in range(self.items) for path in self.files(item)})
        root, digest = os.path.commonpath(files), hashlib.sha256()
        for file in files:
            size = file_size(split_page(file)[0])
            size = -1 if size is None else size  # it may have disappeared
            digest.update(os.fsencode(os.path.relpath(file, root)) + f"\0{size}\n".encode())
        return {"files": len(files), "sha256": digest.hexdigest()}

    def load(self, item: int) -> tuple[int, list[Tensor]]:
        """Return the scaled images of an item, or of the next readable one of its group.

        Which one depends only on the files: every process and every resumed run replaces an image by the same one.

        Returns:
            Item index and its images, uint8 or float32 in [0, 1], [C, H, W], and the mask of the first of them, if it
            has one: bool [1, H, W]. Do not change them.

        Raises:
            BadImage: the item is unreadable, and none is replaced.
            LoadingError: too many items are unreadable.
        """
        group = self.group(item)
        for other in chain(range(item, group.stop), range(group.start, item)):
            try:
                if other not in self.unreadable:
                    return other, self.read(other) if self.cache is None else self.cache[other]
            except BadImage as error:
                self.note_unreadable(other, str(error))
        raise LoadingError(f"{counted(len(group), 'image')} in {self.files(item)[0].parent}, none of which can be "
                           f"read: {self.unreadable[item]}")

    def note_unreadable(self, item: int, reason: str) -> None:
        """Remember that an item is unreadable.

        Raises:
            BadImage: none is replaced.
            LoadingError: it is one too many.
        """
        if self.max_bad_images == 0:
            raise BadImage(reason)
        self.unreadable[item] = reason
        if len(self.unreadable) > self.max_bad_images:
            raise LoadingError(
                f"{len(self.unreadable)} images cannot be read, which is more than --max_bad_images "
                f"{self.max_bad_images}; the last: {reason} (python -m data.check DATAROOT names them all)")

    def read(self, item: int) -> list[Tensor]:
        """Read the images of an item from their files, and the mask of the first of them, scaled.

        Raises:
            BadImage: a file cannot be read.
            UserError: the images do not fit each other.
        """
        if self.reading is not None and (worker := get_worker_info()):
            self.reading[worker.id] = item
        images, (file, *_) = [*self.decode(item)], self.files(item)
        if file in self.masks:
            images.append(load_mask(self.masks[file], file, size_of(images[0])))
        return [scale(image, self.policy) for image in images]


def raw_entries(
    name: str, file: Path, image: Tensor, crop: Crop, generator: torch.Generator | None = None
) -> dict[str, Any]:
    """Return the entries of one image in a raw sample: its crop, the choices for `finish`, and its path.

    Args:
        name: ``A`` or ``B``.
        file: its path.
        image: scaled, [C, H, W].
        crop: planned for its size.
        generator: plan a jittered copy with it; None: no copy.
    """
    choices = Choices(crop.mirror, None if generator is None else plan_jitter(generator))
    return {name: cut(image, crop), f"{name}{CHOICES}": choices, f"{name}_paths": str(file)}


def mask_entry(mask: Sequence[Tensor], crop: Crop) -> dict[str, Any]:
    """Return the entry of the mask of A in a raw sample, if there is one: its crop.

    Args:
        mask: scaled, bool [1, H, W]; or nothing.
        crop: that of A.
    """
    return {f"A{MASK}": cut(of, crop) for of in mask}


class TwoDomainDataset(ImageDataset):
    """Base of data sets of two domains: they take --augment, and --dataroot is a folder."""

    flags: ClassVar[tuple[type, ...]] = (AugmentFlags,)

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other, or --dataroot is no folder."""
        super().check(options)
        data = options[DataFlags]
        if not Path(data.dataroot).is_dir():
            raise UserError(f"--dataroot {data.dataroot} is a file; --dataset_mode {data.dataset_mode} needs a folder"
                            " (to translate one file: test.py --dataset_mode single)")
