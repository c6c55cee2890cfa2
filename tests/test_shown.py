"""Pictures of images with any number of channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import train_options

from data import band_notes
from util.errors import UserError
from util.shown import picture


@pytest.mark.parametrize(("channels", "bands", "shown"), [
    (1, (), [0]), (1, (3, 2, 1), [0]),
    (2, (), [0]), (2, (2,), [1]), (2, (1, 2, 1), [0, 1, 0]),
    (3, (), [0, 1, 2]), (3, (3, 2, 1), [0, 1, 2]),
    (5, (), [0, 1, 2]), (5, (5, 3, 1), [4, 2, 0]), (5, (4,), [3]),
])
def test_a_picture_shows_one_channel_or_three(channels: int, bands: tuple[int, ...], shown: list[int]) -> None:
    images = torch.rand(2, channels, 4, 3)
    assert torch.equal(picture(images, bands), images[:, shown])
    assert torch.equal(picture(images[1], bands), images[1, shown])


@pytest.mark.parametrize(("flags", "said"), [
    ("--rgb_bands 3,2", "should be the numbers of three channels"),
    ("--rgb_bands 0,1,2", "should be the numbers of three channels"),
    ("--rgb_bands 3,2,1", "images of 1 or 3 channels are shown as they are"),
    ("--rgb_bands 6,2,1 --input_nc 5", "--input_nc 5 have no channel 6"),
    ("--rgb_bands 4,2,1 --input_nc 5 --output_nc 2", "--output_nc 2 have no channel 4"),
])
def test_bands_that_do_not_fit_are_refused(tmp_path: Path, flags: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        train_options(tmp_path, flags)


def test_a_run_says_what_pictures_show_and_how_copies_are_jittered(tmp_path: Path) -> None:
    assert band_notes(train_options(tmp_path, "--learned_attn --augment")) == []
    assert band_notes(train_options(tmp_path, "--input_nc 5 --output_nc 2 --rgb_bands 2 --learned_attn --augment")) == [
        "pictures of inputs show channel 2 of 5 (--rgb_bands chooses others)",
        "pictures of outputs show channel 2 of 2 (--rgb_bands chooses others)",
        "--augment changes the brightness and contrast of all channels together; only images of three channels have "
        "saturation and hue"]
    assert band_notes(train_options(tmp_path, "--input_nc 5")) == [
        "pictures of inputs show channels 1, 2, 3 of 5 (--rgb_bands chooses others)"]
