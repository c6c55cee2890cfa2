"""Files to tensors: finding images in folders and decoding them, each peculiarity of a format on purpose."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from util.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

# What Pillow raises, depending on the format, for files that are damaged, foreign or absurdly large.
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, Image.DecompressionBombError)
_WHITE = (255, 255, 255, 255)


def is_image(path: Path) -> bool:
    """Whether the name ends like an image's and the file is not hidden (``._x.png`` of macOS is no image)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def find_images(folder: Path, limit: int | None = None) -> list[Path]:
    """The images in a folder and its subfolders, in the order of their paths, the first ``limit`` of them.

    Hidden files and folders and links to folders are left out.

    Raises:
        UserError: the folder is missing, cannot be read, or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"--dataroot: there is no folder {folder}; it should hold the images")
    found: list[Path] = []
    for parent, subfolders, names in os.walk(folder, onerror=_refuse_folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [path for name in names if is_image(path := Path(parent, name))]
    if not found:
        suffixes = ", ".join(SUFFIXES)
        raise UserError(f"--dataroot: no images in {folder}; expected files that end in {suffixes}")
    return sorted(found, key=Path.as_posix)[:limit]


def load_image(path: Path, channels: int) -> Tensor:
    """Decode a file, upright as its EXIF orientation says.

    Alpha is composited over white: what a transparent pixel hides is arbitrary, mostly black, while drawings,
    icons and cut-outs are made for the page. Colour becomes greyscale by its luminance (ITU-R 601), greyscale
    becomes colour by repetition; colour profiles are not applied. Of several frames, the first is taken.

    Args:
        path: the file.
        channels: 1 or 3.

    Returns:
        [C, H, W], uint8 for files of up to 8 bits a channel, else float32 in [0, 1]: 16-bit greyscale is
        divided by 65535, float files hold [0, 1] already. (Pillow reads 16-bit colour as 8-bit.)

    Raises:
        UserError: the file is unreadable, truncated, no image, or out of range.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                return _from_samples(np.asarray(upright, dtype=np.float32), 65535, path, channels)
            if upright.mode == "F":
                return _from_samples(np.asarray(upright, dtype=np.float32), 1, path, channels)
            return _from_8_bit(upright, channels)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; check --dataroot") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read as an image ({reason}); repair or remove it") from None


def _from_8_bit(image: Image.Image, channels: int) -> Tensor:
    """[C, H, W] uint8."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    elif image.mode == "P":
        image = image.convert("RGB")
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(image.height, image.width, channels).permute(2, 0, 1).contiguous()


def _from_samples(samples: NDArray[np.float32], maximum: float, path: Path, channels: int) -> Tensor:
    """[H, W] samples that should lie between 0 and ``maximum``, to [C, H, W] float32 in [0, 1]."""
    values = samples / np.float32(maximum)
    slack = 0.05  # resampling overshoots a little; more means another scale, and guessing it would be wrong
    if not np.all((values >= -slack) & (values <= 1 + slack)):
        raise UserError(
            f"{path} has values outside the range of an image (0 to 1 for floats, 0 to 65535 for integers);"
            " convert it to 8 or 16 bits"
        )
    return torch.from_numpy(values).clamp_(0, 1).expand(channels, -1, -1).contiguous()


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(f"--dataroot: cannot read the folder {error.filename} ({error.strerror})") from None
