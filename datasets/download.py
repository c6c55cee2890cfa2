"""Download a public data set of CycleGAN, CUT or pix2pix.

    python datasets/download.py --list
    python datasets/download.py horse2zebra                       into datasets/horse2zebra
    python datasets/download.py maps --archive ~/Downloads/maps.zip

A broken download resumes, at once or when the command is run again. The archive must have the published SHA-256. If
none is published, the checksum of the first download is written beside the set, in NAME.sha256, and later downloads
must have it.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/download.py` sees the clone

from datasets.building import whole_folder
from datasets.sources import CITYSCAPES, SOURCES, Source
from options import flag, parse_flags
from util.download import download, unpack
from util.errors import UserError, run_program
from util.files import replacing
from util.files import sha256 as sha256_of
from util.image_folders import is_image
from util.words import counted


@dataclass(frozen=True)
class DownloadFlags:
    """Download a public data set of CycleGAN, CUT or pix2pix."""

    name: str = flag("", "the set; --list names all", positional=True)
    list: bool = flag(False, "list the sets and exit")
    out: Path = flag(Path(__file__).resolve().parent, "folder that gets the set as a folder")
    archive: Path | None = flag(None, "unpack this archive instead of downloading one")
    url: str | None = flag(None, "download from this address", unset="the set's own address")
    sha256: str | None = flag(None, "SHA-256 of the archive", parse=str.lower, unset="the known one")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, download, unpack, and print the content of the set."""
    flags = parse_flags(DownloadFlags, "download.py", argv)
    if flags.list:
        print(table())
        return
    if flags.name == "cityscapes":
        raise UserError(CITYSCAPES)
    if flags.name not in SOURCES:
        raise UserError(f"there is no set '{flags.name}'; name one of {', '.join(SOURCES)}, cityscapes")
    source, place = SOURCES[flags.name], flags.out / flags.name
    if place.exists():
        print(f"{place} is there already; remove it to download it again")
    elif flags.archive:
        expected = flags.sha256 or known_sha256(flags.name, source, flags.out)
        digest = sha256_of(flags.archive)
        if expected and digest != expected:
            raise UserError(f"{flags.archive} is not the expected file: its SHA-256 is {digest} instead of {expected}")
        install(flags.archive, place, source.inside)
        note_sha256(place, digest)
    else:
        fetch(flags.name, source, flags.out, flags.url, flags.sha256)
    print(contents(place, source))


def fetch(name: str, source: Source, out: Path, url: str | None, sha256: str | None) -> None:
    """Download an archive and unpack it into ``out/name``.

    Raises:
        UserError: the archive is not available, another one than expected, or refused.
    """
    address = url or source.address.format(name)
    packed = out / f"{name}.archive"
    size = f", {source.size / 1e6:.0f} MB" if source.size else ""
    print(f"{name}: {source.content}{size}, from {address}", flush=True)
    try:
        download(address, packed, sha256 or known_sha256(name, source, out), size=source.size)
    except UserError as error:
        raise UserError(f"{error}. Without a network, download the archive elsewhere and pass it with --archive; if "
                        "the archive itself has changed, accept it with --sha256") from None
    try:
        install(packed, out / name, source.inside)
        note_sha256(out / name, sha256_of(packed))
    finally:
        packed.unlink()  # or a damaged one would be used again


def known_sha256(name: str, source: Source, out: Path) -> str | None:
    """Return the checksum that is noted beside the set, else the published one, if any."""
    note = out / f"{name}.sha256"
    noted = note.read_text(encoding="utf-8", errors="replace").lower().split() if note.is_file() else []
    if not noted:
        return source.sha256
    if not re.fullmatch("[0-9a-f]{64}", noted[0]):
        raise UserError(f"{note} is damaged: it holds no SHA-256; remove it")
    return noted[0]


def note_sha256(place: Path, digest: str) -> None:
    """Write ``NAME.sha256`` beside the set."""
    with replacing(place.with_name(f"{place.name}.sha256")) as temporary:
        temporary.write_text(f"{digest}  {place.name}\n", encoding="utf-8")


def install(packed: Path, place: Path, inside: str) -> None:
    """Unpack an archive so that ``place`` holds trainA and so on, whole or not at all.

    Args:
        packed: zip or tar. Outer folders that hold only one folder are left out.
        place: must not exist.
        inside: the folder of the archive that is the set; empty: all.

    Raises:
        UserError: the archive is damaged, refused, or holds no images.
    """
    with whole_folder(place) as folder:
        content = unpack(packed, folder / ".archive")
        while is_wrapping(content) and not (inside and (content / inside).is_dir()):
            content = visible(content)[0]
        content = content / inside
        if not content.is_dir() or not any(is_image(path) for path in content.rglob("*")):
            raise UserError(f"{packed} holds no images{f' in {inside}' if inside else ''}; it is another archive")
        for entry in visible(content):
            entry.rename(folder / entry.name)
        shutil.rmtree(folder / ".archive")


def is_wrapping(folder: Path) -> bool:
    """Check whether a folder holds only one folder that is not a part of a set."""
    entries = visible(folder)
    return len(entries) == 1 and entries[0].is_dir() and not entries[0].name.startswith(("train", "val", "test"))


def visible(folder: Path) -> list[Path]:
    """List a folder without the files that file managers leave in archives."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def contents(place: Path, source: Source) -> str:
    """Describe a set: the number of images in each folder, and how to train on it."""
    lines = [f"{folder.name}: {counted(sum(map(is_image, folder.rglob('*'))), 'image')}"
             for folder in visible(place) if folder.is_dir()]
    mode = " --dataset_mode aligned" if source.pairs else ""
    return "\n".join([*lines, f"train.py --dataroot {place}{mode} trains on it"])


def table() -> str:
    """List all sets, one a line."""
    lines = [f"{name:27} {f'{source.size / 1e6:.0f} MB' if source.size else '':>8}  {source.content}"
             for name, source in SOURCES.items()]
    return "\n".join([*lines, f"{'cityscapes':27} {'':>8}  only from its own site: prepare_cityscapes.py"])


if __name__ == "__main__":
    run_program("download.py", main)
