"""Image files that belong together by name."""

from collections.abc import Sequence
from pathlib import Path

from util.errors import UserError
from util.image_folders import find_images
from util.images import image_size


def partners(files: Sequence[Path], root: Path, folder: Path, flag: str) -> list[Path]:
    """Find, for each file in ``root``, the image in ``folder`` with the same path up to the suffix: ``p1/slice1``.

    Raises:
        UserError: the folder holds no image, a file has no partner or several, or two files have the same one; the
            message begins with ``flag``.
    """
    by_name: dict[Path, list[Path]] = {}
    for path in find_images(folder, flag):
        by_name.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    found = []
    named: dict[Path, Path] = {}
    for path in files:
        name = path.relative_to(root).with_suffix("")
        alike = by_name.get(name, [])
        if not alike:
            raise UserError(f"{flag}: '{path}' has no partner in '{folder}': add an image named {name.as_posix()}")
        if len(alike) > 1:
            raise UserError(f"{flag}: '{path}' has several partners in '{folder}': keep one image named "
                            f"{name.as_posix()}")
        if (other := named.setdefault(name, path)) != path:
            raise UserError(f"{flag}: '{other}' and '{path}' have the same partner in '{folder}': keep one of the two")
        found += alike
    return found


def in_styles(folders: Sequence[Path]) -> list[list[Path]]:
    """List the images of each folder of --outputs, a style, in the order of the first folder; leave out further images.

    Raises:
        UserError: the first folder holds no image, or one of its images has no partner in another.
    """
    first = find_images(folders[0], "--outputs")
    return [first, *(partners(first, folders[0], folder, "--outputs") for folder in folders[1:])]


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
