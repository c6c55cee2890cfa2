"""Open image files, also those in tar files (`util.shards`): their formats, their errors, and a limit of their size."""

import errno
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile

from util.errors import UserError
from util.files import sha256_of
from util.shards import find_member

FORMATS = {
    "PNG": (".png", ".apng"), "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"), "BMP": (".bmp",), "GIF": (".gif",), "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"), "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"), "TGA":
    (".tga", ".icb", ".vda", ".vst"), "DIB": (".dib",), "QOI": (".qoi",), "PSD": (".psd",), "PCX": (".pcx",), "SGI":
    (".sgi", ".rgb", ".rgba", ".bw"), "SUN": (".ras",), "ICO": (".ico",), "ICNS": (".icns",), "CUR": (".cur",), "DDS":
    (".dds",), "BLP": (".blp",), "FTEX": (".ftc", ".ftu"), "GBR": (".gbr",), "DCX": (".dcx",), "FLI": (".fli", ".flc"),
    "IM": (".im",), "IPTC": (".iim",), "MSP": (".msp",), "PCD": (".pcd",), "PIXAR": (".pxr",), "XBM": (".xbm",),
    "XPM": (".xpm",),
}
"""Pillow's formats that are decoded, whatever the suffix, and the suffixes by which they are found.

Not EPS and WMF, which run other programs; not FITS, whose signed numbers Pillow misreads; not the formats that Pillow
knows by name only."""

ARRAYS = (".npy", ".npz")
SUFFIXES = (*(suffix for suffixes in FORMATS.values() for suffix in suffixes), *ARRAYS)

MOST_PIXELS = 178_956_970
"""Largest number of pixels of a file, unless the environment sets another: half a gigabyte in colour."""

Image.MAX_IMAGE_PIXELS = None  # `refuse_bomb` raises an error; Pillow would warn

# Exceptions of decoders for damaged, foreign or absurdly large files.
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, RuntimeError, ArithmeticError,
               AttributeError, struct.error, zlib.error, zipfile.BadZipFile)


class BadImage(UserError):  # noqa: N818 - as UserError, told to people
    """A file that cannot be read as an image."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert errors of decoders during the block to a `BadImage` that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise BadImage(f"{path}: there is no such file any more, or its link is broken; restore it") from None
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # not an error of the file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"{path} cannot be read as an image ({reason}); repair or remove it") from None


def source_of(path: Path) -> Path | BytesIO:
    """Return the argument of decoders: the path of the file, or its bytes if a tar file holds it.

    Raises:
        BadImage: it is a folder, a pipe or a device.
        OSError: see `Shards.read`.
        ValueError: see `Shards.read`.
    """
    if member := find_member(path):
        shards, number = member
        return BytesIO(shards.read(number))
    if path.exists() and not path.is_file():
        raise BadImage(f"{path} is no regular file but a folder, a pipe or a device; remove it")
    return path


def open_file(path: Path) -> BinaryIO:
    """Open a file, which a tar file may hold, to read its bytes.

    Raises:
        BadImage: see `source_of`; OSError and ValueError, too.
    """
    source = source_of(path)
    return source.open("rb") if isinstance(source, Path) else source


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a file; errors are those of `open_file`."""
    with open_file(path) as file:
        return file.read()


def sha256_of_image(path: Path) -> str:
    """Compute the SHA-256 of a file, which a tar file may hold, hexadecimal.

    Raises:
        BadImage: it cannot be read.
    """
    with reading(path), open_file(path) as file:
        return sha256_of(file)


def file_size(path: Path) -> int | None:
    """Return the bytes of a file, which a tar file may hold; None if there is no such file."""
    if member := find_member(path):
        shards, number = member
        return shards.size(number)
    return path.stat().st_size if path.is_file() else None


@contextmanager
def opened(path: Path) -> Iterator[ImageFile]:
    """Open a file with Pillow and read its header; convert errors, also during the block, to a `BadImage`."""
    with reading(path), Image.open(source_of(path), formats=list(FORMATS)) as image:
        refuse_bomb(path, *image.size)
        yield image


def open_tiff(path: Path) -> Any:
    """Open a file with tifffile."""
    import tifffile  # noqa: PLC0415 - most data sets need no TIFF

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its errors and ours say it
    return tifffile.TiffFile(source_of(path))


def refuse_bomb(path: Path, width: int, height: int) -> None:
    """Raise `BadImage` if a header asks for too much memory: a few bytes can ask for gigabytes.

    Raises:
        UserError: the environment's limit is no number.
    """
    text = os.environ.get("MAX_IMAGE_PIXELS", str(MOST_PIXELS))
    if not text.isdecimal():
        raise UserError(f"the environment has MAX_IMAGE_PIXELS {text}, which is no number of pixels; unset it")
    if width * height > int(text):
        raise BadImage(f"{path} has {width}x{height} pixels, and more than {text} are taken for an attack; scale "
                       "it down or remove it, or set MAX_IMAGE_PIXELS in the environment")
