"""Broken image files: each loads or is one sentence."""

from __future__ import annotations

import io
import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_bytes import COMPRESSIONS, png, tiff
from PIL import Image

from util.image_files import BadImage
from util.images import image_mode, image_size, load_image

SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp", ".npy", ".npz", ".jp2")
KINDS = {  # Pillow's name of a format: modes that it can hold
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "JPEG": ("RGB", "L", "CMYK"), "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "I;16", "F", "CMYK", "LAB", "YCbCr", "1", "P", "I"), "BMP": ("RGB", "L", "P", "1"),
    "GIF": ("P",), "PPM": ("RGB",), "ICO": ("RGBA",), "TGA": ("RGB",), "EPS": ("RGB",), "PDF": ("RGB",),
    "JPEG2000": ("RGB", "L"), "SGI": ("RGB", "L"), "AVIF": ("RGB",), "DDS": ("RGBA",), "PCX": ("RGB",),
}
DEEP = (np.uint8, np.uint16, np.int16, np.float32, np.float64)


def image_file(chance: random.Random) -> bytes:
    """Write a good file of any format, mode and size."""
    if chance.random() < 0.3:
        return deep_file(chance)
    kind = chance.choice(list(KINDS))
    size = (chance.randrange(1, 50), chance.randrange(1, 50))
    pixels = np.random.default_rng(chance.randrange(2**32)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    mode = chance.choice(KINDS[kind])
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "LAB":
        image = Image.frombytes("LAB", size, pixels.tobytes())
    else:
        image = image.convert(mode)
    how = {}
    if kind == "TIFF" and mode in ("RGB", "L") and chance.random() < 0.5:
        how = {"compression": chance.choice(("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"))}
    if kind == "JPEG":
        how = {"progressive": chance.random() < 0.5}  # type: ignore[dict-item]
    file = io.BytesIO()
    image.save(file, format=kind, **how)
    return file.getvalue()


def deep_file(chance: random.Random) -> bytes:
    """Write a good file of numbers: TIFF or an array, of any type and number of channels."""
    shape = (chance.randrange(1, 40), chance.randrange(1, 40), chance.randrange(1, 6))
    values = np.random.default_rng(chance.randrange(2**32)).integers(0, 200, shape).astype(chance.choice(DEEP))
    kind = chance.choice(("TIFF", "npy", "npz", "PNG"))
    if kind == "TIFF":
        return tiff(values, 8 * values.itemsize, order=chance.choice("<>"), planar=chance.random() < 0.5,
                    photometric=chance.choice((0, 1)), compression=chance.choice(list(COMPRESSIONS)))
    if kind == "PNG":
        return png(values[..., :1].repeat(3, axis=2).astype(np.uint16), 16, 2)
    file = io.BytesIO()
    (np.save if kind == "npy" else np.savez)(file, values)
    return file.getvalue()


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[:chance.randrange(len(content))]


def flip(content: bytes, chance: random.Random) -> bytes:
    broken = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 30))):
        broken[chance.randrange(len(broken))] ^= chance.randrange(1, 256)
    return bytes(broken)


def flip_header(content: bytes, chance: random.Random) -> bytes:
    head = min(64, len(content))
    return flip(content[:head], chance) + content[head:]


def huge(content: bytes, chance: random.Random) -> bytes:
    """Make some four bytes a large number: sizes are small ones."""
    place = chance.randrange(min(60, len(content)))
    number = struct.pack(chance.choice("<>") + "I", chance.choice((2**16, 2**24, 2**31 - 1, 2**32 - 1)))
    return content[:place] + number + content[place + 4:]


def blank(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    end = chance.randrange(start, len(content)) + 1
    return content[:start] + bytes(end - start) + content[end:]


def foreign(content: bytes, chance: random.Random) -> bytes:
    noise = chance.randbytes(300)
    return chance.choice((b"", b"\0" * 500, b"<html>not found</html>", noise, content[:8] + noise))


def doubled(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + content + content[place:]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut, flip, flip_header, huge, blank, foreign, doubled, lambda content, chance: content)


@pytest.mark.parametrize(("seed", "count"), [(0, 100), pytest.param(1, 1000, marks=pytest.mark.slow)])
def test_a_broken_file_loads_or_is_one_sentence(
    seed: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "1000000")
    chance, loaded, refused = random.Random(seed), 0, 0
    for number in range(count):
        damage = chance.choice(DAMAGES)
        path = tmp_path / f"{number}{chance.choice(SUFFIXES)}"  # the name need not fit
        path.write_bytes(damage(image_file(chance), chance))
        channels = chance.choice((1, 3, 4))
        what = f"seed {seed}, {path.name}, {damage.__name__}"
        read: list[Any] = []
        said = []
        for function in (lambda file, count: load_image(file, count, (0, 200)), lambda file, _: image_size(file),
                         lambda file, _: image_mode(file)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Pillow's, about odd tags
                    read.append(function(path, channels))
            except BadImage as error:
                said.append(str(error))
            except BaseException as error:
                pytest.fail(f"{type(error).__name__}: {error} ({what})")
        assert all(text.startswith(str(path)) and "\n" not in text for text in said), what
        if len(said) == 0:
            image, size, _ = read
            assert image.shape == (channels, *size), what
            assert min(image.shape) > 0, what
            assert image.dtype == torch.uint8 or (image.min() >= 0 and image.max() <= 1), what
            loaded += 1
        refused += bool(said)
    assert min(loaded, refused) > 0
