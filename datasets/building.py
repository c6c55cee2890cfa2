"""What the tools beside this file share: folders that are whole or absent, splits, pictures of one size."""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PIL import Image

from util.arguments import positive
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
    """``256`` or ``512x256``: width and height; for ``argparse``."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 256 or 512x256 (width x height)")
    return int(sides[0]), int(sides[-1])


def share_of_one(text: str) -> float:
    """A share in [0, 1); for ``argparse``."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no share from 0 to below 1")
    return share


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """How images are divided and scaled."""
    parser.add_argument("--test", type=share_of_one, default=0.1, metavar="SHARE",
                        help="share of the images that are for testing (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="INT",
                        help="draws the test images; the same seed draws the same ones (default: %(default)s)")
    add_size_flags(parser)


def add_size_flags(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """How large images become, and how many are worked on at once."""
    parser.add_argument("--size", type=image_size, default=default, metavar="WIDTH[xHEIGHT]",
                        help=f"scale every image to this size (default: {default or 'images keep their own'})")
    parser.add_argument("--threads", type=positive, default=4, metavar="INT",
                        help="images that are worked on at once (default: %(default)s)")
