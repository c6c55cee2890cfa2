"""What data sets have in common: how images are loaded, flags that they add, and the checks of flags."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from options import DataFlags, LoadingFlags, Options, flag
from util.errors import UserError
from util.images import BadImage, image_outline, load_image

from .batch import CHOICES, Choices
from .cache import Cache
from .sampler import SampleKey
from .transforms import Crop, Policy, cut, plan_jitter, scale, scaled_size, size_of
from .unreadable import Unreadable

Reader = Callable[[Path, int], Tensor]
"""From a file and a number of channels to an image: `load_image` or `image_outline`."""


@dataclass(frozen=True)
class AugmentFlags:
    """Appearance augmentation, for the learned self-similarity."""

    augment: bool = flag(False, "in training also load appearance-jittered copies A_aug and B_aug of the same crops")


class ImageDataset(ABC):
    """Base of every data set: a pure function from a `SampleKey` to a raw sample.

    Attributes:
        policy: how images are brought to size.
        items: how many things can be loaded by themselves: images, or pairs of them.
        unreadable: the items that turned out to be so.
        cache: all of them, once they are kept in memory.
        reading: for each worker process the item that it has read last, [workers] in shared memory; -1: none yet.
    """

    flags: ClassVar[tuple[type, ...]] = ()
    test_flags: ClassVar[tuple[type, ...]] = ()
    inherited: ClassVar[tuple[str, ...]] = ()
    policy: Policy
    items: int
    cache: Cache | None = None
    reading: Tensor | None = None

    def __init__(self, options: Options, *, training: bool) -> None:
        """A subclass also finds the images, in training those of the target domain too."""
        # A translation under another image's name would be wrong: outside training nothing stands in.
        most = options[LoadingFlags].max_bad_images if training and LoadingFlags in options else 0
        self.unreadable = Unreadable(self.files, self.group, most)
        self.policy = Policy.of(options[DataFlags], training=training)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        """No shared default changes."""
        return {}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        """No flag depends on another."""
        return {}

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other."""
        check_data_flags(options)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, key: SampleKey) -> dict[str, Any]: ...

    @abstractmethod
    def files(self, item: int) -> Sequence[Path]:
        """For each image of an item the file that it comes from."""

    def fingerprint(self) -> dict[str, Any]:
        """The number of files and a digest of their names and sizes, by which a resumed run notices a change.

        The names are relative to the folder that all files share, which may have moved.
        """
        files = sorted({path for item in range(self.items) for path in self.files(item)})
        root, digest = os.path.commonpath(files), hashlib.sha256()
        for file in files:
            size = file.stat().st_size if file.is_file() else -1  # it may be gone since it was listed
            digest.update(os.fsencode(os.path.relpath(file, root)) + f"\0{size}\n".encode())
        return {"files": len(files), "sha256": digest.hexdigest()}

    @abstractmethod
    def decode(self, item: int, read: Reader) -> Sequence[Tensor]:
        """The images of an item, [C, H, W], as ``read`` gives them."""

    def group(self, item: int) -> range:
        """The items that may stand in for one that cannot be read."""
        del item
        return range(self.items)

    def load(self, item: int) -> tuple[int, list[Tensor]]:
        """The images of an item, or of one that stands in for it.

        Returns:
            Whose they are, and the images, scaled: uint8 or float32 in [0, 1], [C, H, W]. Not to be changed.

        Raises:
            UserError: too many items cannot be read.
        """
        while True:
            other = self.unreadable.stand_in(item)
            try:
                return other, self.cache[other] if self.cache is not None else self.read(other)
            except BadImage as error:
                self.unreadable.note(other, str(error))

    def read(self, item: int) -> list[Tensor]:
        """The images of an item from their files, scaled.

        Raises:
            BadImage: a file cannot be read.
            UserError: the images do not fit each other.
        """
        if self.reading is not None and (worker := get_worker_info()):
            self.reading[worker.id] = item
        return [scale(image, self.policy) for image in self.decode(item, load_image)]

    def outline(self, item: int) -> list[Tensor]:
        """What `read` will return, without the pixels: on the ``meta`` device."""
        images = self.decode(item, image_outline)
        return [image.new_empty(len(image), *scaled_size(*size_of(image), self.policy)) for image in images]


def raw_entries(
    name: str, file: Path, image: Tensor, crop: Crop, generator: torch.Generator | None = None
) -> dict[str, Any]:
    """The entries of one image in a raw sample: its crop (mostly a view), what is still to be done to it, and its path.

    Args:
        name: ``A`` or ``B``.
        file: where it comes from.
        image: as loaded.
        crop: planned for its size.
        generator: where given, a jittered copy is planned.
    """
    choices = Choices(crop.mirror, None if generator is None else plan_jitter(generator))
    return {name: cut(image, crop), f"{name}{CHOICES}": choices, f"{name}_paths": str(file)}


class TwoDomainDataset(ImageDataset):
    """Base of data sets of two domains, which can be augmented and need a folder."""

    flags: ClassVar[tuple[type, ...]] = (AugmentFlags,)

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other or --dataroot is no folder."""
        super().check(options)
        data = options[DataFlags]
        if not Path(data.dataroot).is_dir():
            raise UserError(f"--dataroot {data.dataroot} is a file; --dataset_mode {data.dataset_mode} needs a folder"
                            " (to translate one file: test.py --dataset_mode single)")


def check_data_flags(options: Options) -> None:
    """Refuse what no data set of images can serve.

    Raises:
        UserError: no such --dataroot, channel counts other than 1 and 3, or a crop larger than what it is cut
            from.
    """
    flags = options[DataFlags]
    if not flags.dataroot:
        raise UserError("--dataroot is required: the folder that holds the images")
    if not Path(flags.dataroot).exists():
        raise UserError(f"--dataroot: {flags.dataroot} does not exist; give the folder that holds the images")
    for name, channels in (("input_nc", flags.input_nc), ("output_nc", flags.output_nc)):
        if channels not in (1, 3):
            raise UserError(f"--{name} {channels}: images have 3 channels (colour) or 1 (greyscale)")
    if flags.preprocess.endswith(("_and_crop", "_and_patch")) and flags.crop_size > flags.load_size:
        raise UserError(
            f"--crop_size {flags.crop_size} is larger than --load_size {flags.load_size}, the size that"
            f" --preprocess {flags.preprocess} scales images to; raise --load_size or lower --crop_size"
        )
