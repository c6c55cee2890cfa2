"""Facts about the images of a folder for `data.check`: sizes, kinds, values, colours, contents."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from util.image_files import BadImage, reading, sha256_of_image
from util.image_folders import count_pages, split_page
from util.images import to_tensor
from util.rasters import read_raster
from util.value_ranges import Range, number_text, to_fraction
from util.words import counted

from .survey import Extent, stored_values

SHOWN = 3  # examples of each problem
LEVELS = 4  # of each colour, in the histogram that compares folders


class Found(NamedTuple):
    """One image file."""

    path: Path
    digest: str
    size: tuple[int, int]
    """Width and height."""
    kind: str
    """Pillow's name of channels and depth, or the type and the number of channels."""
    colours: Tensor
    """Shares of the coarse colours, [LEVELS ** 3]."""
    extent: Extent
    pages: int


@dataclass(frozen=True)
class Folder:
    """The images of one folder."""

    name: str
    images: Sequence[Found]
    unreadable: Sequence[str]
    flag: str
    """The flag of the range of its values."""
    value_range: Range | None
    left_out: str


def examine(path: Path, value_range: Range | None = None) -> Found | str:
    """Decode an image file and describe it; return a sentence if it cannot be read."""
    try:
        found = read_raster(path)
        values, full = stored_values(found)
        extent = Extent.of(values, full, value_range)
        if isinstance(found, Image.Image):
            with reading(path):
                image, kind = to_tensor(found, 3, str(path)), found.mode
        else:
            channels = found.values.shape[2]
            fractions = to_fraction(values, value_range or full or (extent.low, extent.high or 1))
            image = torch.from_numpy(fractions[..., [0, 1, 2] if values.shape[2] > 2 else [0, 0, 0]]).permute(2, 0, 1)
            kind = found.kind if channels == 1 else f"{found.kind} of {channels} channels"
        file, page = split_page(path)
        digest = sha256_of_image(file) + (f" page {page}" if file != path else "")
        return Found(path, digest, (image.shape[2], image.shape[1]), kind, coarse_colours(image), extent,
                     1 if file != path else count_pages(path))
    except BadImage as error:
        return str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"


def coarse_colours(image: Tensor) -> Tensor:
    """Compute the shares of coarse colours, [LEVELS ** 3], in an image [3, H, W], uint8 or float in [0, 1]."""
    step = max(1, min(image.shape[1:]) // 64)
    pixels = image[:, ::step, ::step].reshape(3, -1)
    levels = pixels.long() * LEVELS // 256 if pixels.dtype == torch.uint8 else (pixels * LEVELS).long()
    red, green, blue = levels.clamp(max=LEVELS - 1)
    counts = torch.bincount((red * LEVELS + green) * LEVELS + blue, minlength=LEVELS**3)
    return counts / counts.sum()


def describe(folder: Folder) -> Iterator[str]:
    """Describe a folder in a few lines: number of images, sizes, kinds, values, copies, and files that are left out."""
    readable = len(folder.images)
    yield f"{folder.name}: {counted(readable, 'image')}" + (
        f", {len(folder.unreadable)} unreadable" * bool(folder.unreadable))
    if readable:
        widths, heights = zip(*(found.size for found in folder.images), strict=True)
        sizes = Counter(found.size for found in folder.images)
        (width, height), count = sizes.most_common(1)[0]
        yield (f"  {counted(len(sizes), 'size')}, width {min(widths)} to {max(widths)}, "
               f"height {min(heights)} to {max(heights)}; most often {width}x{height} ({count})")
        kinds = Counter(found.kind for found in folder.images)
        yield "  " + ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
        extent = extent_of(folder)
        if folder.value_range or any(found.extent.full != (0, 255) for found in folder.images):
            yield f"  values from {number_text(extent.low)} to {number_text(extent.high)}"
    if folder.left_out:
        yield f"  {folder.left_out}"
    if same := groups_of_equals(folder.images):
        yield f"  copies of other images ({sum(map(len, same)) - len(same)}): {examples(map(name_equals, same))}"


def extent_of(folder: Folder) -> Extent:
    """Join the extents of the images of a folder."""
    extent = Extent()
    for found in folder.images:
        extent.join(found.extent)
    return extent


def groups_of_equals(images: Sequence[Found]) -> list[list[Path]]:
    """Group files with the same content."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for found in images:
        groups[found.digest].append(found.path)
    return [paths for paths in groups.values() if len(paths) > 1]


def name_equals(paths: Sequence[Path]) -> str:
    """Name equal files by folder and name."""
    return " = ".join(f"{path.parent.name}/{path.name}" for path in paths[:SHOWN]) + " = ..." * (len(paths) > SHOWN)


def examples(texts: Iterator[str] | Sequence[str]) -> str:
    """Join the first `SHOWN` texts."""
    listed = list(texts)
    return "; ".join(listed[:SHOWN]) + "; ..." * (len(listed) > SHOWN)
