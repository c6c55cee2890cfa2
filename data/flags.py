"""Flags of all data sets: augmentation, checks, and notes on channels."""

from dataclasses import dataclass
from pathlib import Path

from options import DataFlags, Options, flag
from options.flag import show
from util.errors import UserError
from util.shards import is_folder
from util.shown import bands_note

from .masks import FLAG


@dataclass(frozen=True)
class AugmentFlags:
    """Appearance augmentation, for the learned self-similarity."""

    augment: bool = flag(False, "in training also load appearance-jittered copies A_aug and B_aug of the same crops")


def check_data_flags(options: Options) -> None:
    """Check the flags that all data sets share.

    Raises:
        UserError: --dataroot does not exist, --rgb_bands does not fit, or the crop is larger than the scaled image.
    """
    flags = options[DataFlags]
    if not flags.dataroot:
        raise UserError("--dataroot is required: the folder that holds the images")
    if not Path(flags.dataroot).exists() and not is_folder(Path(flags.dataroot)):
        raise UserError(f"--dataroot: {flags.dataroot} does not exist; give the folder that holds the images")
    check_bands(flags)
    if flags.mask_A and flags.input_nc != flags.output_nc:
        raise UserError(f"{FLAG} keeps parts of the input in the output: it needs --input_nc equal to --output_nc")
    if flags.preprocess.endswith(("_and_crop", "_and_patch")) and flags.crop_size > flags.load_size:
        raise UserError(
            f"--crop_size {flags.crop_size} is larger than --load_size {flags.load_size}, the size that"
            f" --preprocess {flags.preprocess} scales images to; raise --load_size or lower --crop_size"
        )


def check_bands(flags: DataFlags) -> None:
    """Refuse --rgb_bands that have no effect or that the images do not have.

    Raises:
        UserError: they do.
    """
    sides = {name: channels for name, channels in (("input_nc", flags.input_nc), ("output_nc", flags.output_nc))
             if channels not in (1, 3)}
    bands = show(flags.rgb_bands)
    if flags.rgb_bands and not sides:
        raise UserError(f"--rgb_bands {bands}: images of 1 or 3 channels are shown as they are; leave it out, or set "
                        "--input_nc or --output_nc")
    for name, channels in sides.items():
        if max(flags.rgb_bands, default=1) > channels:
            raise UserError(f"--rgb_bands {bands}: images of --{name} {channels} have no channel "
                            f"{max(flags.rgb_bands)}")


def band_notes(options: Options) -> list[str]:
    """Say which channels pictures show, and how --augment changes images of other than three channels."""
    flags = options[DataFlags]
    sides = {"inputs": flags.input_nc, "outputs": flags.output_nc}
    notes = [note for name, channels in sides.items() for note in bands_note(name, channels, flags.rgb_bands)]
    if AugmentFlags in options and options[AugmentFlags].augment and set(sides.values()) != {3}:
        notes.append("--augment changes the brightness and contrast of all channels together; only images of three "
                     "channels have saturation and hue")
    return notes
