"""Files of translations: pictures, and values in the units of the target domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from util.errors import UserError
from util.images import load_image
from util.outputs import OutputFormat
from util.value_ranges import to_fraction

VALUES = np.random.default_rng(0).integers(0, 4096, (5, 7, 6))  # [C, H, W]


def unit(values: np.ndarray, value_range: tuple[float, float]) -> torch.Tensor:
    return torch.from_numpy(to_fraction(values, value_range) * 2 - 1)


def stored(path: Path) -> np.ndarray:
    """Read a file: [H, W] or [H, W, C]."""
    if path.suffix == ".npy":
        return np.load(path)
    return tifffile.imread(path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("name", "bits", "value_range", "dtype"), [
    ("tiff", 16, (0, 4095), "uint16"), ("npy", 16, (-1024, 3071), "int16"), ("tiff", 16, (-1024, 3071), "int16"),
    ("tiff", 32, (-1024, 3071), "float32"), ("npy", 32, None, "float32"), ("tiff", 8, None, "uint8"),
    ("npy", 8, (-100, 100), "int8"), ("tiff", 16, None, "uint16"),
])
def test_values_come_back_in_the_units_of_the_range(
    tmp_path: Path, channels: int, name: str, bits: int, value_range: tuple[float, float] | None, dtype: str
) -> None:
    output = OutputFormat(name, bits, value_range)
    low, high = output.stored_range
    wanted = low + VALUES[:channels] / 4095 * (high - low)
    wanted = wanted if bits == 32 else wanted.round()
    path = tmp_path / f"a{output.suffix}"
    output.save(unit(wanted, (low, high)), path)
    found = stored(path)
    assert found.dtype == dtype
    assert found.shape == ((7, 6) if channels == 1 else (7, 6, channels))
    assert np.abs(found.reshape(7, 6, channels) - wanted.transpose(1, 2, 0)).max() <= (high - low) * 1e-6
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("channels", "shown"), [(1, [0]), (3, [0, 1, 2]), (5, [4, 2, 0])])
def test_png_of_16_bits_holds_the_values_of_the_picture(tmp_path: Path, channels: int, shown: list[int]) -> None:
    output = OutputFormat("png", 16, (0, 4095), bands=(5, 3, 1))
    output.save(unit(VALUES[:channels], (0, 4095)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (6, 7)
    read = load_image(tmp_path / "a.png", len(shown))
    assert torch.equal((read * 65535).round().long(), torch.from_numpy(VALUES[shown]))


@pytest.mark.parametrize(("output", "channels", "lost"), [
    (OutputFormat(), 3, ""), (OutputFormat("tiff", 16, (0, 4095)), 5, ""), (OutputFormat("png", 16, (0, 4095)), 3, ""),
    (OutputFormat("jpg", 8, (0, 4095)), 1, "the units of --range_B"),
    (OutputFormat("png", 16), 5, "other channels than those shown"),
    (OutputFormat("png", 8, (0, 4095)), 2, "the units of --range_B and other channels than those shown"),
])
def test_what_a_format_leaves_out_is_said(output: OutputFormat, channels: int, lost: str) -> None:
    said = f"{output.name} files of {output.bits} bits leave out {lost}; --output_format tiff or npy keeps them"
    assert output.notes(channels) == [said] * bool(lost)


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_pictures_have_8_bits_whatever_the_range(tmp_path: Path, name: str, kind: str) -> None:
    output = OutputFormat(name, 8, (-1024, 3071), bands=(4,))
    output.save(torch.ones(5, 8, 8), tmp_path / f"a{output.suffix}")
    with Image.open(tmp_path / f"a.{name}") as image:
        assert image.format == kind
        assert np.asarray(image).min() > 250


@pytest.mark.parametrize(("arguments", "said"), [
    (("jpg", 16), "jpg has 8 bits; choose png, tiff or npy"), (("webp", 32), "webp has 8 bits"),
    (("png", 32), "png has no floats"), (("png", 16, (-1024, 3071)), "no values below 0"),
    (("tiff", 8, (0, 4095)), "uint8 does not hold the range 0,4095; raise --output_bits"),
    (("npy", 16, (-40000, 10)), "int16 does not hold the range -40000,10"),
])
def test_formats_that_cannot_hold_the_values_are_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        OutputFormat(*arguments)
