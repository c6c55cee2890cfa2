"""Image files that belong together by name."""

from collections.abc import Sequence
from pathlib import Path

from util.errors import UserError
from util.images import find_images, image_size


def partners(files: Sequence[Path], folder: Path, flag: str) -> list[Path]:
    """Find, for each file, the image directly in ``folder`` with the same name up to the suffix.

    Raises:
        UserError: the folder holds no image, or a file has no partner or several; the message begins with ``flag``.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in find_images(folder, flag, subfolders=False):
        by_stem.setdefault(path.stem, []).append(path)
    for path in files:
        found = by_stem.get(path.stem, [])
        if not found:
            raise UserError(f"{flag}: '{path}' has no partner in '{folder}': add an image named {path.stem}")
        if len(found) > 1:
            raise UserError(f"{flag}: '{path}' has several partners in '{folder}': keep one image named {path.stem}")
    return [by_stem[path.stem][0] for path in files]


def in_styles(folders: Sequence[Path]) -> list[list[Path]]:
    """List the images of each folder of --outputs, a style, in the order of the first folder; leave out further images.

    Raises:
        UserError: the first folder holds no image, or one of its images has no partner in another.
    """
    first = find_images(folders[0], "--outputs", subfolders=False)
    return [first, *(partners(first, folder, "--outputs") for folder in folders[1:])]


def require_equal_sizes(files: Sequence[Path], others: Sequence[Path]) -> None:
    """Compare the sizes of pairs of images; reads no pixels.

    Raises:
        UserError: two partners differ in size, or a file is no image.
    """
    for path, other in zip(files, others, strict=True):
        (height, width), (other_height, other_width) = image_size(path), image_size(other)
        if (height, width) != (other_height, other_width):
            raise UserError(f"'{path}' has {width}x{height} pixels, its partner '{other}' "
                            f"{other_width}x{other_height}; make them alike")
