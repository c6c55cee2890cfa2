"""Encoders of TIFF and PNG in a few lines, independent of every library that reads images."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(samples: NDArray[Any], bits: int, order: str) -> bytes:
    """Store rows [H, N] of samples of ``bits`` bits; each row begins at a byte."""
    if bits in (8, 16, 32, 64):
        return samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    shifts = np.arange(bits - 1, -1, -1)
    as_bits = (samples.astype(np.int64)[..., None] >> shifts & 1).reshape(len(samples), -1)
    return np.packbits(as_bits.astype(np.uint8), axis=1).tobytes()


def packbits(data: bytes, row: int) -> bytes:
    """Encode rows of ``row`` bytes as literal runs."""
    return b"".join(bytes([min(128, len(line) - start) - 1]) + line[start:start + 128]
                    for line in _lines(data, row) for start in range(0, len(line), 128))


def lzw(data: bytes, _: int) -> bytes:
    """Encode without any repetition: the table is cleared before its codes need ten bits."""
    codes = [256]
    for index, byte in enumerate(data):
        codes += [byte] if index % 200 or not index else [256, byte]
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def _lines(data: bytes, row: int) -> list[bytes]:
    return [data[start:start + row] for start in range(0, len(data), row)]


COMPRESSIONS: dict[str, tuple[int, Callable[[bytes, int], bytes]]] = {
    "none": (1, lambda data, row: data), "lzw": (5, lzw), "deflate": (8, lambda data, row: zlib.compress(data)),
    "packbits": (32773, packbits)}
"""Code of TIFF, and the encoder of a strip with rows of a number of bytes."""


def tiff(
    values: NDArray[Any], bits: int, *, order: str = "<", planar: bool = False, photometric: int = 1,
    extras: Sequence[int] = (), compression: str = "none", colours: NDArray[Any] | None = None,
    more: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """Encode [H, W, C] as a TIFF file of one strip, or one for each channel."""
    height, width, channels = values.shape
    planes = [values[..., c] for c in range(channels)] if planar else [values.reshape(height, -1)]
    code, encode = COMPRESSIONS[compression]
    strips = [packed(plane, bits, order) for plane in planes]
    strips = [encode(strip, len(strip) // height) for strip in strips]
    form = {"b": 1, "u": 1, "i": 2, "f": 3}[values.dtype.kind]
    offsets = list(itertools.accumulate([8, *map(len, strips)]))
    data = b"".join(strips)
    entries: dict[int, tuple[str, Sequence[int]]] = {
        256: ("H", [width]), 257: ("H", [height]), 258: ("H", [bits] * channels), 259: ("H", [code]),
        262: ("H", [photometric]), 273: ("I", offsets[:-1]), 277: ("H", [channels]), 278: ("H", [height]),
        279: ("I", [len(strip) for strip in strips]), 284: ("H", [2 if planar else 1]), 339: ("H", [form] * channels)}
    if extras:
        entries[338] = ("H", extras)
    if colours is not None:
        entries[320] = ("H", colours.T.ravel().tolist())
    entries |= {tag: ("H", numbers) for tag, numbers in (more or {}).items()}
    start = 8 + len(data)
    rest, table = start + 2 + 12 * len(entries) + 4, b""
    tail = b""
    for tag, (kind, numbers) in sorted(entries.items()):
        body = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(body) <= 4:
            place = body.ljust(4, b"\0")
        else:
            place = struct.pack(f"{order}I", rest + len(tail))
            tail += body + b"\0" * (len(body) % 2)
        table += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(numbers)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + data + struct.pack(f"{order}H", len(entries)) + table + struct.pack(f"{order}I", 0) + tail


def png(values: NDArray[Any], bits: int, kind: int, *, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Encode [H, W, C] as a PNG file of a colour type; all of its filters occur."""
    height, width, _ = values.shape
    lines = _lines(packed(values.reshape(height, -1), bits, ">"), len(packed(values[:1].reshape(1, -1), bits, ">")))
    step = max(1, values.shape[2] * bits // 8)
    filtered, above = b"", bytes(len(lines[0]))
    for number, line in enumerate(lines):
        way = number % 5
        left = bytes(step) + line
        corner = bytes(step) + above
        guess = [_guess(way, left[i], above[i], corner[i]) for i in range(len(line))]
        filtered += bytes([way]) + bytes((byte - at) & 255 for byte, at in zip(line, guess, strict=True))
        above = line
    body = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)), *chunks,
            (b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in body)


def _guess(way: int, left: int, above: int, corner: int) -> int:
    paeth = min((left, above, corner), key=lambda near: abs(left + above - corner - near))
    return (0, left, above, (left + above) // 2, paeth)[way]
