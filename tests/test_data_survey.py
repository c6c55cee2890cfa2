"""The survey of the images at the start of a training: ranges, channels, pages, files that are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from test_data_datasets import dataset, sample_of

from data import survey
from util.errors import UserError
from util.image_folders import find_images, list_images
from util.images import image_size, load_image


def save_arrays(root: Path, values: Any, domains: str = "AB", count: int = 3) -> Path:
    for domain in domains:
        (root / f"train{domain}").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            np.save(root / f"train{domain}/{index}.npy", values + index)
    return root


def test_twelve_bits_in_sixteen_are_named_with_the_flag_to_type(tmp_path):
    values = np.linspace(0, 4000, 400).reshape(20, 20).astype(np.uint16)
    root = save_arrays(tmp_path, values)
    notes = survey(dataset(root, "--input_nc 1 --output_nc 1"))
    assert len(notes) == 2
    assert "the values of 3 images of trainA go from 0 to 4002, less than an eighth" in notes[0]
    assert notes[0].endswith("type --range_A 0,4095")
    assert notes[1].endswith("type --range_B 0,4095")
    assert survey(dataset(root, "--input_nc 1 --output_nc 1 --range_A 0,4095 --range_B 0,4095")) == []


def test_values_outside_the_range_are_counted(tmp_path):
    root = save_arrays(tmp_path, np.repeat(np.uint16([0, 900]), 200).reshape(20, 20))
    notes = survey(dataset(root, "--input_nc 1 --output_nc 1 --range_A 0,901 --range_B 0,902"))
    assert notes == ["the values of 3 images of trainA go from 0 to 902; 16.7 % of them lie outside --range_A 0,901 "
                     "and are clipped"]


def test_the_range_of_the_sample_is_named_where_one_is_needed(tmp_path):
    root = save_arrays(tmp_path, np.arange(-1024, -624, dtype=np.int16).reshape(20, 20))
    with pytest.raises(UserError, match=r"trainA go from -1024 to -623, and .*type --range_A -1024,-623"):
        survey(dataset(root, "--input_nc 1 --output_nc 1"))
    with pytest.raises(UserError, match="type --range_B -1024,-623"):
        survey(dataset(root, "--input_nc 1 --output_nc 1 --direction BtoA"))


def test_another_number_of_channels_is_refused_at_the_start_if_no_image_fits(tmp_path):
    root = save_arrays(tmp_path, np.full((20, 20, 5), 900, np.uint16))
    with pytest.raises(UserError, match=r"0\.npy has 5 channels, but 3 are expected; give --input_nc 5"):
        survey(dataset(root))
    Image.new("RGB", (20, 20)).save(root / "trainA/x.png")
    Image.new("RGB", (20, 20)).save(root / "trainB/x.png")
    survey(dataset(root))


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    for domain in "AB":
        (tmp_path / f"train{domain}").mkdir()
        pages = np.stack([np.full((20, 20), 10 * page, np.uint8) for page in range(12)])
        tifffile.imwrite(tmp_path / f"train{domain}/s.tif", pages, photometric="minisblack")
        Image.new("L", (20, 20), 200).save(tmp_path / f"train{domain}/x.png")
    return tmp_path


def test_pages_are_images_or_named(stack):
    flags = "--input_nc 1 --output_nc 1"
    assert "TIFF files of trainA have several pages (s.tif: 12), of which the first is read" in survey(
        dataset(stack, flags))[0]
    for mode in ("unaligned", "aligned"):
        pages = dataset(stack, f"{flags} --pages all --dataset_mode {mode} --serial_batches")
        assert len(pages) == 13
        sample = sample_of(pages, 11, 0)
        assert sample["A_paths"].endswith("trainA/s.tif/page_0012")
        assert sample["A"].mean() == pytest.approx(110 / 127.5 - 1)
        assert pages.fingerprint()["files"] == 26
    assert survey(pages) == []
    one = dataset(stack / "trainA/s.tif", f"{flags} --pages all --dataset_mode single --max_dataset_size 2")
    assert len(one) == 2
    assert image_size(stack / "trainA/s.tif/page_0012") == (20, 20)


def test_a_page_that_is_not_there_is_named(stack):
    with pytest.raises(UserError, match=r"s\.tif has no page 13"):
        load_image(stack / "trainA/s.tif/page_0013", 1)


def test_left_out_files_are_counted_and_named_and_linked_folders_followed(tmp_path):
    root = save_arrays(tmp_path / "set", np.zeros((20, 20, 3), np.uint8))
    save_arrays(tmp_path / "far", np.zeros((20, 20, 3), np.uint8), "A", 1)
    inside = root / "trainA"
    (inside / "linked").symlink_to(tmp_path / "far/trainA")
    (inside / "round").symlink_to(root)
    (inside / "self").symlink_to(inside / "self")
    (inside / "gone").symlink_to(tmp_path / "nothing")
    for name in ("a.dcm", "b.dcm", "c.txt", ".hidden.png"):
        (inside / name).touch()
    listing = list_images(inside, "--dataroot")
    assert [path.name for path in listing.images] == ["0.npy", "1.npy", "2.npy", "0.npy"]
    assert listing.left_out() == (
        "left out: 3 files of kinds that are not read (.dcm: 2, .txt: 1); 1 hidden name (.hidden.png); 2 links to "
        "nowhere (gone, self); 1 link in a circle (round)")
    assert dataset(root).notes == [f"{inside}: {listing.left_out()}"]


def test_links_in_a_circle_below_the_folder_are_named(tmp_path):
    root = save_arrays(tmp_path, np.zeros((20, 20, 3), np.uint8), "A", 1)
    (root / "trainA/inner").mkdir()
    (root / "trainA/inner/up").symlink_to(root / "trainA")
    listing = list_images(root / "trainA", "--dataroot")
    assert listing.left_out() == "left out: 1 link in a circle (up)"
    assert find_images(root, "--dataroot") == listing.images


def test_the_survey_changes_no_batch(tmp_path):
    root = save_arrays(tmp_path, np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))
    quiet, asked = dataset(root), dataset(root)
    survey(asked)
    assert torch.equal(sample_of(quiet, 0, 1)["A"], sample_of(asked, 0, 1)["A"])
