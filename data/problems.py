"""Problems of a data set, and other remarks of `data.check`: one sentence for each."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch

from util.errors import UserError
from util.images import range_needed
from util.shards import is_folder
from util.words import counted

from .aligned import match_pairs
from .examined import Folder, examples, extent_of, name_equals
from .masks import look_at_masks, mask_folder
from .survey import pages_note

PHASES = ("train", "val", "test")
SHARED = 0.1  # largest share of equal images, of the smaller folder
SMALL = 32  # pixels: VGG16 halves an image four times, a discriminator three times
APART = 0.5  # a folder looks like the other domain if it is nearer than this, relative to its own


def find_unreadable(folders: Sequence[Folder]) -> Iterator[str]:
    """Find files that training cannot read."""
    for folder in folders:
        if folder.unreadable:
            yield f"unreadable files in {folder.name} ({len(folder.unreadable)}): {examples(folder.unreadable)}"


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
    places: Mapping[str, Path], folders: Sequence[Folder], masks: Path, pages: str
) -> Iterator[tuple[bool, str]]:
    """Find images without a fitting mask, and masks without white; yield whether it is a problem, and a sentence.

    Masks are for images of A, or for those of B if there are folders for B alone (--direction BtoA). Without folders of
    masks, they are those of the training images.

    Args:
        places: the folders of the data set, by name.
        folders: their images.
        masks: the folder of masks.
        pages: see `list_images`.
    """
    of_a = [folder for folder in folders if not folder.name.endswith("B")]
    inner = [folder for folder in folders if is_folder(masks / folder.name)]
    for folder in [folder for folder in inner if not folder.name.endswith("B")] or inner or of_a[:1]:
        sizes = {found.path: found.size[::-1] for found in folder.images}
        place = mask_folder(masks, places[folder.name])
        faults, black = look_at_masks(places[folder.name], sizes, place, pages)
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
