"""Decode image files to the values that they store: any number of channels, up to 64 bits."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from util.array_files import read_array
from util.image_files import ARRAYS, BadImage, open_file, open_tiff, opened, read_bytes, reading, refuse_bomb
from util.image_folders import split_page
from util.value_ranges import Range, full_range
from util.words import counted

_SINGLE = {(1, 12): "uint16", (1, 16): "uint16", (2, 16): "int16", (1, 32): "uint32", (2, 32): "int32",
           (3, 32): "float32"}
"""Types of one-channel TIFF files that Pillow decodes rightly, by sample format and bits."""
_MEANINGS = {0: "greyscale (white is 0)", 1: "greyscale", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr",
             8: "L*a*b*", 32803: "sensor mosaic"}
"""Photometric interpretations of TIFF."""


@dataclass(frozen=True)
class Raster:
    """The values of an image as its file stores them, upright.

    Attributes:
        values: [H, W, C] of any real type.
        kind: of file, for people.
        full: range of the stored type; None for signed and floating types.
        alpha: whether the last channel is opacity.
        premultiplied: whether the others are multiplied by it.
        colour: whether the first three channels are red, green and blue.
        inverted: whether the low end of the range is white.
    """

    values: NDArray[Any]
    kind: str
    full: Range | None
    alpha: bool = False
    premultiplied: bool = False
    colour: bool = False
    inverted: bool = False


def read_raster(path: Path) -> Raster | Image.Image:
    """Decode a file.

    Args:
        path: the file, or a page of a TIFF file (`page_path`).

    Returns:
        The image of Pillow, not turned upright, where it holds the stored values: up to 8 bits a channel. Otherwise a
        raster.

    Raises:
        BadImage: the file is unreadable, truncated, no image, too large, or of a kind that is not read.
    """
    path, page = split_page(path)
    if path.suffix.lower() in ARRAYS:
        return raster_of_array(read_array(path))
    identified = False
    try:
        with opened(path) as image:
            identified = True
            found = _through_pillow(path, image, page)
    except BadImage:
        if identified or not _begins_as_tiff(path):
            raise
        found = None  # Pillow knows few layouts of TIFF
    return _read_tiff(path, page) if found is None else found


def _through_pillow(path: Path, image: ImageFile, page: int) -> Raster | Image.Image | None:
    """Decode an open file; None for a TIFF file that Pillow would decode wrongly."""
    if image.format == "TIFF":
        return _tiff_through_pillow(path, image, page)
    if (deep := _deeper_than_pillow(path, image)) is not None:
        return deep
    image.load()
    if image.mode.startswith("I"):  # the mode of greyscale PNG has changed with Pillow's versions
        dtype = np.int32 if image.mode == "I" and image.format != "PNG" else np.uint16
        return _upright(np.asarray(image).astype(dtype), image, f"{np.dtype(dtype)} {image.format}")
    return _upright(np.asarray(image), image, f"float32 {image.format}") if image.mode == "F" else image


def _deeper_than_pillow(path: Path, image: ImageFile) -> Raster | None:
    """Decode a file with more bits than Pillow would keep; None for another one."""
    codec, how = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")
    if image.format == "PNG" and str(how).endswith(";16B") and image.mode != "I;16":
        return _deep_png(path, image)
    if image.format == "PPM" and image.mode in ("I", "RGB"):
        return _deep_netpbm(path, image)
    if image.format == "JPEG2000" and (bits := _jpeg2000_bits(path)) > 8:
        return _deep_jpeg2000(path, bits)
    if image.format == "SGI" and (codec == "SGI16" or ";16B" in str(how)):
        raise BadImage(f"{path} is a kind of file that is not read: SGI of 16 bits; convert it to TIFF or PNG")
    return None


def raster_of_array(values: NDArray[Any]) -> Raster:
    """Return the raster of [H, W] or [H, W, C]; three channels are red, green and blue."""
    return Raster(as_planes(values), f"{values.dtype} array", full_range(values.dtype), colour=values.shape[2:] == (3,))


def raster_of(image: Image.Image) -> Raster:
    """Return the values of an image of Pillow with more than 8 bits a channel, in memory."""
    dtype = {"F": np.float32, "I": np.int32}.get(image.mode, np.uint16)
    return _upright(np.asarray(image).astype(dtype), image, f"{np.dtype(dtype)} image")


def _upright(values: NDArray[Any], image: Image.Image, kind: str, **facts: Any) -> Raster:
    """Return a raster of [H, W] or [H, W, C], turned by the EXIF orientation of ``image``."""
    values = turned(values, image.getexif().get(ExifTags.Base.Orientation, 1))
    return Raster(as_planes(values), kind, **{"full": full_range(values.dtype), **facts})


def as_planes(values: NDArray[Any]) -> NDArray[Any]:
    """Return [H, W, C] for [H, W] or [H, W, C]."""
    return values[..., None] if values.ndim == 2 else values


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn [H, W, ...] upright by an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _deep_png(path: Path, image: ImageFile) -> Raster:
    """Decode 16-bit colour or alpha, of which Pillow keeps the high bytes: other unpackers keep the low bytes."""
    if image.tile[0][3] == "LA;16B":
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]  # two bytes of grey, two of alpha
        both = np.asarray(image).astype(np.uint16)
        values: NDArray[Any] = both[..., ::2] << 8 | both[..., 1::2]
    else:
        values = _with_low_bytes(path, image, ";16B", ";16L")
    if (clear := image.info.get("transparency")) is not None:
        opacity = np.where((values == np.asarray(clear)).all(axis=-1, keepdims=True), 0, 65535)
        values = np.concatenate([values, opacity], axis=-1, dtype=np.uint16)
    channels = values.shape[-1]
    return _upright(values, image, "uint16 PNG", colour=channels > 2, alpha=channels in (2, 4))


def _with_low_bytes(path: Path, image: ImageFile, unpacker: str, other: str) -> NDArray[Any]:
    """Decode 16-bit colour twice: Pillow's unpackers for the one and the other order of bytes keep one byte each."""
    with opened(path) as second:
        second.seek(image.tell())
        second.tile = [tile._replace(args=_renamed(tile.args, unpacker, other)) for tile in second.tile]
        high, low = (np.asarray(half).astype(np.uint16) for half in (image, second))
    return high << 8 | low


def _renamed(how: Any, unpacker: str, other: str) -> Any:
    """Replace the unpacker in the arguments of a decoder: a name, or a tuple that begins with it."""
    return how.replace(unpacker, other) if isinstance(how, str) else (how[0].replace(unpacker, other), *how[1:])


def _deep_netpbm(path: Path, image: ImageFile) -> Raster | None:
    """Decode the stored numbers of more than 8 bits, which Pillow scales; None for 8 bits."""
    codec, _, offset, how = image.tile[0]
    most = 65535 if how == "I;16B" else int(how[1]) if isinstance(how, tuple) else 255
    if most <= 255:
        return None
    channels = 1 if image.mode == "I" else 3
    count, data = image.width * image.height * channels, read_bytes(path)[offset:]
    if codec == "ppm_plain":
        numbers = np.array([word for line in data.splitlines() for word in line.partition(b"#")[0].split()][:count],
                           dtype=np.uint16)
    else:
        numbers = np.frombuffer(data, ">u2", count).astype(np.uint16)
    values = numbers.reshape(image.height, image.width, channels)
    return Raster(values, "uint16 netpbm", (0, most), colour=channels == 3)


def _jpeg2000_bits(path: Path) -> int:
    """Read the bits of the first component from the SIZ marker."""
    with open_file(path) as file:
        head = file.read(65536)
    start = head.find(b"\xff\x4f\xff\x51")
    return (head[start + 42] & 127) + 1 if 0 <= start < len(head) - 42 else 8


def _deep_jpeg2000(path: Path, bits: int) -> Raster:
    try:
        from imagecodecs import jpeg2k_decode  # noqa: PLC0415 - optional
    except ImportError:
        raise BadImage(f"{path} is JPEG 2000 of {bits} bits, which needs the package imagecodecs; install it or "
                       "convert the file to TIFF") from None
    values = as_planes(np.asarray(jpeg2k_decode(read_bytes(path))))
    unsigned = values.dtype.kind == "u"
    return Raster(values, f"{values.dtype} JPEG 2000", (0, 2**bits - 1) if unsigned else None,
                  colour=values.shape[-1] == 3)


def _tiff_through_pillow(path: Path, image: ImageFile, page: int) -> Raster | Image.Image | None:
    """Decode a page with Pillow if it does so rightly: up to 8 bits, or one channel."""
    if page:
        try:
            image.seek(page)
        except EOFError:
            raise BadImage(f"{path} has no page {page + 1}; restore it") from None
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, formats = set(tags.get(258, (1,))), set(tags.get(339, (1,)))
    samples, planar = tags.get(277, 1), tags.get(284, 1) == 2
    # Planes of other modes than RGB, and YCbCr without compression, come out wrongly.
    right = (not planar or image.mode.startswith("RGB")) and (tags.get(262), image.tile[0][0]) != (6, "raw")
    if right and max(bits) <= 8 and formats <= {1, 4} and samples == len(image.getbands()):
        image.load()
        return image
    how: Any = image.tile[0][3]
    if right and not planar and formats == {1} and how[0] in ("RGB;16N", "RGBA;16N"):  # with compression
        values = _with_low_bytes(path, image, ";16N", ";16B" if sys.byteorder == "little" else ";16L")
        return _upright(values, image, "uint16 TIFF", colour=True, alpha=samples == 4)
    if not right or samples != 1 or len(bits) > 1 or len(formats) > 1:
        return None
    dtype = _SINGLE.get((*formats, *bits))
    swapped = tags.prefix == b"MM" and tags.get(259, 1) != 1  # twice, other numbers than uint16
    if dtype is None or tags.get(262, 1) not in (0, 1) or (swapped and dtype != "uint16"):
        return None
    image.load()
    values = np.asarray(image).astype(dtype)
    unsigned = next(iter(formats)) == 1
    return _upright(values, image, f"{dtype} TIFF", full=(0, 2 ** max(bits) - 1) if unsigned else None,
                    inverted=tags.get(262) == 0)


def _begins_as_tiff(path: Path) -> bool:
    with reading(path), open_file(path) as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _read_tiff(path: Path, number: int) -> Raster:
    """Decode a page with tifffile."""
    with reading(path), open_tiff(path) as file:
        if number >= len(file.pages):
            raise BadImage(f"{path} has no page {number + 1}; restore it")
        page: Any = file.pages[number]
        refuse_bomb(path, page.imagewidth, page.imagelength * page.samplesperpixel)
        photometric = 1 if page.photometric is None else int(page.photometric)
        extras = [int(extra) for extra in page.extrasamples]
        form = {1: "", 2: "signed ", 3: "floating "}.get(int(page.sampleformat or 1), "")
        meaning = _MEANINGS.get(photometric, f"photometric {photometric}")
        kind = (f"TIFF of {form}{page.bitspersample}-bit {meaning} with {counted(page.samplesperpixel, 'channel')} and "
                f"compression {getattr(page.compression, 'name', page.compression)}")
        if photometric not in (0, 1, 2) or page.axes not in ("YX", "YXS", "SYX") or page.dtype is None:
            raise BadImage(f"{path} is a kind of file that is not read: {kind}; convert it to RGB or greyscale")
        try:
            values = page.asarray()
        except (ValueError, NotImplementedError) as error:
            if "imagecodecs" not in str(error):
                raise
            raise BadImage(f"{path} is {kind}, which needs the package imagecodecs; install it or store the file "
                           "without compression") from None
        orientation = page.tags.get(274)
    if page.axes == "SYX":
        values = values.transpose(1, 2, 0)
    values = as_planes(turned(values, orientation.value if orientation else 1))
    unsigned = values.dtype.kind in "bu"
    return Raster(
        values, f"{values.dtype} TIFF", (0, 2**page.bitspersample - 1) if unsigned else None,
        alpha=bool(extras) and extras[-1] in (1, 2), premultiplied=bool(extras) and extras[-1] == 1,
        colour=photometric == 2, inverted=photometric == 0)
