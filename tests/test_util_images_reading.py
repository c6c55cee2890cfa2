"""Finding and decoding image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from util.errors import UserError
from util.image_files import FORMATS
from util.image_folders import find_images
from util.images import image_size, load_image, load_normalized
from util.value_ranges import from_unit

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
COLOUR = torch.from_numpy(PIXELS).permute(2, 0, 1)
GREY_16 = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800
ORIENTATION = 0x0112


def save(image: Image.Image | np.ndarray, path: Path, **how) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **how)
    return path


def smooth() -> np.ndarray:
    """Draw a ramp that lossy formats keep, [48, 32, 3], dark at the top left."""
    y, x = np.mgrid[:48, :32]
    return np.stack([y * 5, x * 7, y * 2 + x * 3], -1).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.tiff", "a.bmp", "A.PNG"])
def test_lossless_formats_give_the_pixels_themselves(tmp_path, name):
    how = {"lossless": True} if name.endswith("webp") else {}
    image = load_image(save(PIXELS, tmp_path / name, **how), 3)
    assert image.dtype == torch.uint8
    assert torch.equal(image, COLOUR)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_formats_give_nearly_the_pixels(tmp_path, name):
    image = load_image(save(smooth(), tmp_path / name, quality=95), 3)
    assert image.shape == (3, 48, 32)
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_greyscale_keeps_its_precision(tmp_path, name, channels):
    image = load_image(save(GREY_16, tmp_path / name), channels)
    assert image.shape == (channels, 5, 7)
    torch.testing.assert_close(image, torch.from_numpy(GREY_16 / 65535).float().expand(channels, -1, -1))


def test_big_endian_16_bit_greyscale_is_read_like_little_endian(tmp_path):
    big = Image.frombytes("I;16B", (7, 5), GREY_16.astype(">u2").tobytes())
    image = load_image(save(big, tmp_path / "a.tif"), 1)
    torch.testing.assert_close(image[0], torch.from_numpy(GREY_16 / 65535).float())


@pytest.mark.parametrize("values", [
    GREY_16.astype(np.int32), np.linspace(-0.01, 1.01, 35, dtype=np.float32).reshape(5, 7)])
def test_signed_integers_and_floats_need_a_range_and_are_clipped_to_it(tmp_path, values):
    path = save(values, tmp_path / "a.tif")
    sentence = rf"a\.tif \(\w+ TIFF\) go from {values.min():.6g} to .*: type --range_A "
    with pytest.raises(UserError, match=sentence):
        load_image(path, 3, flag="--range_A")
    middle = float(np.median(values))
    image = load_image(path, 3, (0, middle))
    torch.testing.assert_close(image, torch.from_numpy(values / middle).float().clamp(0, 1).expand(3, -1, -1))


def test_values_that_are_no_numbers_are_refused(tmp_path):
    path = save(np.full((5, 7), np.nan, dtype=np.float32), tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif has values that are not finite"):
        load_image(path, 3, (0, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_arrays_have_any_number_of_channels(tmp_path, dtype, channels):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype=dtype)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "b.npz", values)
    expected = torch.from_numpy(values / np.iinfo(dtype).max * 2 - 1).float().permute(2, 0, 1)
    for name in ("a.npy", "b.npz"):
        torch.testing.assert_close(load_normalized(tmp_path / name, channels), expected)
    if channels > 1:
        with pytest.raises(UserError, match=rf"a\.npy has {channels} channels, but 3 are expected; give --input_nc"):
            load_image(tmp_path / "a.npy", 3)


def test_the_writer_can_invert_the_range(tmp_path):
    stored = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
    np.save(tmp_path / "a.npy", stored)
    image = load_normalized(tmp_path / "a.npy", 1, (-1024, 3071))
    assert np.array_equal(from_unit(image[0].numpy(), (-1024, 3071), np.int16), stored)
    assert from_unit(np.array([-2.0, np.nan, 2.0]), (-1024, 3071), np.int16).tolist() == [-1024, -1024, 3071]


def test_palette_images_are_read_through_their_palette(tmp_path):
    paletted = Image.fromarray(smooth()).quantize(8)
    image = load_image(save(paletted, tmp_path / "a.png"), 3)
    assert torch.equal(image, torch.from_numpy(np.array(paletted.convert("RGB"))).permute(2, 0, 1))


def test_transparent_palette_entry_shows_white(tmp_path):
    paletted = Image.new("P", (2, 1))
    paletted.putpalette([0, 0, 0, 200, 10, 20])
    paletted.putdata([0, 1])
    image = load_image(save(paletted, tmp_path / "a.png", transparency=0), 3)
    assert image[:, 0].T.tolist() == [[255, 255, 255], [200, 10, 20]]


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_composited_over_white(tmp_path, name, channels):
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = [0, 128, 255]  # black: transparent, half transparent, opaque
    how = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    image = load_image(save(pixels, tmp_path / name, **how), channels)
    assert image.shape == (channels, 1, 3)
    assert image[0, 0].tolist() == [255, 127, 0]


def test_greyscale_with_alpha_is_composited_over_white(tmp_path):
    pixels = Image.fromarray(np.array([[[0, 0], [0, 255], [90, 255]]], dtype=np.uint8), "LA")
    assert load_image(save(pixels, tmp_path / "a.png"), 1).tolist() == [[[255, 0, 90]]]


def test_transparent_colour_of_an_opaque_mode_shows_white(tmp_path):
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    image = load_image(save(pixels, tmp_path / "a.png", transparency=(1, 2, 3)), 3)
    assert image[:, 0].T.tolist() == [[255, 255, 255], [4, 5, 6]]


def test_one_bit_images_are_black_and_white(tmp_path):
    bits = Image.fromarray(np.array([[0, 255, 0]], dtype=np.uint8)).convert("1")
    assert load_image(save(bits, tmp_path / "a.png"), 3).tolist() == [[[0, 255, 0]]] * 3
    assert load_image(save(bits, tmp_path / "b.tif"), 1).tolist() == [[[0, 255, 0]]]


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_becomes_colour(tmp_path, name):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow ink: red
    red, green, blue = load_image(save(cmyk, tmp_path / name), 3).float().mean((1, 2)).tolist()
    assert red > 250
    assert green < 5
    assert blue < 5


def test_one_channel_is_luminance(tmp_path):
    path = save(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8), tmp_path / "a.png")
    assert load_image(path, 1).tolist() == [[[76, 150, 29]]]  # 0.299, 0.587, 0.114 of 255


def test_greyscale_becomes_three_equal_channels(tmp_path):
    image = load_image(save(PIXELS[..., 0], tmp_path / "a.png"), 3)
    assert torch.equal(image, COLOUR[:1].expand(3, -1, -1))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_honoured(tmp_path, name, orientation, turn):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(smooth(), tmp_path / name, exif=exif)
    upright = torch.from_numpy(np.rot90(smooth(), turn).copy()).permute(2, 0, 1)
    image = load_image(path, 3)
    assert image.shape == upright.shape
    assert (image.float() - upright.float()).abs().mean() < 6


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_is_that_of_the_upright_image(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(smooth(), tmp_path / name, exif=exif)
    assert image_size(path) == load_image(path, 1).shape[1:]


def wide_gamut() -> bytes:
    """Return a profile whose red and green are those of sRGB exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red:red + 4], profile[green:green + 4] = b"gXYZ", b"rXYZ"
    text = profile.index("sRGB".encode("utf-16-be"))
    profile[text:text + 8] = "test".encode("utf-16-be")
    return bytes(profile)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_colours_of_another_profile_become_those_of_srgb(tmp_path, name, mode):
    if (name, mode) in {("a.jpg", "RGBA"), ("a.jpg", "P")}:
        pytest.skip("there are none")
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert(mode)
    how = {"lossless": True} if name == "a.webp" else {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    path = save(red, tmp_path / name, icc_profile=wide_gamut(), **how)
    plain = load_image(save(red, tmp_path / f"plain_{name}", **how), 3)
    exchanged = plain if mode == "L" else plain[[1, 0, 2]]
    assert (load_image(path, 3).float() - exchanged.float()).abs().max() <= 4
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"damaged"):
        assert torch.equal(load_image(save(red, path, icc_profile=profile, **how), 3), plain)


def test_every_format_of_pillow_is_decoded_but_for_those_that_run_programs_or_come_out_wrongly():
    Image.init()
    known = {name for name in Image.registered_extensions().values() if name in Image.OPEN}
    assert known - FORMATS.keys() <= {"EPS", "WMF", "FITS", "BUFR", "GRIB", "HDF5", "MPEG"}
    assert FORMATS.keys() <= Image.OPEN.keys()
    for suffix, name in Image.registered_extensions().items():
        assert suffix in FORMATS.get(name, (suffix,)), suffix


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: there is no such file"):
        load_image(tmp_path / "gone.png", 3)


def test_broken_link_is_named(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"link\.png: .* link is broken"):
        load_image(find_images(tmp_path, "--real")[0], 3)


def test_images_are_found_in_subfolders_sorted_and_limited(tmp_path):
    names = ["b.png", "a/z.JPG", "a/c.webp", "c.tiff", ".hidden.png", ".cache/d.png", "notes.txt", "._b.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = find_images(tmp_path, "--dataroot")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/c.webp", "a/z.JPG", "b.png", "c.tiff"]
    assert find_images(tmp_path, "--dataroot", 2) == found[:2]
    assert find_images(tmp_path, "--dataroot", 10) == found


def test_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match=rf"--real: cannot read the folder {tmp_path} \(Permission denied\)"):
        find_images(tmp_path, "--real")


def test_folder_without_images_names_the_flag_and_what_is_expected(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"--dataroot: no images in .*\.png, .*\.webp"):
        find_images(tmp_path, "--dataroot")


def test_missing_folder_names_the_flag(tmp_path):
    with pytest.raises(UserError, match=r"^--real: there is no folder .*gone"):
        find_images(tmp_path / "gone", "--real")
