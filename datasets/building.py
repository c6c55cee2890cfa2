"""What the tools beside this file share: folders that are whole or absent, splits, pictures of one size."""

from __future__ import annotations

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
from util.images import load_normalized, to_uint8

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``place`` when the block ends without an error, and vanishes otherwise.

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
    """``function`` of every item, several at once, with a progress bar where the output is a terminal."""
    from tqdm import tqdm  # noqa: PLC0415 - optional: only who waits needs it

    with ThreadPoolExecutor(threads) as pool:
        return list(tqdm(pool.map(function, items), total=len(items), disable=None))


def split(items: Sequence[Item], share: float, seed: int | str) -> tuple[list[Item], list[Item]]:
    """Training and test items, each in their order; the same for the same seed.

    Args:
        items: at least one.
        share: of the items that are for testing, in [0, 1). Above 0, one at least; one always is left for training.
        seed: draws them.
    """
    count = min(max(round(len(items) * share), share > 0), len(items) - 1)
    chosen = set(random.Random(seed).sample(range(len(items)), count))
    return ([item for index, item in enumerate(items) if index not in chosen],
            [item for index, item in enumerate(items) if index in chosen])


def picture(path: Path, size: tuple[int, int] | None = None,
            resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """An image file as training reads it, in 8-bit colour, scaled to ``size`` (width, height) if one is given.

    Raises:
        BadImage: it cannot be read.
    """
    image = Image.fromarray(to_uint8(load_normalized(path, 3)))
    return image if size in (None, image.size) else image.resize(size or image.size, resample)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG file; missing folders are made."""
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
