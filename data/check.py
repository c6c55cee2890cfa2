"""Check a whole data set before training, and describe it.

    python -m data.check datasets/lineart2color
    python -m data.check datasets/pairs --dataset_mode aligned
    python -m data.check datasets/ct2mr --range_A -1024,3071
    python -m data.check datasets/horse2zebra --mask_A datasets/horse_masks

Exit code 0: no problems. 2: unreadable images, values that need a range, pairs without partner or of two sizes, images
without mask or with one of another size, or folders that look swapped or share more than a tenth of their images. Fewer
equal images, in two folders or in one, and masks without white, are notes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from options import REQUIRED, flag, parse_flags
from options.flag import value_range
from util.errors import UserError, run_program
from util.files import sha256_of
from util.image_files import open_file, reading
from util.image_folders import Listing, count_pages, list_images, split_page
from util.images import BadImage, range_needed, to_tensor
from util.rasters import read_raster
from util.shards import is_folder
from util.terminal import TerminalSink
from util.value_ranges import Range, number_text, to_fraction
from util.words import counted

from .aligned import match_pairs
from .masks import look_at_masks, mask_folder
from .survey import Extent, pages_note, stored_values

PHASES = ("train", "val", "test")
SHOWN = 3  # examples of each problem
LEVELS = 4  # of each colour, in the histogram that compares folders
SHARED = 0.1  # largest share of equal images, of the smaller folder
SMALL = 32  # pixels: VGG16 halves an image four times, a discriminator three times
APART = 0.5  # a folder looks like the other domain if it is nearer than this, relative to its own


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


@dataclass(frozen=True, kw_only=True)
class CheckFlags:
    """Check a whole data set before training."""

    dataroot: Path = flag(REQUIRED, "the folder for --dataroot", positional=True)
    dataset_mode: str = flag("unaligned", "how training will use the images; aligned compares names, too",
                             choices=("unaligned", "aligned", "single"))
    range_A: tuple[float, float] | None = flag(
        None, "the range of the values of A, as in training", parse=value_range, metavar="LOW,HIGH", unset="all")
    range_B: tuple[float, float] | None = flag(
        None, "the range of the values of B, as in training", parse=value_range, metavar="LOW,HIGH", unset="all")
    pages: str = flag("first", "pages of a TIFF file to read, as in training", choices=("first", "all"))
    mask_A: str = flag("", "the folder of masks, as in training")
    threads: int = flag(4, "files to read at once", minimum=1, maximum=1024)


def main() -> None:
    flags = parse_flags(CheckFlags, "python -m data.check")
    if not is_folder(flags.dataroot):
        raise UserError(f"{flags.dataroot} is a file; name the folder that holds trainA and trainB"
                        if flags.dataroot.exists() else f"there is no folder {flags.dataroot}")
    places = folders_of(flags.dataroot)
    listings = {name: list_images(place, "dataroot", pages=flags.pages) for name, place in places.items()}
    progress = TerminalSink(sum(len(listing.images) for listing in listings.values()))
    folders = [look_at(name, listing, flags, progress) for name, listing in listings.items()]
    progress.close()
    for folder in folders:
        print("\n".join(describe(folder)))
    masks = list(find_masks(places, folders, flags)) if flags.mask_A else []
    for note in [*find_small(folders), *find_narrow(folders), *find_pages(folders)]:
        print(f"note: {note}")
    shared = list(find_shared(folders))
    for is_problem, text in [*shared, *masks]:
        if not is_problem:
            print(f"note: {text}")
    problems = [*find_unreadable(folders), *find_without_range(folders),
                *(text for is_problem, text in [*shared, *masks] if is_problem),
                *find_swapped({folder.name: folder for folder in folders})]
    if flags.dataset_mode == "aligned":
        problems += find_unpaired(flags.dataroot, {folder.name: folder for folder in folders})
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        raise UserError(f"{flags.dataroot}: fix the problems listed above first")
    print("no problems found")


def folders_of(root: Path) -> dict[str, Path]:
    """Return the folders that training and testing read, by name; for a plain folder of images, itself."""
    names = [phase + domain for phase in PHASES for domain in ("A", "B", "")]
    return {name: root / name for name in names if is_folder(root / name)} or {root.resolve().name: root}


def look_at(name: str, listing: Listing, flags: CheckFlags, progress: TerminalSink) -> Folder:
    """Read every file of a folder as training does."""
    domain = "B" if name.endswith("B") else "A"
    value_range = flags.range_B if domain == "B" else flags.range_A
    images, unreadable = [], []
    with ThreadPoolExecutor(flags.threads) as pool:
        for found in pool.map(partial(examine, value_range=value_range), listing.images):
            if isinstance(found, Found):
                images.append(found)
            else:
                unreadable.append(found)
            progress.advance(1)
            if progress.seen % 1000 == 0:
                progress.scalars(progress.seen, {})
    return Folder(name, images, unreadable, f"--range_{domain}", value_range, listing.left_out())


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
        with open_file(file) as opened:
            digest = sha256_of(opened) + (f" page {page}" if file != path else "")
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
    """Describe a folder in a few lines: number of images, sizes, kinds, values, copies, and what is left out."""
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


def find_unreadable(folders: Sequence[Folder]) -> Iterator[str]:
    """Find files that training cannot read."""
    for folder in folders:
        if folder.unreadable:
            yield f"unreadable files in {folder.name} ({len(folder.unreadable)}): {examples(folder.unreadable)}"


def extent_of(folder: Folder) -> Extent:
    """Join the extents of the images of a folder."""
    extent = Extent()
    for found in folder.images:
        extent.join(found.extent)
    return extent


def find_without_range(folders: Sequence[Folder]) -> Iterator[str]:
    """Find signed and floating values without a range."""
    for folder in folders:
        if folder.value_range is None and (found := [of.extent for of in folder.images if of.extent.full is None]):
            limits = min(extent.low for extent in found), max(extent.high for extent in found)
            yield str(range_needed(f"{counted(len(found), 'image')} of {folder.name}", limits, folder.flag))


def find_narrow(folders: Sequence[Folder]) -> Iterator[str]:
    """Find values outside the range, and values that use a small part of it."""
    for folder in folders:
        if folder.images:
            yield from extent_of(folder).notes(f"images of {folder.name}", folder.flag, folder.value_range)


def find_pages(folders: Sequence[Folder]) -> Iterator[str]:
    """Find files with pages that are not read."""
    for folder in folders:
        yield from pages_note(folder.name, {found.path: found.pages for found in folder.images})


def find_small(folders: Sequence[Folder]) -> Iterator[str]:
    """Find images that are too small for deep networks unless they are enlarged."""
    for folder in folders:
        if small := [found.path for found in folder.images if min(found.size) < SMALL]:
            yield (f"images in {folder.name} with a side below {SMALL} pixels, too small for --preprocess none "
                   f"({len(small)}): {examples([path.name for path in small])}")


def find_shared(folders: Sequence[Folder]) -> Iterator[tuple[bool, str]]:
    """Find files with the same content in two folders; yield whether they are too many, and a sentence."""
    for one, other in combinations(folders, 2):
        digests = {found.digest: found.path for found in one.images}
        shared = [name_equals([digests[found.digest], found.path]) for found in other.images if found.digest in digests]
        if shared:
            smaller = min(len(one.images), len(other.images))
            yield (len(shared) > SHARED * smaller,
                   f"in {one.name} and {other.name} alike ({len(shared)}): {examples(shared)}")


def find_masks(
    places: Mapping[str, Path], folders: Sequence[Folder], flags: CheckFlags
) -> Iterator[tuple[bool, str]]:
    """Find images without a fitting mask, and masks without white; yield whether it is a problem, and a sentence.

    Without folders of masks for each folder of A, the masks are those of the training images.
    """
    of_a = [folder for folder in folders if not folder.name.endswith("B")]
    inner = [folder for folder in of_a if is_folder(Path(flags.mask_A) / folder.name)]
    for folder in inner or of_a[:1]:
        sizes = {found.path: found.size[::-1] for found in folder.images}
        place = mask_folder(Path(flags.mask_A), places[folder.name])
        faults, black = look_at_masks(places[folder.name], sizes, place, flags.pages)
        if faults:
            yield True, f"masks of {folder.name} ({len(faults)}): {examples(faults)}"
        if black:
            yield False, f"masks of {folder.name} without white ({len(black)}): {examples(black)}"


def find_swapped(folders: Mapping[str, Folder]) -> Iterator[str]:
    """Find test or validation folders with the colours of the other domain of the training images."""
    means = {name: torch.stack([found.colours for found in folder.images]).mean(0)
             for name, folder in folders.items() if folder.images}

    def distance(one: str, other: str) -> float:
        return float((means[one] - means[other]).abs().sum())

    for phase in PHASES[1:]:
        if not {f"{of}{domain}" for of in ("train", phase) for domain in "AB"} <= means.keys():
            continue
        if all(distance(f"{phase}{domain}", f"train{other}") < APART * distance(f"{phase}{domain}", f"train{domain}")
               for domain, other in ("AB", "BA")):
            yield f"{phase}A looks like trainB and {phase}B like trainA: one of the two seems to be swapped"


def find_unpaired(root: Path, folders: Mapping[str, Folder]) -> Iterator[str]:
    """Find images of pairs without a partner, or with one of another size."""
    sizes = {found.path: found.size for folder in folders.values() for found in folder.images}
    for phase in PHASES:
        if {f"{phase}A", f"{phase}B"} <= folders.keys():
            try:
                pairs = match_pairs(root / f"{phase}A", root / f"{phase}B")
            except UserError as error:
                yield str(error)
                continue
            unequal = [pair[0].name for pair in pairs if len({sizes[path] for path in pair if path in sizes}) > 1]
            if unequal:
                yield f"pairs in {phase}A and {phase}B that differ in size ({len(unequal)}): {examples(unequal)}"
        elif phase in folders and f"{phase}A" not in folders:  # side by side
            odd = [str(found.path) for found in folders[phase].images if found.size[0] % 2]
            if odd:
                yield f"images in {phase} of odd width, which cannot be halved ({len(odd)}): {examples(odd)}"


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


if __name__ == "__main__":
    run_program("data.check", main)
