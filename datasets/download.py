"""Download a public data set of CycleGAN, CUT or pix2pix.

    python datasets/download.py --list
    python datasets/download.py horse2zebra                       into datasets/horse2zebra
    python datasets/download.py maps --archive ~/Downloads/maps.zip

A broken download goes on where it stopped, at once or when the command is run again. The archive is checked against its
SHA-256 where that is known. Where it is not, the first download's is noted beside the set, in NAME.sha256, and later
downloads are checked against it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/download.py` sees the clone

from datasets.building import whole_folder
from datasets.sources import CITYSCAPES, SOURCES, Source
from util.download import download, part_of, unpack
from util.errors import UserError, run_program
from util.files import replacing
from util.files import sha256 as sha256_of
from util.images import is_image
from util.words import counted


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, download, unpack, say what is there."""
    flags = parse(argv)
    if flags.list:
        print(table())
        return
    if flags.name == "cityscapes":
        raise UserError(CITYSCAPES)
    if flags.name not in SOURCES:
        raise UserError(f"there is no set '{flags.name or ''}'; name one of {', '.join(SOURCES)}, cityscapes")
    source, place = SOURCES[flags.name], flags.out / flags.name
    if place.exists():
        print(f"{place} is there already; remove it to download it anew")
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


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="download.py", description="Download a public data set of CycleGAN, CUT or pix2pix.", allow_abbrev=False)
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="which set; --list names them")
    add("--list", action="store_true", help="list the sets and end")
    add("--out", type=Path, default=Path(__file__).resolve().parent, metavar="DIR",
        help="the set becomes a folder in this one (default: the folder of this program)")
    add("--archive", type=Path, metavar="FILE", help="unpack this archive, which was downloaded otherwise")
    add("--url", metavar="URL", help="download from here (default: the set's own address)")
    add("--sha256", type=str.lower, metavar="HEX", help="what the archive must have, instead of what is known")
    return parser.parse_args(argv)


def fetch(name: str, source: Source, out: Path, url: str | None, sha256: str | None) -> None:
    """Download an archive and unpack it into ``out/name``.

    Raises:
        UserError: it cannot be had, is another file than expected, or holds what it should not.
    """
    from tqdm import tqdm  # noqa: PLC0415 - a progress bar, where the output is a terminal

    address = url or source.address.format(name)
    packed = out / f"{name}.archive"
    part = part_of(packed, address)
    size = f", {source.size / 1e6:.0f} MB" if source.size else ""
    print(f"{name}: {source.content}{size}, from {address}", flush=True)
    with tqdm(total=source.size, initial=part.stat().st_size if part.exists() else 0, unit="B", unit_scale=True,
              disable=None) as bar:
        try:
            download(address, packed, sha256 or known_sha256(name, source, out), bar.update)
        except UserError as error:
            raise UserError(f"{error}. Where this machine has no network, download the archive elsewhere and name the "
                            "file with --archive; if the archive itself has changed, --sha256 accepts it") from None
    try:
        install(packed, out / name, source.inside)
        note_sha256(out / name, sha256_of(packed))
    finally:
        packed.unlink()  # a damaged one must not be found next time


def known_sha256(name: str, source: Source, out: Path) -> str | None:
    """What is noted beside the set or, first of all, published; None where neither is."""
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
        packed: zip or tar. Folders that hold nothing but one other folder are left out.
        place: must not exist.
        inside: the folder of the archive that counts; empty: all.

    Raises:
        UserError: the archive is damaged, leads elsewhere, or holds no images.
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
    """Whether a folder holds nothing but one other folder, which is not a part of a set."""
    entries = visible(folder)
    return len(entries) == 1 and entries[0].is_dir() and not entries[0].name.startswith(("train", "val", "test"))


def visible(folder: Path) -> list[Path]:
    """What a folder holds, without what file managers leave in archives."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def contents(place: Path, source: Source) -> str:
    """How many images each folder of a set holds, and how it is read."""
    lines = [f"{folder.name}: {counted(sum(map(is_image, folder.rglob('*'))), 'image')}"
             for folder in visible(place) if folder.is_dir()]
    mode = " --dataset_mode aligned" if source.pairs else ""
    return "\n".join([*lines, f"train.py --dataroot {place}{mode} reads it"])


def table() -> str:
    """Every set in a line."""
    lines = [f"{name:27} {f'{source.size / 1e6:.0f} MB' if source.size else '':>8}  {source.content}"
             for name, source in SOURCES.items()]
    return "\n".join([*lines, f"{'cityscapes':27} {'':>8}  from its own site alone: prepare_cityscapes.py"])


if __name__ == "__main__":
    run_program("download.py", main)
