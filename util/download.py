"""Download files and unpack archives of servers that may fail, or send something else."""

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
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from .errors import REFUSALS, UserError
from .files import replace
from .files import sha256 as sha256_of

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5  # connections
MOST = 100 * 10**9  # bytes of a download
EXPANSION = 20  # images and weights hardly shrink in an archive; decompression bombs grow 1000-fold


def download(url: str, path: Path, sha256: str | None, *, size: int | None = None) -> Path:
    """Download a file with a progress bar, and resume a broken download, in this call or a later one.

    Args:
        url: ``http`` or ``https``.
        path: destination. It appears when the file is complete and checked; until then there is `part_of` it. A file
            with the right checksum is not downloaded again.
        sha256: expected checksum, hexadecimal; None: accept any content.
        size: expected bytes, for the progress bar.

    Returns:
        ``path``.

    Raises:
        UserError: the file is not available, too large, or has another checksum.
    """
    from tqdm import tqdm  # noqa: PLC0415 - optional: only a terminal shows it

    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url} cannot be downloaded: an address begins with https://")
    if path.is_file() and sha256 in (None, sha256_of(path)):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part, reason = part_of(path, url), "the connection broke"
    with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar:
        for _ in range(ATTEMPTS):
            try:
                if _append(url, part, bar):
                    break
            except urllib.error.HTTPError as error:
                reason = f"{error.code} {error.reason}"
                if error.code < 500 and error.code != 429:
                    raise UserError(f"{url} cannot be downloaded ({reason}); check it") from None
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and (error.filename or error.errno in REFUSALS):
                    raise  # of the disk, not of the network
                reason = str(error.reason if isinstance(error, urllib.error.URLError) else error)
        else:
            raise UserError(f"{url} cannot be downloaded ({reason}); run the command again to resume")
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        part.unlink()
        raise UserError(f"{url} is not the expected file: its SHA-256 is {found} instead of {sha256}; it was removed")
    replace(part, path)
    return path


def part_of(path: Path, url: str) -> Path:
    """Return the path of an incomplete download. It depends on the address: another one may hold another file."""
    return path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def _append(url: str, part: Path, bar: Any) -> bool:
    """Append the missing bytes to ``part``, in one connection; return whether it is complete."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()  # the file has no such byte: the part is complete but unchecked, or of another file
        return False
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
        length = response.headers.get("Content-Length", "")
        end = have + int(length) if length.isdecimal() else 0
        bar.update(have - bar.n)
        with part.open("ab" if have else "wb") as file:
            while max(have, end) <= MOST and (block := response.read1(BLOCK)):
                file.write(block)
                have += len(block)
                bar.update(len(block))
    if max(have, end) > MOST:
        part.unlink()
        raise UserError(f"{url} has more than {MOST} bytes; it was removed")
    return have >= end


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive into a new folder, whole or not at all.

    An archive that holds a link, a device, or a path out of ``folder`` is refused. Permissions and owners are ignored.

    Args:
        archive: zip, or tar with any compression that Python knows, whatever its name.
        folder: must not exist.

    Returns:
        ``folder``.

    Raises:
        UserError: the archive is damaged, refused or too large, or ``folder`` exists.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; remove it or unpack {archive.name} elsewhere")
    folder.parent.mkdir(parents=True, exist_ok=True)
    most = EXPANSION * archive.stat().st_size
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
                        raise UserError(f"{archive} unpacks to more than {most} bytes; it was not unpacked")
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
    """Yield the name and the content of every file in an archive."""
    # A tar archive that ends with a zip file, such as a checkpoint of PyTorch, looks like a zip archive too.
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
        while tar.fileobj and tar.fileobj.read(BLOCK):  # the checksum is at the end of the compressed data
            pass


def _refuse_unless(plain: bool, name: str, archive: Path) -> None:
    if not plain:
        raise UserError(f"{archive} holds {name!r}, which is a link or a device; it was not unpacked")


def _safe(name: str, archive: Path) -> Path:
    """Return a member's relative path, or raise `UserError` if it leads out of its folder on any system."""
    path = PureWindowsPath(name)  # splits at slashes and backslashes
    if not path.parts or path.anchor or ".." in path.parts or ":" in name or not name.isprintable():
        raise UserError(f"{archive} holds {name!r}, which leads out of the folder; it was not unpacked")
    return Path(*path.parts)
