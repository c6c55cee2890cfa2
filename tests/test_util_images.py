from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from util.errors import UserError
from util.files import move_aside, replacing
from util.picture_files import first_image, save_image, to_uint8


def test_every_8_bit_level_survives_the_way_to_floats_and_back():
    levels = torch.arange(256, dtype=torch.float32)
    assert to_uint8((levels / 127.5 - 1).view(1, 16, 16)).flatten().tolist() == levels.int().tolist()


def test_values_are_rounded_to_the_nearest_level_and_clipped():
    image = torch.tensor([100.6, 100.4, 254.6, -40.0, 400.0]).view(1, 1, 5) / 127.5 - 1
    assert to_uint8(image).tolist() == [[101, 100, 255, 0, 255]]


def test_images_of_a_diverged_run_can_be_shown():
    image = torch.tensor([float("nan"), float("inf"), float("-inf")]).view(1, 1, 3)
    assert to_uint8(image).tolist() == [[0, 255, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_colour_images_come_out_height_before_width_with_channels_last(dtype):
    image = -torch.ones(3, 2, 5, dtype=dtype, requires_grad=True)
    pixels = to_uint8(image)
    assert pixels.shape == (2, 5, 3)
    assert pixels.dtype == np.uint8
    assert not pixels.any()


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4, 4), (1, 3, 4, 4), (4, 4)])
def test_shapes_that_are_no_picture_are_refused_with_a_sentence(shape):
    with pytest.raises(UserError, match="cannot be shown or saved"):
        to_uint8(torch.zeros(shape))


def test_first_image_takes_the_first_of_a_batch_and_leaves_a_single_image():
    batch = torch.rand(2, 3, 4, 5)
    assert first_image(batch).equal(batch[0])
    assert first_image(batch[1]).equal(batch[1])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_saved_images_read_back_pixel_by_pixel(tmp_path, channels, mode):
    image = torch.rand(channels, 3, 5) * 2 - 1
    path = tmp_path / "made on demand" / "näme #1%.picture"  # PNG, if the name says nothing
    save_image(image, path)
    with Image.open(path) as saved:
        assert (saved.format, saved.mode) == ("PNG", mode)
        assert np.array_equal(np.asarray(saved), to_uint8(image))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("aspect_ratio", "size"), [(1.0, (20, 10)), (2.0, (40, 10)), (0.5, (20, 20))])
def test_aspect_ratio_enlarges_one_side_and_never_shrinks_the_other(tmp_path, aspect_ratio, size):
    save_image(torch.zeros(3, 10, 20), tmp_path / "a.png", aspect_ratio)
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.size == size


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")  # as long as a name can be
    save_image(torch.zeros(1, 2, 2), path)
    before = path.read_bytes()

    def write_half():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_moving_aside_takes_the_first_free_number(tmp_path):
    path = tmp_path / "log"
    assert move_aside(path) is None
    for number in ("1", "2", "3"):
        path.write_text(number)
        assert move_aside(path) == tmp_path / f"log.{number}"
    assert [(tmp_path / f"log.{number}").read_text() for number in "123"] == ["1", "2", "3"]
