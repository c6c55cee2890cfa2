"""Shared parts of the tools in this folder: whole folders, splits, scaled pictures, flags."""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from options import flag
from util.errors import UserError
from util.image_files import BadImage
from util.images import normalized, to_tensor
from util.picture_files import to_uint8
from util.rasters import Raster, read_raster
from util.words import counted

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Yield a temporary folder. It becomes ``place`` if the block ends without an error, and is removed otherwise.

    Raises:
        UserError: ``place`` exists.
    """
    if place.exists():
        raise UserError(f"{place} exists already; remove it or choose another --out")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as temporary:
        folder = Path(temporary) / "whole"
        folder.mkdir()
        yield folder
        folder.rename(place)


def work_through(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Map ``function`` to all items in threads, with a progress bar if the output is a terminal."""
    from tqdm import tqdm  # noqa: PLC0415 - optional: only a terminal shows it

    with ThreadPoolExecutor(threads) as pool:
        return list(tqdm(pool.map(function, items), total=len(items), disable=None))


def split(items: Sequence[Item], share: float, seed: int | str) -> tuple[list[Item], list[Item]]:
    """Draw test items; return training and test items, each in their order.

    Args:
        items: at least one.
        share: share of test items, in [0, 1). Above 0, at least one item is for testing, and at least one for training.
        seed: the same seed draws the same items.
    """
    count = min(max(round(len(items) * share), share > 0), len(items) - 1)
    chosen = set(random.Random(seed).sample(range(len(items)), count))
    return ([item for index, item in enumerate(items) if index not in chosen],
            [item for index, item in enumerate(items) if index in chosen])


def picture(path: Path, size: tuple[int, int] | None = None,
            resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """Read an image file as training does, in 8-bit colour, and scale it to ``size`` (width, height) if given.

    Raises:
        BadImage: it cannot be read, or has more than 8 bits or other channels.
    """
    found = read_raster(path)
    if isinstance(found, Raster):
        raise BadImage(f"{path} ({found.kind}, {counted(found.values.shape[2], 'channel')}) has more than a picture of "
                       "8-bit colour can hold; training scales files as they are")
    image = Image.fromarray(to_uint8(normalized(to_tensor(found, 3, str(path)))))
    return image if size in (None, image.size) else image.resize(size or image.size, resample)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG file, and make missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")


def image_size(text: str) -> tuple[int, int]:
    """Convert ``256`` or ``512x256`` to width and height."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ValueError(f"'{text}' is no size such as 256 or 512x256 (width x height)")
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True)
class SizeFlags:
    """Size and speed."""

    size: tuple[int, int] | None = flag(None, "scale every image to this size", parse=image_size,
                                        metavar="WIDTH[xHEIGHT]", unset="their own size")
    threads: int = flag(4, "images to work on at once", minimum=1, maximum=1024)


@dataclass(frozen=True)
class SplitFlags(SizeFlags):
    """Split into training and test images."""

    test: float = flag(0.1, "share of the images for testing", minimum=0, maximum=0.9999)
    seed: int = flag(0, "seed of the choice of test images")
