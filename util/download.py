"""Files from the network: resumed where they stopped, checked against a known SHA-256, unpacked into one folder."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import shutil
import stat
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from typing import IO

from .errors import REFUSALS, UserError
from .files import replace
from .files import sha256 as sha256_of

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5  # connections that may break, each after some progress or none
GIGABYTE = 10**9
UNFOLDED = 20  # images and weights, which are what is unpacked here, hardly shrink in an archive; bombs do 1000-fold


def download(
    url: str, path: Path, sha256: str | None, progress: Callable[[int], None] = lambda count: None, *,
    most: int = 100 * GIGABYTE,
) -> Path:
    """Download a file, unless it is there already; a broken download goes on where it stopped, now or later.

    Args:
        url: ``http`` or ``https``.
        path: where the file goes. Until it is whole and checked it is `part_of` it.
        sha256: what the content must have, hexadecimal; None where nobody knows it: whatever comes whole is taken.
        progress: told how many bytes have come.
        most: bytes that the file may have.

    Returns:
        ``path``.

    Raises:
        UserError: it cannot be had, is too large, or is another file.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url} is no address of a file to download: it should begin with https://")
    if path.is_file() and (sha256 is None or sha256_of(path) == sha256.lower()):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path, url)
    reason: object = "the connection broke"
    for _ in range(ATTEMPTS):
        try:
            if _fetch(url, part, progress, most):
                break
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise UserError(f"{url} cannot be downloaded ({error.code} {error.reason}); check it") from None
            reason = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename:  # the disk, not the network
                raise
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
    else:
        raise UserError(f"{url} cannot be downloaded ({reason}); run it again to go on where it stopped")
    if sha256 is not None and (found := sha256_of(part)) != sha256.lower():
        part.unlink()
        raise UserError(f"{url} is not the expected file: its SHA-256 is {found} instead of {sha256}; nothing of it "
                        "was kept")
    replace(part, path)
    return path


def part_of(path: Path, url: str) -> Path:
    """Where the beginning of a file is kept; another address's file may be another one, and has another beginning."""
    return path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def _fetch(url: str, part: Path, progress: Callable[[int], None], most: int) -> bool:
    """One connection: append to ``part`` what is missing; returns whether that is all."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] in ("", "*", str(have)):
            return True  # nothing behind what we have: it is all, or of another file, which its checksum tells
        part.unlink()  # of another file for certain
        return False
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        whole = have + int(length) if length.isdecimal() else None
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read1(BLOCK):
                have += len(block)
                if have > most:
                    break
                file.write(block)
                progress(len(block))
    if have > most or (whole or 0) > most:
        part.unlink()
        raise UserError(f"{url} has more than {most} bytes, which it should not; nothing of it was kept")
    return whole is None or have >= whole


def unpack(archive: Path, folder: Path, *, most: int | None = None) -> Path:
    """Unpack a zip or tar archive into a new folder, whole or not at all.

    Only plain files and folders are taken, and only to places inside ``folder``; an archive that holds a link, a device
    or a path to elsewhere is refused as a whole. Permissions and owners are not taken over.

    Args:
        archive: ``.zip``, or ``.tar`` with any of Python's compressions; told by its content.
        folder: must not exist yet.
        most: bytes that all files together may have (default: `UNFOLDED` times the archive's).

    Returns:
        ``folder``.

    Raises:
        UserError: the archive is damaged, refused or too large, or the folder exists.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; remove it or unpack {archive.name} elsewhere")
    folder.parent.mkdir(parents=True, exist_ok=True)
    most = UNFOLDED * archive.stat().st_size if most is None else most
    temporary = folder.parent / f".{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        written = 0
        for name, content in _members(archive):
            place = temporary / _safe(name, archive)
            place.parent.mkdir(parents=True, exist_ok=True)
            with content, place.open("xb") as file:
                while block := content.read(BLOCK):
                    written += len(block)
                    if written > most:
                        raise UserError(f"{archive} unfolds to more than {most} bytes, which it should not")
                    file.write(block)
        return temporary.rename(folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError,
            RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno in REFUSALS:
            raise
        raise UserError(f"{archive} cannot be unpacked ({' '.join(str(error).split())}); download it again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The name and the content of every file in an archive."""
    # A tar archive whose last file is a zip, as PyTorch's are, looks like one at its end.
    if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
                _refuse_unless(kind in (0, stat.S_IFREG, stat.S_IFDIR), entry.filename, archive)
                if not entry.is_dir():
                    yield entry.filename, packed.open(entry)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            _refuse_unless(member.isreg() or member.isdir(), member.name, archive)
            if (content := tar.extractfile(member)) is not None:
                yield member.name, content
        while tar.fileobj and tar.fileobj.read(BLOCK):  # to the end of the compressed data, where their checksum is
            pass


def _refuse_unless(plain: bool, name: str, archive: Path) -> None:
    if not plain:
        raise UserError(f"{archive} holds {name!r}, which is a link or a device; it was not unpacked")


def _safe(name: str, archive: Path) -> Path:
    """A member's path, which leads to no place outside the folder, on any system."""
    path = PureWindowsPath(name)  # splits at both kinds of slashes
    if not path.parts or path.anchor or ".." in path.parts or ":" in name or not name.isprintable():
        raise UserError(f"{archive} holds {name!r}, which leads out of the folder; it was not unpacked")
    return Path(*path.parts)
