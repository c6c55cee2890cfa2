"""Check a whole data set before training, and describe it.

    python -m data.check datasets/lineart2color
    python -m data.check datasets/pairs --dataset_mode aligned
    python -m data.check datasets/ct2mr --range_A -1024,3071
    python -m data.check datasets/horse2zebra --mask_A datasets/horse_masks

Exit code 0: no problems. 2: unreadable images, values that need a range, pairs without partner or of two sizes, images
without mask or with one of another size, or folders that look swapped or share more than a tenth of their images. Fewer
equal images, in two folders or in one, and masks without white, are notes.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from options import REQUIRED, flag, parse_flags
from options.flag import value_range
from util.errors import UserError, run_program
from util.image_folders import Listing, list_images
from util.shards import is_folder
from util.terminal import TerminalSink

from .examined import Folder, Found, describe, examine
from .problems import (
    PHASES,
    find_masks,
    find_narrow,
    find_pages,
    find_shared,
    find_small,
    find_swapped,
    find_unpaired,
    find_unreadable,
    find_without_range,
)


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
    masks = list(find_masks(places, folders, Path(flags.mask_A), flags.pages)) if flags.mask_A else []
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


if __name__ == "__main__":
    run_program("data.check", main)
