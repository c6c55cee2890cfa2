"""Every layout of TIFF, PNG and numpy gives the right pixels, or one sentence that names the kind of file."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from image_bytes import COMPRESSIONS, png, tiff
from numpy.typing import NDArray
from PIL import Image

from util.errors import UserError
from util.images import load_image

HEIGHT, WIDTH = 3, 5
LEVEL = 1.01 / 255  # 8-bit arithmetic rounds
TYPES = {**{f"u{bits}": (bits, np.dtype(np.uint8 if bits <= 8 else np.uint16)) for bits in (1, 2, 4, 8, 12, 16)},
         **{f"i{bits}": (bits, np.dtype(np.int8 if bits <= 8 else np.int16)) for bits in (1, 2, 4, 8, 12, 16)},
         "u32": (32, np.dtype(np.uint32)), "i32": (32, np.dtype(np.int32)),
         "f16": (16, np.dtype(np.float16)), "f32": (32, np.dtype(np.float32)), "f64": (64, np.dtype(np.float64))}
PHOTOMETRICS: dict[int, list[tuple[int, tuple[int, ...]]]] = {
    1: [(0, ()), (1, ())], 2: [(1, (0,)), (1, (2,)), (0, (2,))], 3: [(2, ()), (1, (0, 0))],
    4: [(2, (2,)), (2, (0,)), (1, (0, 0, 0))], 5: [(2, (0, 0)), (1, (0, 0, 0, 0))]}
"""By number of channels: 0 white is zero, 1 black is zero, 2 RGB; extra samples are 0 data, 2 alpha."""


class Cell(NamedTuple):
    """One file, and the tensor that it should become, in [0, 1]."""

    name: str
    data: bytes
    channels: int
    value_range: tuple[float, float] | None
    expected: NDArray[Any]
    close: float = 1e-6


def values_of(bits: int, dtype: np.dtype[Any], channels: int) -> tuple[NDArray[Any], tuple[float, float]]:
    """Return random values over the whole range of a type, and that range."""
    random, shape = np.random.default_rng(bits + channels), (HEIGHT, WIDTH, channels)
    if dtype.kind == "f":
        return random.uniform(-2, 3, shape).astype(dtype), (-2, 3)
    low, high = (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = random.integers(low, high, shape, endpoint=True).astype(dtype)
    values[0, 0], values[-1, -1] = low, high
    return values, (low, max(high, low + 1))


def tiff_cells(kind: str, stored: Iterable[tuple[str, str]]) -> Iterator[Cell]:
    bits, dtype = TYPES[kind]
    for channels, (order, compression) in itertools.product(range(1, 6), stored):
        values, limits = values_of(bits, dtype, channels)
        for (photometric, extras), planar in itertools.product(PHOTOMETRICS[channels], (False, True)):
            expected = (values.astype(np.float64) - limits[0]) / (limits[1] - limits[0])
            data = tiff(values, bits, order=order, planar=planar, photometric=photometric, extras=extras,
                        compression=compression)
            name = f"{kind} {channels} {order} {compression} planar={planar} photometric={photometric} {extras}"
            yield Cell(name, data, channels, None if dtype.kind == "u" else limits,
                       1 - expected if photometric == 0 else expected)


def outcome(cell: Cell, path: Path) -> str:
    """Return ``read``, ``refused`` or ``wrong: ...``."""
    path.write_bytes(cell.data)
    try:
        image = load_image(path, cell.channels, cell.value_range, flag="--range_A")
    except UserError as error:
        named = str(path) in str(error) and "\n" not in str(error)
        return "refused" if named else f"wrong: {cell.name}: {error}"
    found = image.permute(1, 2, 0).numpy()
    found = found / 255 if image.dtype == torch.uint8 else found
    if found.shape != cell.expected.shape or not np.allclose(found, cell.expected, rtol=0, atol=cell.close):
        return f"wrong: {cell.name}: {found[0, 0]} {found[-1, -1]}, not {cell.expected[0, 0]} {cell.expected[-1, -1]}"
    return "read"


FEW = (("<", "none"), (">", "none"), ("<", "lzw"), (">", "deflate"), ("<", "packbits"))


def wrong(cells: Iterable[Cell], path: Path) -> list[str]:
    """Return the cells that come out wrong; log how many were read and refused (--log-cli-level info)."""
    words = [outcome(cell, path) for cell in cells]
    logging.getLogger(__name__).info("%s", dict(Counter(word.partition(":")[0] for word in words)))
    assert len(words) > 2
    return [word for word in words if word.startswith("wrong")]


@pytest.mark.parametrize("stored", [
    FEW, pytest.param([*itertools.product("<>", COMPRESSIONS)], marks=pytest.mark.slow)], ids=["few", "all"])
@pytest.mark.parametrize("kind", TYPES)
def test_no_tiff_file_is_read_wrongly(tmp_path, kind, stored):
    assert not wrong(tiff_cells(kind, stored), tmp_path / "a.tif")


def fractions(values: NDArray[Any], most: float) -> NDArray[Any]:
    return values.astype(np.float64) / most


def colour_cells() -> Iterator[Cell]:
    """Convert palette, CMYK, YCbCr, alpha and L*a*b* to the three channels of colour."""
    random = np.random.default_rng(1)
    for order, compression in itertools.product("<>", COMPRESSIONS):
        for bits in (1, 2, 4, 8):
            indices = random.integers(0, 2**bits, (HEIGHT, WIDTH, 1), dtype=np.uint8)
            colours = random.integers(0, 256, (2**bits, 3)) * 257
            yield Cell(f"palette {bits} {order} {compression}",
                       tiff(indices, bits, order=order, photometric=3, compression=compression, colours=colours),
                       3, None, fractions(colours[indices[..., 0]], 65535))
        for bits, dtype in ((8, np.uint8), (16, np.uint16)):
            most = 2**bits - 1
            inks = random.integers(0, most, (HEIGHT, WIDTH, 4), dtype=dtype)
            made = {"order": order, "compression": compression}
            ink = fractions(inks, most)
            yield Cell(f"CMYK {bits} {made}", tiff(inks, bits, photometric=5, **made), 3, None,
                       (1 - ink[..., :3]) * (1 - ink[..., 3:]), LEVEL)
            for extra, times in ((2, ink[..., 3:]), (1, 1)):
                stored = np.minimum(inks, inks[..., 3:]) if extra == 1 else inks
                yield Cell(f"RGBA {bits} {extra} {made}", tiff(stored, bits, photometric=2, extras=(extra,), **made), 3,
                           None, fractions(stored, most)[..., :3] * times + 1 - ink[..., 3:], LEVEL)
                yield Cell(f"LA {bits} {extra} {made}", tiff(stored[..., 2:], bits, extras=(extra,), **made), 1, None,
                           fractions(stored, most)[..., 2:3] * times + 1 - ink[..., 3:], LEVEL)
        luma, blue, red = np.moveaxis(random.integers(90, 160, (HEIGHT, WIDTH, 3)), -1, 0)
        yield Cell(f"YCbCr {order} {compression}", tiff(
            np.stack([luma, blue, red], -1).astype(np.uint8), 8, order=order, photometric=6, compression=compression,
            more={530: (1, 1)}), 3, None, fractions(np.stack([
                luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
                luma + 1.772 * (blue - 128)], -1), 255), 2 * LEVEL)
        yield Cell(f"LAB {order} {compression}", tiff(inks[..., :3].astype(np.uint8), 8, order=order, photometric=8,
                                                       compression=compression), 3, None, ink[..., :3] * np.nan)


def png_cells() -> Iterator[Cell]:
    random = np.random.default_rng(2)
    for bits, (kind, channels) in itertools.product((1, 2, 4, 8, 16), {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.items()):
        if (kind == 3 and bits > 8) or (kind in (2, 4, 6) and bits < 8):
            continue  # there is no such PNG
        values = random.integers(0, 2**bits, (HEIGHT, WIDTH, channels), dtype=np.uint16 if bits > 8 else np.uint8)
        colours = random.integers(0, 256, (2**min(bits, 8), 3), dtype=np.uint8)
        data = png(values, bits, kind, chunks=[(b"PLTE", colours.tobytes())] if kind == 3 else ())
        expected = fractions(colours[values[..., 0]], 255) if kind == 3 else fractions(values, 2**bits - 1)
        yield Cell(f"PNG {kind} {bits}", data, 3 if kind == 3 else channels, None, expected)
        if kind in (4, 6):
            opacity = expected[..., -1:]
            yield Cell(f"PNG {kind} {bits} over white", data, channels - 1, None,
                       expected[..., :-1] * opacity + 1 - opacity, LEVEL)


def netpbm_cells() -> Iterator[Cell]:
    random = np.random.default_rng(3)
    for most, channels in itertools.product((255, 1023, 4095, 65535), (1, 3)):
        values = random.integers(0, most, (HEIGHT, WIDTH, channels), endpoint=True)
        head = f"\n# made by a test\n{WIDTH} {HEIGHT}\n{most}\n".encode()
        raw = values.astype(np.uint8 if most < 256 else ">u2").tobytes()
        plain = " ".join(map(str, values.ravel())).encode()
        for name, data in ((f"P{5 if channels == 1 else 6}", raw), (f"P{2 if channels == 1 else 3}", plain)):
            yield Cell(f"{name} {most}", name.encode() + head + data, channels, None, fractions(values, most))


def array_cells(path: Path) -> Iterator[Cell]:
    for (kind, (bits, dtype)), channels, order in itertools.product(TYPES.items(), range(1, 6), "<>"):
        if bits != 8 * dtype.itemsize:
            continue  # no type of numpy
        values, limits = values_of(bits, dtype, channels)
        np.save(path, values.astype(dtype.newbyteorder(order)))
        yield Cell(f"array {kind} {channels} {order}", path.read_bytes(), channels,
                   None if dtype.kind == "u" else limits, fractions(values - np.float64(limits[0]), np.ptp(limits)))


@pytest.mark.parametrize(("cells", "name"), [
    (colour_cells, "a.tif"), (png_cells, "a.png"), (netpbm_cells, "a.pnm"), (array_cells, "a.npy")])
def test_no_file_of_colours_or_numbers_is_read_wrongly(tmp_path, cells, name):
    path = tmp_path / name
    assert not wrong(cells(path) if cells is array_cells else cells(), path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("how", [
    {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}, {"tile": (16, 32), "compression": "zlib"},
    {"bigtiff": True}, {"rowsperstrip": 3}, {"byteorder": ">", "rowsperstrip": 3, "compression": "zlib"}], ids=str)
def test_tiles_strips_predictors_and_large_tiff(tmp_path, dtype, how):
    tifffile = pytest.importorskip("tifffile")
    if how.get("predictor") and dtype == np.float32:
        pytest.importorskip("imagecodecs")
    values = np.random.default_rng(0).integers(0, 200, (20, 37, 5)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig", **how)
    image = load_image(tmp_path / "a.tif", 5, (0, 200))
    torch.testing.assert_close(image, torch.from_numpy(values / 200).float().permute(2, 0, 1))


@pytest.mark.parametrize("compression", ["zstd", "jpeg", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_compressions_of_pillow(tmp_path, mode, compression):
    flat = {"L": 90, "RGB": (90, 100, 110), "I;16": 40000}[mode]  # JPEG keeps it
    if mode == "I;16" and compression == "jpeg":
        pytest.skip("there is none")
    Image.new(mode, (20, 16), flat).save(tmp_path / "a.tif", compression=compression)
    image = load_image(tmp_path / "a.tif", 3)
    scale = 65535 if mode == "I;16" else 1
    assert (image[:, 3, 3] * scale).tolist() == pytest.approx(flat if mode == "RGB" else [flat] * 3, abs=2)


def test_integers_of_a_rare_format_are_not_taken_for_16_bits(tmp_path):
    Image.fromarray(np.full((4, 5), -70000, np.int32)).save(tmp_path / "a.im")
    with pytest.raises(UserError, match="go from -70000 to -70000, and signed"):
        load_image(tmp_path / "a.im", 1)


KINDS = Path(__file__).parent / "data" / "kinds"


def test_the_same_slice_as_hounsfield_units_and_as_12_bits_in_16():
    signed = load_image(KINDS / "ct_hounsfield_int16.tif", 1, (-1024, 3071))
    unsigned = load_image(KINDS / "dicom12bit_as_16bit.png", 1, (0, 4095))
    torch.testing.assert_close(signed, unsigned, rtol=0, atol=1.01 / 4095)  # one unit: the files round differently
    assert signed.min() == 0
    assert signed.max() > 0.95
    with pytest.raises(UserError, match="go from -1024 to 3018, and signed"):
        load_image(KINDS / "ct_hounsfield_int16.tif", 1)
    assert load_image(KINDS / "dicom12bit_as_16bit.png", 1).max() < 1 / 16


def test_the_same_picture_as_ppm_jfif_and_gif():
    first, *others = (load_image(KINDS / name, 3).float() for name in ("p0.ppm", "j0.jfif", "g0.gif"))
    assert first.shape == (3, 64, 64)
    assert all((other - first).abs().mean() < 8 for other in others)


def test_four_bands_are_four_channels_and_no_colour():
    assert load_image(KINDS / "ms4.tif", 4).shape == (4, 48, 64)
    with pytest.raises(UserError, match="has 4 channels, but 3 are expected; give --input_nc 4"):
        load_image(KINDS / "ms4.tif", 3)
