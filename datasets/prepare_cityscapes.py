"""Make a data set of Cityscapes: photographs in A, coloured label maps in B; validation images become test images.

Register at https://www.cityscapes-dataset.com, download gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip, and
unpack both. The licence forbids passing the images on.

    python datasets/prepare_cityscapes.py --gtFine_dir gtFine --leftImg8bit_dir leftImg8bit --out datasets/cityscapes
    python train.py --dataroot datasets/cityscapes --direction BtoA ...      label maps to photographs

Partners have equal names, for --dataset_mode aligned and evaluate.py --truth.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/...` sees the clone

from datasets.building import SizeFlags, image_size, picture, save_png, whole_folder, work_through
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.words import counted

PHASES = {"train": "train", "val": "test"}  # Cityscapes keeps the labels of its test images secret
LABELS, PHOTOS = "_gtFine_color.png", "_leftImg8bit.png"


@dataclass(frozen=True, kw_only=True)
class CityscapesFlags(SizeFlags):
    """Make a data set of Cityscapes: photographs in A, label maps in B."""

    gtFine_dir: Path = flag(REQUIRED, "gtFine, unpacked")
    leftImg8bit_dir: Path = flag(REQUIRED, "leftImg8bit, unpacked")
    out: Path = flag(REQUIRED, "the data set, a folder that does not exist", alias="output_dir")
    size: tuple[int, int] = flag((256, 256), "scale every image to this size", parse=image_size,
                                 metavar="WIDTH[xHEIGHT]")
    label_filter: str = flag("nearest", "how label maps are scaled; nearest keeps the colours of the classes",
                             choices=("nearest", "bicubic"))


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, pair the files, and write the set."""
    flags = parse_flags(CityscapesFlags, "prepare_cityscapes.py", argv)
    resample = Image.Resampling[flags.label_filter.upper()]
    with whole_folder(flags.out) as folder:
        for split, phase in PHASES.items():
            def write(item: tuple[str, Path, Path], phase: str = phase) -> None:
                name, photo, label = item
                save_png(picture(photo, flags.size), folder / f"{phase}A" / name)
                save_png(picture(label, flags.size, resample), folder / f"{phase}B" / name)

            pairs = find_pairs(flags.gtFine_dir / split, flags.leftImg8bit_dir / split)
            work_through(write, pairs, flags.threads)
            print(f"{phase}A, {phase}B: {counted(len(pairs), 'pair')}")
    print(f"{flags.out} is ready; train with --direction BtoA for label maps to photographs")


def find_pairs(labels: Path, photos: Path) -> list[tuple[str, Path, Path]]:
    """Return name, photograph and label map of every frame, sorted by name.

    Raises:
        UserError: a folder is missing or holds no images, or a frame lacks one of the two.
    """
    found = []
    for folder, end in ((photos, PHOTOS), (labels, LABELS)):
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}; unpack Cityscapes' archive and name the folder that holds "
                            "train and val")
        found.append({path.name.removesuffix(end): path for path in sorted(folder.glob(f"*/*{end}"))})
        if not found[-1]:
            raise UserError(f"no city in {folder} holds images that end in {end}; is it Cityscapes' folder?")
    if lonely := sorted(found[0].keys() ^ found[1].keys()):
        raise UserError(f"{counted(len(lonely), 'frame')} of {photos} and {labels} without photograph or label map, "
                        f"such as {lonely[0]}; unpack both archives again")
    return [(f"{name}.png", photo, found[1][name]) for name, photo in sorted(found[0].items())]


if __name__ == "__main__":
    run_program("prepare_cityscapes.py", main)
