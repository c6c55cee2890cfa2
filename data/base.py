"""What data sets have in common: flags that they add, and the checks of flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from options import DataFlags, Options, flag
from util.errors import UserError


@dataclass(frozen=True)
class AugmentFlags:
    """Appearance augmentation, for the learned self-similarity."""

    augment: bool = flag(False, "in training also load appearance-jittered copies A_aug and B_aug of the same crops")


class ImageDataset:
    """Base of every data set: what it tells the parser unless it has more to say."""

    flags: ClassVar[tuple[type, ...]] = ()

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        """No shared default changes."""
        return {}

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other."""
        check_data_flags(options)


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
                            " (--dataset_mode single takes one file)")


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
    if flags.preprocess.endswith("_and_crop") and flags.crop_size > flags.load_size:
        raise UserError(
            f"--crop_size {flags.crop_size} is larger than --load_size {flags.load_size}, the size that"
            f" --preprocess {flags.preprocess} scales images to; raise --load_size or lower --crop_size"
        )
