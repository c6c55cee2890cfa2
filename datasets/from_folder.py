"""Make a data set of one or two folders of pictures: split it into training and test images, and scale them if asked.

    python datasets/from_folder.py --a photos --b paintings --out datasets/mine
    python datasets/from_folder.py --a frames --out datasets/mine --size 256 --test 0.2

Subfolders are kept. With --size, images are written as PNG. Without it they are linked, which takes no space, or copied
if the file system has no hard links.
"""

import os
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
from util.image_files import BadImage, read_bytes, reading
from util.image_folders import find_images
from util.words import counted


@dataclass(frozen=True, kw_only=True)
class FolderFlags(SplitFlags):
    """Make a data set of one or two folders of pictures."""

    a: Path = flag(REQUIRED, "images to translate")
    b: Path | None = flag(None, "images of the target domain")
    out: Path = flag(REQUIRED, "the data set, a folder that does not exist")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, make the set, and print its content."""
    flags = parse_flags(FolderFlags, "from_folder.py", argv)
    domains = {"A": flags.a, **({"B": flags.b} if flags.b else {})}
    with whole_folder(flags.out) as folder:
        for domain, source in domains.items():
            images = find_images(source, f"--{domain.lower()}")
            parts = split(images, flags.test, f"{flags.seed}{domain}")
            for phase, part in zip(("train", "test"), parts, strict=True):
                place = partial(place_image, folder=folder / f"{phase}{domain}", size=flags.size)
                count = sum(work_through(place, new_names(part, source, flags.size), flags.threads))
                if phase == "train" and not count:
                    raise UserError(f"--{domain.lower()}: none of the images in {source} can be read")
                print(f"{phase}{domain}: {counted(count, 'image')}")
    print(f"{flags.out} is ready; check it with python -m data.check {flags.out}")


def new_names(images: Sequence[Path], source: Path, size: tuple[int, int] | None) -> list[tuple[Path, Path]]:
    """Pair each image with its path in the set. Scaled ones become PNG files; ``a.jpg`` and ``a.png`` get two names."""
    own = [path.relative_to(source) for path in images]
    if size is None:
        return list(zip(images, own, strict=True))
    counts = Counter(path.with_suffix(".png") for path in own)
    return [(image, name if counts[name := path.with_suffix(".png")] == 1 else path.with_name(f"{path.name}.png"))
            for image, path in zip(images, own, strict=True)]


def place_image(item: tuple[Path, Path], folder: Path, size: tuple[int, int] | None) -> bool:
    """Scale or link one image; name an unreadable one and leave it out."""
    image, name = item
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        if size is None:
            link_or_copy(image, place)
        else:
            save_png(picture(image, size), place)
    except BadImage as error:
        print(f"warning: {error}; left out", file=sys.stderr)
        return False
    return True


def link_or_copy(image: Path, place: Path) -> None:
    """Link an image file; copy it from another file system, from one without links, and out of a tar file.

    Raises:
        BadImage: it cannot be read.
    """
    try:
        os.link(image.resolve(), place)
    except OSError:
        with reading(image):
            data = read_bytes(image)
        place.write_bytes(data)


if __name__ == "__main__":
    run_program("from_folder.py", main)
