"""Pack the folders of a data set into a few tar files with an index, for data sets of very many small files.

    python datasets/make_shards.py datasets/mine --out datasets/mine_packed
    python datasets/make_shards.py datasets/mine_packed --index

``trainA`` becomes ``trainA-00000.tar``, ``trainA-00001.tar``, ... and ``trainA.index``, and so do the other folders.
Every program reads them as it reads the folder. With --index, tar files that are already there get their index.
"""

import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/make_shards.py` sees the clone

from data.check import folders_of
from datasets.building import whole_folder
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.image_files import file_size, read_bytes
from util.image_folders import is_image, list_images
from util.shards import Entry, save_index, tars_of
from util.words import counted

HEADERS = 4 * tarfile.BLOCKSIZE  # of a file, at most: a long name, and zeros behind the file
END = tarfile.RECORDSIZE  # of zeros, at most


@dataclass(frozen=True, kw_only=True)
class ShardFlags:
    """Pack the folders of a data set into tar files with an index."""

    dataroot: Path = flag(REQUIRED, "the data set: a folder that holds trainA and trainB", positional=True)
    out: Path | None = flag(None, "the packed data set, a folder that does not exist")
    megabytes: int = flag(1000, "size of a tar file at most; a larger image has one of its own", minimum=1)
    index: bool = flag(False, "only write the index of the tar files that are in the data set")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, pack, and print the content."""
    flags = parse_flags(ShardFlags, "make_shards.py", argv)
    if not flags.dataroot.is_dir():
        raise UserError(f"there is no folder {flags.dataroot}; name the folder that holds trainA and trainB")
    if flags.index == (flags.out is not None):
        raise UserError("give either --out, the folder of the packed data set, or --index, if it is packed already")
    folders = folders_of(flags.dataroot)
    if flags.out is None:
        for folder in folders.values():
            index(folder)
        return
    with whole_folder(flags.out) as packed:
        for name, folder in folders.items():
            pack(folder, packed / name, flags.megabytes * 10**6)
            index(packed / name)
    print(f"{flags.out} is ready; check it with python -m data.check {flags.out}")


def pack(folder: Path, packed: Path, most: int) -> None:
    """Write the images of a folder into tar files ``{packed}-00000.tar``, ... of at most ``most`` bytes."""
    listing = list_images(folder, "--dataroot")
    if left_out := listing.left_out():
        print(f"{folder}: {left_out}")
    for number, paths in enumerate(parts(listing.images, most)):
        with tarfile.open(packed.with_name(f"{packed.name}-{number:05}.tar"), "w", format=tarfile.GNU_FORMAT) as tar:
            for path in paths:
                data = read_bytes(path)
                header = tarfile.TarInfo(path.relative_to(folder).as_posix())
                header.size = len(data)
                tar.addfile(header, BytesIO(data))


def parts(paths: Sequence[Path], most: int) -> Iterator[list[Path]]:
    """Yield the files of each tar file."""
    part: list[Path] = []
    used = END
    for path in paths:
        size = (file_size(path) or 0) + HEADERS
        if part and used + size > most:
            yield part
            part, used = [], END
        part.append(path)
        used += size
    yield part


def index(folder: Path) -> None:
    """Write the index of the tar files that stand for a folder, and print their content.

    Raises:
        UserError: there is no tar file, one is compressed, damaged, or holds no image or links, or two hold files of
            one name.
    """
    tars = tars_of(folder)
    if not tars:
        raise UserError(f"there are no tar files {folder}.tar or {folder}-00000.tar; pack the folder with --out")
    entries: dict[str, Entry] = {}
    others = 0
    for number, tar in enumerate(tars):
        for entry in scan(tar, number):
            if is_image(Path(entry.name)) and "/." not in f"/{entry.name}":
                # In one tar file, as when it is unpacked, a later file takes the place of an earlier one.
                if (earlier := entries.get(entry.name, entry)).tar != number:
                    raise UserError(f"{tars[earlier.tar]} and {tar} both hold {entry.name}, and only one of the two "
                                    "would be read; give one another name, and pack it again")
                entries[entry.name] = entry
            else:
                others += 1
    if not entries:
        raise UserError(f"{tars[0]} holds no images")
    save_index(folder, tars, list(entries.values()))
    print(f"{folder.name}: {counted(len(entries), 'image')} in {counted(len(tars), 'tar file')}"
          + f", and {counted(others, 'file')} of kinds that are not read" * bool(others))


def scan(tar: Path, number: int) -> Iterator[Entry]:
    """Read a tar file and yield the place of each file in it.

    Raises:
        UserError: it is compressed or damaged, or holds links or names that lead out of the folder.
    """
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = str(PurePosixPath(member.name))
                if not member.isreg() or member.issparse():
                    raise UserError(f"{tar}: {name} is a link or no plain file; pack the files themselves, as "
                                    "make_shards.py --out or tar --dereference --hard-dereference do")
                if name.startswith("/") or ".." in PurePosixPath(name).parts:
                    raise UserError(f"{tar}: {name} leads out of the folder; pack with relative names")
                file = archive.extractfile(member)
                data = file.read() if file else b""
                yield Entry(name, number, member.offset_data, member.size, zlib.crc32(data))
            if not ends(tar, archive.offset):
                raise tarfile.ReadError(f"byte {archive.offset} begins neither a file nor the end")
    except tarfile.TarError as error:
        raise UserError(f"{tar} is no whole, uncompressed tar file ({error}); pack it again") from None


def ends(tar: Path, offset: int) -> bool:
    """Check whether a tar file has a block of zeros at ``offset``, and nothing but zeros behind it.

    Python's module takes a cut tar file, a damaged header and the first of several joined tar files for the end.
    """
    with tar.open("rb") as file:
        file.seek(offset)
        rest = iter(lambda: file.read(1 << 20), b"")
        return len(first := next(rest, b"")) >= tarfile.BLOCKSIZE and not any(
            block.strip(b"\0") for block in chain([first], rest))


if __name__ == "__main__":
    run_program("make_shards.py", main)
