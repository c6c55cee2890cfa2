"""Find image files in a folder, and count other files."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from util.errors import UserError
from util.image_files import FORMATS, SUFFIXES, BadImage, file_size, open_tiff, reading
from util.shards import ShardPaths, open_shards
from util.words import counted

EXAMPLES = 3
PAGE = re.compile(r"page_(\d+)")


@dataclass
class Listing:
    """The content of a folder.

    Attributes:
        images: files with the suffix of an image, sorted; pages of a TIFF file as `page_path`.
        others: files of other kinds.
        hidden: files and folders whose name begins with a dot.
        nowhere: links that lead nowhere, without the suffix of an image.
        circles: links to a folder that holds them.
    """

    images: Sequence[Path] = ()
    others: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    nowhere: list[Path] = field(default_factory=list)
    circles: list[Path] = field(default_factory=list)

    def left_out(self) -> str:
        """Count and name the files that are left out, in one sentence; empty if there are none."""
        suffixes = Counter(path.suffix.lower() or "no suffix" for path in self.others)
        kinds = ", ".join(f"{suffix}: {count}" for suffix, count in suffixes.most_common(EXAMPLES))
        more = ", ..." * (len(suffixes) > EXAMPLES)
        parts = [f"{counted(len(self.others), 'file')} of kinds that are not read ({kinds}{more})"] * bool(self.others)
        for paths, what, where in ((self.hidden, "hidden name", ""), (self.nowhere, "link", " to nowhere"),
                                   (self.circles, "link", " in a circle")):
            if paths:
                names = ", ".join(path.name for path in paths[:EXAMPLES]) + ", ..." * (len(paths) > EXAMPLES)
                parts.append(f"{counted(len(paths), what)}{where} ({names})")
        return f"left out: {'; '.join(parts)}" if parts else ""


def is_image(path: Path) -> bool:
    """Check whether the name has the suffix of an image and is not hidden (``._x.png`` of macOS is no image)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path, flag: str, limit: int | None = None, *, pages: str = "first") -> Listing:
    """Find the images in a folder and its subfolders, sorted by path, and everything that is left out.

    Links to folders are followed, but not in circles. Tar files with an index may stand for the folder
    (`util.shards`); they hold nothing that is left out.

    Args:
        folder: the folder.
        flag: the flag that names the folder, such as ``--dataroot``; error messages begin with it.
        limit: return only the first images; None: all.
        pages: ``all``: each page of a TIFF file with several is an image; ``first``: the first only.

    Raises:
        UserError: the folder is missing, cannot be read, or holds no image; or see `open_shards`.
    """
    shards = open_shards(folder)
    if shards is None and not folder.is_dir():
        raise UserError(f"{flag}: there is no folder {folder}; it should hold the images")
    listing = Listing()
    if shards:
        listing.images = ShardPaths(shards, range(len(shards)))
    else:
        images: list[Path] = []
        _walk(folder, flag, listing, images, frozenset(map(_identity, folder.resolve().parents)))
        listing.images = sorted(images, key=Path.as_posix)
    if not listing.images:
        left = listing.left_out()
        raise UserError(f"{flag}: no images in {folder}; expected files such as .png, .jpg, .webp, .tif, .npy"
                        + f" ({left})" * bool(left))
    if pages == "all":
        listing.images = [page for path in listing.images[:limit] for page in pages_of(path)]
    listing.images = listing.images[:limit]
    return listing


def find_images(folder: Path, flag: str, limit: int | None = None) -> list[Path]:
    """Return the images that `list_images` finds.

    Raises:
        UserError: see there.
    """
    return list(list_images(folder, flag, limit).images)


def images_by_name(folder: Path, images: Sequence[Path], flag: str) -> dict[str, Path]:
    """Return images of a folder by their names: relative paths without suffix, with the number of a page.

    Raises:
        UserError: two images have the same name; begins with ``flag``.
    """
    found: dict[str, Path] = {}
    for path in images:
        file, page = split_page(path)
        name = file.relative_to(folder).with_suffix("").as_posix() + ("" if file == path else f"/{page}")
        if name in found:
            raise UserError(
                f"{flag}: {found[name]} and {path} have the same name, so their partner is ambiguous;"
                " remove one of them"
            )
        found[name] = path
    return found


def _walk(
    folder: Path, flag: str, listing: Listing, images: list[Path], ancestors: frozenset[tuple[int, int]],
) -> None:
    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"{flag}: cannot read the folder {error.filename} ({error.strerror})") from None

    try:
        ancestors |= {_identity(folder)}
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        refuse(error)
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            listing.hidden.append(path)
        elif _leads_to_folder(entry):
            if _identity(path) in ancestors:
                listing.circles.append(path)
            else:
                _walk(path, flag, listing, images, ancestors)
        elif is_image(path):
            images.append(path)
        else:
            (listing.nowhere if entry.is_symlink() and not path.exists() else listing.others).append(path)


def _identity(folder: Path) -> tuple[int, int]:
    """Return two numbers that tell a folder from all others."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def page_path(path: Path, number: int) -> Path:
    """Return the name of a page of a TIFF file, from 0: ``stack.tif/page_0001``, as if the file were a folder."""
    return path / f"page_{number + 1:04}"


def split_page(path: Path) -> tuple[Path, int]:
    """Return the file and the number of the page, from 0, of a `page_path`; of another path itself and 0."""
    match = PAGE.fullmatch(path.name)
    if match and path.parent.suffix.lower() in FORMATS["TIFF"]:
        return path.parent, int(match[1]) - 1
    return path, 0


def pages_of(path: Path) -> Sequence[Path]:
    """Return a path for each page of a TIFF file with several; for another file itself."""
    count = count_pages(path)
    return [path] if count < 2 else [page_path(path, number) for number in range(count)]


def count_pages(path: Path) -> int:
    """Count the pages of a TIFF file; 1 for a file of another kind, or that cannot be read."""
    if path.suffix.lower() not in FORMATS["TIFF"] or file_size(path) is None:
        return 1
    try:
        with reading(path), open_tiff(path) as file:
            return len(file.pages)
    except BadImage:  # named when it is read
        return 1
