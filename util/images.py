"""Decode image files to tensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from util.colour_profiles import to_srgb
from util.errors import UserError
from util.image_files import BadImage, opened, reading
from util.rasters import Raster, raster_of, read_raster
from util.shown import picture
from util.value_ranges import Range, number_text, to_fraction
from util.words import counted

_WHITE = (255, 255, 255, 255)
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601


class RangeNeeded(UserError):  # noqa: N818 - as UserError, told to people
    """Signed integers or floats without the range that becomes [-1, 1]."""


class OtherChannels(BadImage):
    """An image with another number of channels than asked for."""


def range_needed(what: str, found: Range, flag: str) -> RangeNeeded:
    """Return the error for the values of ``what``, between the ends of ``found``, without a range."""
    low, high = map(number_text, found)
    return RangeNeeded(f"the values of {what} go from {low} to {high}, and signed integers and floats have no range of "
                       f"their own: type {flag} {low},{high}, or wider to fit all images")


def load_image(
    path: Path, channels: int, value_range: Range | None = None, *, flag: str = "--range_A (--range_B for the target)",
) -> Tensor:
    """Read a file.

    Alpha is composited over white: drawings, icons and cut-outs are made for a page, and the colour of transparent
    pixels is arbitrary, mostly black. If as many channels are asked for as the file has with alpha, alpha is a channel
    as the others. Colour becomes greyscale by its luminance (ITU-R 601), greyscale becomes colour by repetition.

    Args:
        path: the file, or a page of it (`page_path`); of several frames the first is read.
        channels: number of channels to return.
        value_range: the stored values that become 0 and 1; None: all of the stored type.
        flag: the flag that gives the range; errors name it.

    Returns:
        [C, H, W], uint8 for up to 8 bits a channel without ``value_range``, else float32 in [0, 1].

    Raises:
        BadImage: the file is unreadable, truncated, no image, too large, of a kind that is not read, has another number
            of channels, or holds values that are no numbers.
        RangeNeeded: the values are signed or floats, and there is no range.
    """
    found = read_raster(path)
    with reading(path):
        return to_tensor(found, channels, str(path), value_range, flag=flag)


def to_tensor(
    found: Raster | Image.Image, channels: int, name: str, value_range: Range | None = None, *,
    flag: str = "--range_A",
) -> Tensor:
    """Convert a result of `read_raster` or `raster_of_array`, as `load_image` does."""
    if isinstance(found, Image.Image):
        return decode(found, channels, name, value_range, flag=flag)
    return _from_raster(found, channels, name, value_range, flag)


def decode(
    image: Image.Image, channels: int, name: str = "the image", value_range: Range | None = None, *,
    flag: str = "--range_A",
) -> Tensor:
    """Convert an image of Pillow, turned upright by its EXIF orientation, to a tensor, as `load_image` does.

    Args:
        image: of any mode.
        channels: number of channels to return.
        name: its name in errors.
        value_range: see `load_image`.
        flag: see `load_image`.

    Raises:
        BadImage: see `load_image`.
        RangeNeeded: see `load_image`.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_raster(raster_of(image), channels, name, value_range, flag)
    if image.mode == "LAB":
        raise BadImage(f"{name} is a kind of image that is not read: CIE L*a*b*; convert it to RGB")
    upright = ImageOps.exif_transpose(image)
    if profile := upright.info.get("icc_profile"):
        upright = to_srgb(upright, profile)
    if channels in (1, 3):
        pixels = _from_8_bit(upright, channels)
    elif channels == len(upright.getbands()) and upright.mode in ("LA", "RGBA"):
        pixels = torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()
    else:
        raise _other_channels(name, len(upright.getbands()) if upright.mode != "P" else 3, channels)
    if value_range in (None, (0, 255)):
        return pixels
    return torch.from_numpy(to_fraction(pixels.numpy(), value_range))


def load_values(path: Path) -> Tensor:
    """Read the stored whole numbers of a one-channel file, or the indices of a palette: int64 [H, W].

    Raises:
        BadImage: the file is unreadable, truncated, no image, too large, or has several channels.
    """
    with opened(path) as image:
        image.load()
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise BadImage(f"{path} has channels {image.mode} where one of whole numbers is expected; convert it")
        return torch.from_numpy(np.asarray(image).astype(np.int64))


def load_normalized(
    path: Path, channels: int, value_range: Range | None = None, *, flag: str = "--range_A (--range_B for the target)",
) -> Tensor:
    """Read a file like `load_image`, and convert it to float32 [C, H, W] in [-1, 1].

    Raises:
        UserError: the file cannot be read as an image.
    """
    return normalized(load_image(path, channels, value_range, flag=flag))


def load_picture(path: Path, value_range: Range | None = None, bands: Sequence[int] = (), *, flag: str) -> Tensor:
    """Read a file with any number of channels, and convert its `picture` to float32 [3, H, W] in [-1, 1].

    Args:
        path: the file.
        value_range: see `load_image`; files of 8 bits that Pillow reads are pictures, which have their full range.
        bands: see `picture`.
        flag: see `load_image`.

    Raises:
        UserError: see `load_image`; or there is no such band.
    """
    found = read_raster(path)
    if isinstance(found, Image.Image):
        return normalized(decode(found, 3, str(path)))
    channels = found.values.shape[2]
    if channels == 1 or found.colour or (found.alpha and channels == 2):
        return normalized(_from_raster(found, 3, str(path), value_range, flag))
    if max(bands, default=1) > channels:
        raise UserError(f"--rgb_bands {','.join(map(str, bands))}: {path} has {counted(channels, 'channel')}")
    image = normalized(_from_raster(found, channels, str(path), value_range, flag))
    return picture(image, bands).expand(3, -1, -1)


def normalized(image: Tensor) -> Tensor:
    """Convert the values of `decode` to float32 in [-1, 1]."""
    return (image / 255 if image.dtype == torch.uint8 else image) * 2 - 1


def image_size(path: Path) -> tuple[int, int]:
    """Read (height, width) of an upright image from the file's header, or decode it if it lies on its side.

    An EXIF orientation behind the pixels of a PNG file is not seen. Files that Pillow does not know are decoded.

    Raises:
        BadImage: the file is no image, or too large.
    """
    try:
        with opened(path) as image:
            # Not PNG's own getexif, which would decode the file to look behind the pixels.
            if Image.Image.getexif(image).get(ExifTags.Base.Orientation) in (5, 6, 7, 8):
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
            return image.height, image.width
    except BadImage:
        found = read_raster(path)
        return (found.height, found.width) if isinstance(found, Image.Image) else found.values.shape[:2]


def image_mode(path: Path) -> str:
    """Read Pillow's name of a file's channels and depth, such as ``RGB``, ``L`` or ``I;16``.

    Raises:
        BadImage: the file is no image, or too large.
    """
    with opened(path) as image:
        return image.mode


def _from_8_bit(image: Image.Image, channels: int) -> Tensor:
    """Convert to [C, H, W] uint8."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    elif image.mode == "P":
        image = image.convert("RGB")
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(image.height, image.width, channels).permute(2, 0, 1).contiguous()


def _from_raster(raster: Raster, channels: int, name: str, value_range: Range | None, flag: str) -> Tensor:
    """Convert to [C, H, W]: uint8 where nothing is to be computed, else float32 in [0, 1]."""
    values, limits = raster.values, value_range or raster.full
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadImage(f"{name} has values that are not finite numbers; replace them")
    if limits is None:
        raise range_needed(f"{name} ({raster.kind})", (values.min().item(), values.max().item()), flag)
    stored = values.shape[2]
    plain = values.dtype == np.uint8 and limits == raster.full == (0, 255) and not raster.inverted
    if plain and channels in (1, 3) and (stored == 1 or (raster.colour and not raster.alpha)):
        return _from_8_bit(Image.fromarray(values[..., 0] if stored == 1 else values[..., :3]), channels)
    if plain and stored == channels:
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    fractions = to_fraction(values, limits)
    if raster.inverted:
        fractions = 1 - fractions
    if stored != channels:
        fractions = _with_channels(fractions, raster, channels, name)
    return torch.from_numpy(np.ascontiguousarray(fractions.transpose(2, 0, 1)))


def _with_channels(fractions: NDArray[np.float32], raster: Raster, channels: int, name: str) -> NDArray[np.float32]:
    """Composite alpha over white, and convert [H, W, C] in [0, 1] between colour and greyscale."""
    stored = fractions.shape[2]
    if raster.alpha:
        opacity = to_fraction(raster.values[..., -1:], raster.full or (0, 1))
        fractions = fractions[..., :-1]
        fractions = (fractions if raster.premultiplied else fractions * opacity) + (1 - opacity)
        fractions = fractions.clip(0, 1)
    if raster.colour:
        fractions = fractions[..., :3]  # what follows has no colour
    given = fractions.shape[2]
    if given == channels:
        return fractions
    if given == 1 and channels == 3:
        return fractions.repeat(3, axis=2)
    if given == 3 and channels == 1 and raster.colour:
        return fractions @ _LUMINANCE[:, None]
    raise _other_channels(name, stored, channels)


def _other_channels(name: str, stored: int, channels: int) -> OtherChannels:
    return OtherChannels(f"{name} has {counted(stored, 'channel')}, but {channels} are expected; give --input_nc "
                         f"{stored}, or --output_nc {stored} for images of the target domain")
