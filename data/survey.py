"""Look at a few images of a data set before a training: types, channels, ranges, pages."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from util.image_files import BadImage
from util.image_files import reading as reading_file
from util.image_folders import count_pages
from util.images import OtherChannels, RangeNeeded, range_needed, to_tensor
from util.rasters import Raster, read_raster
from util.value_ranges import Range, number_text, range_text
from util.words import counted

from .base import Domain, ImageDataset

SAMPLE = 8  # images of a domain
PART = 1 / 8  # of the range; values that use less look nearly black or flat


@dataclass
class Extent:
    """The values of some images.

    Attributes:
        low, high: the least and the greatest.
        full: range of the stored type; None: signed or floating.
        least, most: the same two, as parts of the range that becomes [0, 1].
        outside: number of values outside the range of the flag.
        count: number of values.
    """

    low: float = math.inf
    high: float = -math.inf
    full: Range | None = None
    least: float = math.inf
    most: float = -math.inf
    outside: int = 0
    count: int = 0

    @classmethod
    def of(cls, values: NDArray[Any], full: Range | None, value_range: Range | None) -> "Extent":
        """Return that of the values of an image."""
        low, high, limits = values.min().item(), values.max().item(), value_range or full
        least, most = ((end - limits[0]) / (limits[1] - limits[0]) for end in (low, high)) if limits else (0.0, 1.0)
        outside = int(((values < value_range[0]) | (values > value_range[1])).sum()) if value_range else 0
        return cls(low, high, full, least, most, outside, values.size)

    def join(self, other: "Extent") -> None:
        """Count the values of other images too."""
        self.low, self.high, self.full = min(self.low, other.low), max(self.high, other.high), other.full
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.outside, self.count = self.outside + other.outside, self.count + other.count

    def notes(self, images: str, flag: str, value_range: Range | None) -> Iterator[str]:
        """Say that values of ``images`` are clipped, or use a small part of the range."""
        found = f"the values of {images} go from {number_text(self.low)} to {number_text(self.high)}"
        if self.outside and value_range:
            yield (f"{found}; {100 * self.outside / self.count:.3g} % of them lie outside {flag} "
                   f"{range_text(value_range)} and are clipped")
        if self.low < self.high and self.most - self.least < PART:
            limits = f"{flag} {range_text(value_range)}" if value_range else "the stored type"
            yield (f"{found}, less than an eighth of the range of {limits}, which looks nearly flat; type {flag} "
                   f"{range_text(self.suggested())}")

    def suggested(self) -> Range:
        """Return a range that fits: of whole numbers from about 0 the next power of two."""
        if self.full is None or self.low > self.high / 2:
            return self.low, self.high
        return 0, 2 ** max(1, math.ceil(math.log2(self.high + 1))) - 1


def survey(dataset: ImageDataset) -> list[str]:
    """Read `SAMPLE` images of each domain, evenly spaced, and return sentences for the user.

    Unreadable images are left to the training, which names them.

    Raises:
        RangeNeeded: values are signed or floats, without a range; names the range of all that were read.
        OtherChannels: no image of a domain has the number of channels of its flag.
    """
    return [note for domain in dataset.domains for note in _survey_domain(domain)]


def _survey_domain(domain: Domain) -> Iterator[str]:
    reading, extent = domain.reading, Extent()
    files = evenly(domain.files, SAMPLE)
    images = f"{counted(len(files), 'image')} of {domain.name}"
    others: list[OtherChannels] = []
    needs = False
    for path in files:
        try:
            found = read_raster(path)
            with reading_file(path):
                to_tensor(found, reading.channels, str(path), reading.value_range, flag=reading.flag)
        except RangeNeeded:
            needs = True
        except OtherChannels as error:
            others.append(error)
            continue
        except BadImage:
            continue
        extent.join(Extent.of(*stored_values(found), reading.value_range))
    if len(others) == len(files):
        raise others[0]
    if needs:
        raise range_needed(images, (extent.low, extent.high), reading.flag)
    yield from extent.notes(images, reading.flag, reading.value_range) if extent.count else ()
    yield from pages_note(domain.name, {path: count_pages(path) for path in files})


def pages_note(name: str, pages: Mapping[Path, int]) -> Iterator[str]:
    """Say that TIFF files have more pages than are read; ``pages`` are their numbers."""
    several = [f"{path.name}: {count}" for path, count in pages.items() if count > 1]
    if several:
        yield (f"TIFF files of {name} have several pages ({several[0]}), of which the first is read; --pages all makes "
               "an image of each page")


def stored_values(found: Raster | Image.Image) -> tuple[NDArray[Any], Range | None]:
    """Return the values of a result of `read_raster`, without alpha, and the range of their type."""
    if isinstance(found, Image.Image):
        return np.asarray(found.convert("L" if found.mode in ("1", "L", "LA") else "RGB")), (0, 255)
    return (found.values[..., :-1] if found.alpha else found.values), found.full


def evenly(files: Sequence[Path], count: int) -> Sequence[Path]:
    """Return at most ``count`` files, evenly spaced."""
    count = min(count, len(files))
    return [files[index * len(files) // count] for index in range(count)]
