"""Write translations: pictures for people, or values in the units of the target domain."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from util.errors import UserError
from util.files import replacing
from util.picture_files import PICTURES, save_image
from util.shown import picture
from util.value_ranges import Range, from_unit, full_range

SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "npy": ".npy"}


@dataclass(frozen=True)
class OutputFormat:
    """The files that translations become.

    Attributes:
        name: of `SUFFIXES`.
        bits: 8, 16 or 32 (floats) of each value.
        value_range: the values that -1 and 1 become, by ``--range_B``; None: the full range of the type.
        bands: ``--rgb_bands``, for pictures.

    Raises:
        UserError: the format has no such values, or needs a package.
    """

    name: str = "png"
    bits: int = 8
    value_range: Range | None = None
    bands: Sequence[int] = ()

    def __post_init__(self) -> None:
        typed = f"--output_format {self.name} --output_bits {self.bits}"
        if self.is_picture:
            return
        if self.name == "tiff" and find_spec("tifffile") is None:
            raise UserError("--output_format tiff needs the package tifffile: pip install tifffile")
        if self.name in ("jpg", "webp"):
            raise UserError(f"{typed}: {self.name} has 8 bits; choose png, tiff or npy")
        if self.name == "png" and (self.bits == 32 or self.dtype.kind != "u"):
            raise UserError(f"{typed}: png has no floats and no values below 0; choose tiff or npy")
        low, high = self.stored_range
        if self.dtype.kind != "f" and not (limits := np.iinfo(self.dtype)).min <= low <= high <= limits.max:
            raise UserError(f"{typed}: {self.dtype} does not hold the range {low:.9g},{high:.9g}; raise --output_bits")

    @property
    def is_picture(self) -> bool:
        """Files hold all channels of a picture, from 0 to 255."""
        return self.name in PICTURES and self.bits == 8

    @property
    def suffix(self) -> str:
        """The suffix of the files."""
        return SUFFIXES[self.name]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a stored value: signed if the range begins below 0."""
        if self.bits == 32:
            return np.dtype(np.float32)
        signed = self.value_range is not None and self.value_range[0] < 0
        return np.dtype(f"{'' if signed else 'u'}int{self.bits}")

    @property
    def stored_range(self) -> Range:
        """The stored values that -1 and 1 become."""
        return self.value_range or full_range(self.dtype) or (0, 1)

    def describe(self) -> str:
        """Describe the values of the files."""
        low, high = self.stored_range
        return f"{self.dtype} from {low:.9g} to {high:.9g}"

    def notes(self, channels: int) -> list[str]:
        """Say that the files leave out units or channels of translations of so many channels, and how to keep them."""
        lost = ["the units of --range_B"] * (self.is_picture and self.value_range is not None)
        lost += ["other channels than those shown"] * (self.name not in ("tiff", "npy") and channels not in (1, 3))
        return [f"{self.name} files of {self.bits} bits leave out {' and '.join(lost)}; --output_format tiff or npy "
                "keeps them"] if lost else []

    def save(self, image: Tensor, path: Path) -> None:
        """Write an image [C, H, W] in [-1, 1], whole or not at all; ``path`` has the `suffix`."""
        if self.is_picture:
            save_image(picture(image, self.bands), path)
            return
        image = picture(image, self.bands) if self.name == "png" else image
        values = from_unit(image.detach().float().cpu().numpy(), self.stored_range, self.dtype)
        values = np.ascontiguousarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
        with replacing(path) as temporary, temporary.open("wb") as file:
            if self.name == "npy":
                np.save(file, values)
            elif self.name == "png":
                file.write(png_16_bit(values))
            else:
                save_tiff(values, file)


def save_tiff(values: NDArray[Any], file: Any) -> None:
    """Write [H, W] or [H, W, C] to a TIFF file: three channels as colour, others as grey and further samples."""
    import tifffile  # noqa: PLC0415 - slow to import

    channels = values.shape[2] if values.ndim == 3 else 1
    colour = channels == 3 and values.dtype.kind != "f"
    further: dict[str, Any] = {} if channels == 1 else {"planarconfig": "contig", "extrasamples": (
        [] if colour else ["unspecified"] * (channels - 1))}
    tifffile.imwrite(file, values, photometric="rgb" if colour else "minisblack", metadata=None, **further)


def png_16_bit(values: NDArray[np.uint16]) -> bytes:
    """Return a PNG file of [H, W] or [H, W, 3]; Pillow writes no colour of 16 bits."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.pad(rows, ((0, 0), (1, 0)))  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered.tobytes(), 1)) + chunk(
        b"IEND", b"")
