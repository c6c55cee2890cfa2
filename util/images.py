"""Find image files, decode them to tensors, and write PNG files."""

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from util.errors import UserError
from util.files import replacing

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""Formats that are decoded, whatever the suffix: some of Pillow's other decoders run programs."""

MOST_PIXELS = 178_956_970
"""Largest number of pixels of a file, unless the environment sets another: half a gigabyte in colour."""

Image.MAX_IMAGE_PIXELS = None  # `_refuse_bomb` raises an error; Pillow would warn

# Exceptions of Pillow's decoders for damaged, foreign or absurdly large files.
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error)
_WHITE = (255, 255, 255, 255)


class BadImage(UserError):  # noqa: N818 - as UserError, told to people
    """A file that cannot be read as an image."""


def is_image(path: Path) -> bool:
    """Check whether the name has the suffix of an image and is not hidden (``._x.png`` of macOS is no image)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def find_images(folder: Path, flag: str, limit: int | None = None, *, subfolders: bool = True) -> list[Path]:
    """Find the images in a folder, sorted by path.

    Hidden files and folders and links to folders are left out.

    Args:
        folder: the folder.
        flag: the flag that names the folder, such as ``--dataroot``; error messages begin with it.
        limit: return only the first images; None: all.
        subfolders: search subfolders, too.

    Raises:
        UserError: the folder is missing, cannot be read, or holds no image.
    """

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"{flag}: cannot read the folder {error.filename} ({error.strerror})") from None

    if not folder.is_dir():
        raise UserError(f"{flag}: there is no folder {folder}; it should hold the images")
    found: list[Path] = []
    for parent, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = [name for name in inner if subfolders and not name.startswith(".")]
        found += [path for name in names if is_image(path := Path(parent, name))]
    if not found:
        where = "in" if subfolders else "directly in"
        raise UserError(f"{flag}: no images {where} {folder}; expected files that end in {', '.join(SUFFIXES)}")
    return sorted(found, key=Path.as_posix)[:limit]


def load_image(path: Path, channels: int) -> Tensor:
    """Read and `decode` a file; of several frames the first.

    Raises:
        BadImage: the file is unreadable, truncated, no image, too large, or out of range.
    """
    with _opened(path) as image:
        image.load()
        return decode(image, channels, str(path))


def decode(image: Image.Image, channels: int, name: str = "the image") -> Tensor:
    """Convert an image of Pillow, turned upright by its EXIF orientation, to a tensor.

    Alpha is composited over white: drawings, icons and cut-outs are made for a page, and the colour of transparent
    pixels is arbitrary, mostly black. Colour becomes greyscale by its luminance (ITU-R 601), greyscale becomes colour
    by repetition. Colour profiles are ignored.

    Args:
        image: of any mode.
        channels: 1 or 3.
        name: its name in errors.

    Returns:
        [C, H, W], uint8 for up to 8 bits a channel, else float32 in [0, 1]: 16-bit greyscale is divided by 65535,
        floats are in [0, 1] already. (Pillow reads 16-bit colour as 8-bit.)

    Raises:
        BadImage: values are out of range.
    """
    if channels not in (1, 3):
        raise BadImage(f"{name} is an image of 1 or 3 channels, not of {channels}")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return _from_samples(np.asarray(upright, dtype=np.float32), 65535, name, channels)
    if upright.mode == "F":
        return _from_samples(np.asarray(upright, dtype=np.float32), 1, name, channels)
    return _from_8_bit(upright, channels)


def load_values(path: Path) -> Tensor:
    """Read the stored whole numbers of a one-channel file, or the indices of a palette: int64 [H, W].

    Raises:
        BadImage: the file is unreadable, truncated, no image, too large, or has several channels.
    """
    with _opened(path) as image:
        image.load()
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise BadImage(f"{path} has channels {image.mode} where one of whole numbers is expected; convert it")
        return torch.from_numpy(np.asarray(image).astype(np.int64))


def load_normalized(path: Path, channels: int) -> Tensor:
    """Decode a file like `load_image`, and convert it to float32 [C, H, W] in [-1, 1].

    Raises:
        UserError: the file cannot be read as an image.
    """
    return normalized(load_image(path, channels))


def normalized(image: Tensor) -> Tensor:
    """Convert the values of `decode` to float32 in [-1, 1]."""
    return (image / 255 if image.dtype == torch.uint8 else image) * 2 - 1


def image_size(path: Path) -> tuple[int, int]:
    """Read (height, width) of an upright image from the file's header, or decode it if it lies on its side.

    An EXIF orientation behind the pixels of a PNG file is not seen.

    Raises:
        BadImage: the file is no image, or too large.
    """
    with _opened(path) as image:
        # Not PNG's own getexif, which would decode the file to look behind the pixels.
        if Image.Image.getexif(image).get(ExifTags.Base.Orientation) in (5, 6, 7, 8):
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        return image.height, image.width


def image_mode(path: Path) -> str:
    """Read Pillow's name of a file's channels and depth, such as ``RGB``, ``L`` or ``I;16``.

    Raises:
        BadImage: the file is no image, or too large.
    """
    with _opened(path) as image:
        return image.mode


def levels(image: Tensor) -> Tensor:
    """Round values in [-1, 1] to 8-bit levels: whole float32 numbers from 0 to 255; NaN becomes 0."""
    return ((image.detach().float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) * 127.5).round()


def to_uint8(image: Tensor) -> NDArray[np.uint8]:
    """Convert an image to 8 bits, rounding to the nearest level.

    Args:
        image: [C, H, W] floats in [-1, 1] with C = 1 or 3, on any device. Values outside are clipped and NaN becomes
            black, so that a run that diverges can be looked at.

    Returns:
        [H, W] for one channel, [H, W, 3] for three.

    Raises:
        UserError: the image has neither one nor three channels.
    """
    channels = image.shape[0]
    if image.ndim != 3 or channels not in (1, 3):
        raise UserError(
            f"an image of shape {list(image.shape)} cannot be shown or saved; use 1 or 3 for --input_nc and "
            "--output_nc"
        )
    pixels = levels(image).to(torch.uint8).cpu().numpy()  # [C, H, W]
    return np.ascontiguousarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))


def first_image(images: Tensor) -> Tensor:
    """Return the first image, [C, H, W], of a batch [B, C, H, W]; a single image is returned unchanged."""
    return images[0] if images.ndim == 4 else images


def save_image(image: Tensor, path: Path, aspect_ratio: float = 1.0) -> None:
    """Write an image as PNG, whole or not at all.

    Args:
        image: [C, H, W] in [-1, 1], C = 1 or 3.
        path: the file, whatever its suffix; missing folders are made.
        aspect_ratio: factor of width over height. Above 1 the width grows, below 1 the height, so that no pixel is
            lost.

    Raises:
        UserError: the image has neither one nor three channels.
    """
    picture = Image.fromarray(to_uint8(image))
    if aspect_ratio != 1.0:
        width, height = picture.size
        size = (round(width * max(aspect_ratio, 1.0)), round(height / min(aspect_ratio, 1.0)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", compress_level=1)  # a quarter of the time, files a fifth larger


def save_thumbnail(path: Path, target: Path, side: int) -> tuple[int, int]:
    """Write a copy of an image file, of at most ``side`` pixels, as WebP; return its width and height.

    Raises:
        BadImage: the file is no image.
    """
    with _opened(path) as image:
        image.draft("RGB", (side, side))
        small = ImageOps.exif_transpose(image).convert("RGB")
    small.thumbnail((side, side))
    with replacing(target) as temporary:
        small.save(temporary, format="WEBP", quality=75, method=2)
    return small.size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file and read its header; convert errors of Pillow, also during the block, to a `BadImage`."""
    if path.exists() and not path.is_file():
        raise BadImage(f"{path} is no regular file but a folder, a pipe or a device; remove it")
    try:
        with Image.open(path, formats=FORMATS) as image:
            _refuse_bomb(path, *image.size)
            yield image
    except FileNotFoundError:
        raise BadImage(f"{path}: there is no such file any more, or its link is broken; restore it") from None
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # not an error of the file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"{path} cannot be read as an image ({reason}); repair or remove it") from None


def _refuse_bomb(path: Path, width: int, height: int) -> None:
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


def _from_8_bit(image: Image.Image, channels: int) -> Tensor:
    """Convert to [C, H, W] uint8."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    elif image.mode == "P":
        image = image.convert("RGB")
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(image.height, image.width, channels).permute(2, 0, 1).contiguous()


def _from_samples(samples: NDArray[np.float32], maximum: float, name: str, channels: int) -> Tensor:
    """Convert [H, W] samples between 0 and ``maximum`` to [C, H, W] float32 in [0, 1]."""
    values = samples / np.float32(maximum)
    slack = 0.05  # resampling overshoots a little; more is another scale, which nobody can guess
    if not np.all((values >= -slack) & (values <= 1 + slack)):
        raise BadImage(
            f"{name} has values outside the range of an image (0 to 1 for floats, 0 to 65535 for integers);"
            " convert it to 8 or 16 bits"
        )
    return torch.from_numpy(values).clamp_(0, 1).expand(channels, -1, -1).contiguous()
