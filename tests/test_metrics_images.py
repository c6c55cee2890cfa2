"""Pairing and reading the images to be scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.pairing import partners, read_image
from util.errors import UserError


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def grey(value: int = 0) -> np.ndarray:
    return np.full((2, 3), value, dtype=np.uint8)


def test_colours_are_read_exactly_with_height_before_width(tmp_path: Path):
    array = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
    image = read_image(save(tmp_path / "a.png", array))
    assert image.shape == (3, 2, 3)
    assert image.dtype == torch.float32
    np.testing.assert_allclose((image.permute(1, 2, 0) + 1) * 127.5, array, atol=1e-4)


def test_greyscale_of_8_and_16_bits_spans_the_same_range(tmp_path: Path):
    wide = np.array([[0, 32768, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path / "a.png", wide))
    assert image.shape == (3, 1, 3)
    for channel in image:
        assert channel[0].tolist() == pytest.approx([-1, 0, 1], abs=1e-4)
    narrow = read_image(save(tmp_path / "b.png", np.array([[0, 128, 255]], dtype=np.uint8)))
    assert narrow[2, 0].tolist() == pytest.approx([-1, 0, 1], abs=5e-3)


def test_float_files_are_read_like_those_of_8_bits(tmp_path: Path):
    image = read_image(save(tmp_path / "a.tif", np.array([[0, 0.25, 1]], dtype=np.float32)))
    assert image[:, 0].tolist() == [[-1, -0.5, 1]] * 3


def test_transparent_pixels_are_white(tmp_path: Path):
    array = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], dtype=np.uint8)
    image = read_image(save(tmp_path / "a.png", array))
    assert image[:, 0, 0].tolist() == [1, 1, 1]
    assert image[:, 0, 1].tolist() == pytest.approx([v / 127.5 - 1 for v in (10, 20, 30)])


def test_orientation_in_exif_is_honoured(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    array = np.array([[0, 100, 200]], dtype=np.uint8)
    image = read_image(save(tmp_path / "a.png", array, exif=exif))
    assert image.shape == (3, 3, 1)
    assert image[0, :, 0].tolist() == pytest.approx([v / 127.5 - 1 for v in (0, 100, 200)])


def test_partners_share_the_name_and_may_differ_in_suffix(tmp_path: Path):
    files = [save(tmp_path / "out" / name, grey()) for name in ("b.png", "a.v2.png")]
    for name in ("a.v2.bmp", "b.jpg", "unused.png"):
        save(tmp_path / "truth" / name, grey())
    assert [path.name for path in partners(files, tmp_path / "truth", "--truth")] == ["b.jpg", "a.v2.bmp"]


def test_missing_and_ambiguous_partners_are_named(tmp_path: Path):
    file = save(tmp_path / "out" / "a.png", grey())
    save(tmp_path / "truth" / "b.png", grey())
    with pytest.raises(UserError, match=r"--truth: .*a\.png.*no partner.*truth"):
        partners([file], tmp_path / "truth", "--truth")
    for suffix in ("png", "bmp"):
        save(tmp_path / "truth" / f"a.{suffix}", grey())
    with pytest.raises(UserError, match=r"a\.png.*several partners"):
        partners([file], tmp_path / "truth", "--truth")


def test_folder_of_partners_is_named_with_its_flag_where_it_is_missing_or_empty(tmp_path: Path):
    with pytest.raises(UserError, match=r"--truth: there is no folder .*nowhere"):
        partners([], tmp_path / "nowhere", "--truth")
    save(tmp_path / "truth" / "inner" / "a.png", grey())
    with pytest.raises(UserError, match=r"--truth: no images directly in .*truth"):
        partners([tmp_path / "a.png"], tmp_path / "truth", "--truth")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.png.*cannot be read"):
        read_image(path)


def test_a_truncated_image_is_named(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "cut.png", noise)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match=r"cut\.png.*cannot be read"):
        read_image(path)
