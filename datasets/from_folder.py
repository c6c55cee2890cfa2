"""Make a data set of one or two folders of pictures: a split into training and test images, scaled if asked for.

    python datasets/from_folder.py --a photos --b paintings --out datasets/mine
    python datasets/from_folder.py --a frames --out datasets/mine --size 256 --test 0.2

Subfolders are kept. Without --size images are linked (hard links: they take no space; copies where the file system
refuses), else they are written anew as PNG.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/from_folder.py` sees the clone

from datasets.building import SplitFlags, picture, save_png, split, whole_folder, work_through
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.images import BadImage, find_images
from util.words import counted


@dataclass(frozen=True, kw_only=True)
class FolderFlags(SplitFlags):
    """Make a data set of one or two folders of pictures."""

    a: Path = flag(REQUIRED, "images to translate from")
    b: Path | None = flag(None, "images of the target domain")
    out: Path = flag(REQUIRED, "the data set, a folder that does not exist")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, make the set, print what it holds."""
    flags = parse_flags(FolderFlags, "from_folder.py", argv)
    domains = {"A": flags.a, **({"B": flags.b} if flags.b else {})}
    with whole_folder(flags.out) as folder:
        for domain, source in domains.items():
            images = find_images(source, f"--{domain.lower()}")
            parts = split(images, flags.test, f"{flags.seed}{domain}")
            for phase, part in zip(("train", "test"), parts, strict=True):
                count = place_images(part, source, folder / f"{phase}{domain}", flags.size, flags.threads)
                if phase == "train" and not count:
                    raise UserError(f"--{domain.lower()}: none of the images in {source} can be read")
                print(f"{phase}{domain}: {counted(count, 'image')}")
    print(f"{flags.out} is ready; python -m data.check {flags.out} looks for faults in it")


def place_images(images: Sequence[Path], source: Path, folder: Path, size: tuple[int, int] | None, threads: int) -> int:
    """Put images into ``folder`` under their paths below ``source``; returns how many, without the unreadable ones."""
    return sum(work_through(partial(place_image, folder=folder, size=size), new_names(images, source, size), threads))


def new_names(images: Sequence[Path], source: Path, size: tuple[int, int] | None) -> list[tuple[Path, Path]]:
    """Each image with its path in the set: its own, or that of a PNG file, told apart where ``a.jpg`` and ``a.png``
    would become one."""
    own = [path.relative_to(source) for path in images]
    if size is None:
        return list(zip(images, own, strict=True))
    counts = Counter(path.with_suffix(".png") for path in own)
    return [(image, name if counts[name := path.with_suffix(".png")] == 1 else path.with_name(f"{path.name}.png"))
            for image, path in zip(images, own, strict=True)]


def place_image(item: tuple[Path, Path], folder: Path, size: tuple[int, int] | None) -> bool:
    """Scale or link one image; an unreadable one is named and left out."""
    image, name = item
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if size is not None:
        try:
            save_png(picture(image, size), place)
        except BadImage as error:
            print(f"warning: {error}; left out", file=sys.stderr)
            return False
        return True
    try:
        os.link(image.resolve(), place)
    except OSError:  # another file system, or one without links
        shutil.copyfile(image, place)
    return True


if __name__ == "__main__":
    run_program("from_folder.py", main)
