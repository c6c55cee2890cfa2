"""The images that runs are compared on: scaled copies, and pairs for methods that need them."""

import shutil
import zlib
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from datasets.building import picture, save_png, whole_folder, work_through
from evaluation.pairing import partners
from util.image_folders import find_images
from util.images import image_size

FOLDERS = ("trainA", "trainB", "testA", "testB")


def scaled(dataroot: Path, size: int, place: Path) -> Path:
    """Return the data set with images of ``size`` pixels: itself, or a copy, which is made once in ``place``."""
    found = {folder: find_images(dataroot / folder, "--dataroot") for folder in FOLDERS}
    if all(image_size(path) == (size, size) for paths in found.values() for path in paths):
        return dataroot
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for paths in found.values() for path in paths]
    copy = place / f"{dataroot.resolve().name}-{size}-{zlib.crc32(repr(files).encode()):08x}"  # others have another
    if not copy.is_dir():
        try:
            with whole_folder(copy) as whole:
                for folder, paths in found.items():
                    work_through(partial(save_scaled, whole / folder, size), paths, threads=2)
        except OSError:
            if not copy.is_dir():  # not made by another call meanwhile
                raise
    return copy


def save_scaled(folder: Path, size: int, path: Path) -> None:
    """Write a square copy of an image, ``size`` pixels wide, into a folder."""
    save_png(picture(path, (size, size)), folder / f"{path.stem}.png")


def true_pairs(dataroot: Path, place: Path) -> Path:
    """Make a data set of true pairs, once: the photographs of ``trainB``, and the sheets of ``judgeA`` as ``trainA``.

    Pairs are repeated until there are as many as images in ``trainA`` of ``dataroot``, so that an epoch has as many
    updates.
    """
    photographs = find_images(dataroot / "trainB", "--dataroot")
    sheets = partners(photographs, dataroot / "trainB", dataroot / "judgeA", "--dataroot")
    updates = max(len(find_images(dataroot / "trainA", "--dataroot")), len(photographs))
    pairs = place / f"{dataroot.resolve().name}-pairs"
    if not pairs.is_dir():
        with whole_folder(pairs) as whole:
            for folder, paths in ("trainA", sheets), ("trainB", photographs):
                copy_in_turns(paths, whole / folder, updates)
    return pairs


def copy_in_turns(paths: Sequence[Path], folder: Path, number: int) -> None:
    """Copy ``number`` files into a new folder under consecutive numbers, from the first again after the last."""
    folder.mkdir()
    for index, path in enumerate(islice(cycle(paths), number)):
        shutil.copyfile(path, folder / f"{index:05d}{path.suffix}")
