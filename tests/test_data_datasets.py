"""The data sets, from the command line to samples."""

from __future__ import annotations

import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NoModel, save_noise

from data import DATASETS, SampleKey, finish
from data.batch import collate
from options import TEST, TRAIN, DataFlags, parse
from util.errors import UserError

SMALL = "--load_size 20 --crop_size 16"
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def dataset(root: Path, arguments: str = "", program=TRAIN):
    argv = ["--dataroot", str(root), "--checkpoints_dir", str(root / "none"), *shlex.split(arguments)]
    options = parse(program, {"sc": NoModel, "test": NoModel}, DATASETS, argv)
    return DATASETS[options[DataFlags].dataset_mode](options, training=program is TRAIN)


def sample_of(data, index: int, seed: int) -> dict:
    """Return one finished sample."""
    return {name: value[0] for name, value in finish(collate([data[SampleKey(index, seed)]])).items()}


def save(path: Path, colour=RED, size=(24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def folders(root: Path, phase: str = "train", count_a: int = 3, count_b: int = 5) -> Path:
    for domain, count in (("A", count_a), ("B", count_b)):
        for i in range(count):
            save_noise(root / f"{phase}{domain}" / f"{i}.png", seed=i, size=(24, 20))
    return root


def colour_of(image: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(value) for value in ((image.mean((1, 2)) + 1) * 127.5).round())


def test_unaligned_epoch_is_as_long_as_the_longer_folder_in_training_and_shows_every_input_once_in_testing(tmp_path):
    folders(tmp_path, "train", 3, 5)
    folders(tmp_path, "test", 3, 5)
    assert len(dataset(tmp_path)) == 5
    assert len(dataset(tmp_path, program=TEST)) == 3
    assert len(dataset(tmp_path, "--max_dataset_size 2")) == 2


def test_partner_is_random_in_training_and_by_index_with_serial_batches(tmp_path):
    folders(tmp_path)
    data, serial = dataset(tmp_path, SMALL), dataset(tmp_path, f"{SMALL} --serial_batches")
    assert {Path(sample_of(data, 0, seed)["B_paths"]).stem for seed in range(60)} == set("01234")
    assert {Path(sample_of(serial, 3, seed)["B_paths"]).stem for seed in range(10)} == {"3"}
    sample = sample_of(data, 4, 0)
    assert set(sample) == {"A", "B", "A_paths", "B_paths"}
    assert sample["A"].shape == sample["B"].shape == (3, 16, 16)
    assert sample["A_paths"] == str(tmp_path / "trainA/1.png")  # 4 modulo 3


@pytest.mark.parametrize("mode", ["unaligned", "aligned"])
def test_sample_is_a_function_of_its_key(tmp_path, mode):
    data = dataset(folders(tmp_path, count_b=3), f"{SMALL} --dataset_mode {mode} --augment")
    state = torch.get_rng_state()
    first, again, other = sample_of(data, 1, 7), sample_of(data, 1, 7), sample_of(data, 1, 8)
    for name in ("A", "B", "A_aug", "B_aug"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("mode", ["unaligned", "aligned"])
def test_augment_adds_copies_of_the_same_crops_and_changes_nothing_else(tmp_path, mode):
    folders(tmp_path, count_b=3)
    for i in range(3):  # jitter is nearly invisible in where the black edge lies
        for domain in "AB":
            pixels = np.full((24, 30, 3), 200, dtype=np.uint8)
            pixels[: 5 + i, : 9 + 2 * i] = 0
            Image.fromarray(pixels).save(tmp_path / f"train{domain}/{i}.png")
    arguments = f"--load_size 24 --crop_size 16 --dataset_mode {mode}"
    plain, augmented = dataset(tmp_path, arguments), dataset(tmp_path, f"{arguments} --augment")
    for seed in range(20):
        before, sample = sample_of(plain, seed % 3, seed), sample_of(augmented, seed % 3, seed)
        for name in "AB":
            assert torch.equal(before[name], sample[name])
            assert before[f"{name}_paths"] == sample[f"{name}_paths"]
            jittered = sample[f"{name}_aug"].mean(0)
            dark = sample[name].mean(0) < -0.2
            if dark.any() and not dark.all():
                assert jittered[dark].mean() + 0.1 < jittered[~dark].mean()
                assert not torch.equal(sample[f"{name}_aug"], sample[name])


@pytest.mark.parametrize("mode", ["unaligned", "aligned"])
def test_direction_swaps_the_folders_while_channels_follow_the_role(tmp_path, mode):
    save(tmp_path / "trainA/x.png", RED)
    save(tmp_path / "trainB/x.png", GREEN)
    arguments = f"{SMALL} --dataset_mode {mode} --input_nc 1 --output_nc 3"
    forward = sample_of(dataset(tmp_path, arguments), 0, 0)
    assert (colour_of(forward["A"]), colour_of(forward["B"])) == ((76,), GREEN)
    backward = sample_of(dataset(tmp_path, f"{arguments} --direction BtoA"), 0, 0)
    assert (colour_of(backward["A"]), colour_of(backward["B"])) == ((150,), RED)
    assert backward["A_paths"] == str(tmp_path / "trainB/x.png")


def test_testing_shows_the_whole_image_unmirrored_at_its_own_size(tmp_path):
    save_noise(tmp_path / "testA/x.png", 0, size=(13, 7))
    data = dataset(tmp_path, program=TEST)
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "testA/x.png"))).permute(2, 0, 1)
    for seed in range(5):
        sample = sample_of(data, 0, seed)
        assert set(sample) == {"A", "A_paths"}  # there is no testB
        torch.testing.assert_close(sample["A"], pixels / 127.5 - 1)


def test_testing_with_a_crop_shows_the_centre_even_where_flips_are_allowed(tmp_path):
    save_noise(tmp_path / "testA/x.png", 0)
    data = dataset(tmp_path, "--preprocess crop --crop_size 10 --no_flip false", TEST)
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "testA/x.png"))).permute(2, 0, 1)
    for seed in range(5):
        torch.testing.assert_close(sample_of(data, 0, seed)["A"], pixels[:, 5:15, 7:17] / 127.5 - 1)


def test_no_flip_in_training(tmp_path):
    save_noise(tmp_path / "x.png", 0, size=(16, 16))
    arguments = "--dataset_mode single --preprocess none"
    plain = dataset(tmp_path, f"{arguments} --no_flip")
    flipping = dataset(tmp_path, arguments)
    image = sample_of(plain, 0, 0)["A"]
    assert all(torch.equal(sample_of(plain, 0, seed)["A"], image) for seed in range(8))
    seen = [sample_of(flipping, 0, seed)["A"] for seed in range(8)]
    assert any(torch.equal(sample, image.flip(2)) for sample in seen)
    assert all(torch.equal(sample, image) or torch.equal(sample, image.flip(2)) for sample in seen)


def test_single_takes_a_folder_or_a_file(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.png")
    folder = dataset(tmp_path, "--dataset_mode single", TEST)
    file = dataset(tmp_path / "b.png", "--dataset_mode single --input_nc 1 --direction BtoA", TEST)
    assert [Path(sample_of(folder, i, 0)["A_paths"]).name for i in range(len(folder))] == ["a.png", "b.png"]
    assert len(file) == 1
    assert sample_of(file, 0, 0)["A"].shape == (1, 20, 24)
    assert set(sample_of(file, 0, 0)) == {"A", "A_paths"}


@pytest.mark.parametrize("side_by_side", [False, True])
def test_pairs_get_the_same_scale_crop_and_flip(tmp_path, side_by_side):
    for i in range(2):
        a = Image.open(save_noise(tmp_path / f"source/{i}.png", i, size=(24, 20)))
        inverse = a.point(lambda value: 255 - value)
        if side_by_side:
            both = Image.new("RGB", (48, 20))
            both.paste(a, (0, 0))
            both.paste(inverse, (24, 0))
            (tmp_path / "train").mkdir(exist_ok=True)
            both.save(tmp_path / f"train/{i}.png")
        else:
            for domain, image, suffix in (("A", a, "png"), ("B", inverse, "bmp")):
                (tmp_path / f"train{domain}").mkdir(exist_ok=True)
                image.save(tmp_path / f"train{domain}/{i}.{suffix}")
    data = dataset(tmp_path, f"{SMALL} --dataset_mode aligned")
    assert len(data) == 2
    for seed in range(10):
        sample = sample_of(data, seed % 2, seed)
        assert sample["A"].shape == (3, 16, 16)
        assert (sample["A"] + sample["B"]).abs().max() < 0.02
    back = dataset(tmp_path, f"{SMALL} --dataset_mode aligned --direction BtoA")
    assert torch.equal(sample_of(back, 0, 3)["A"], sample_of(data, 0, 3)["B"])


@pytest.mark.parametrize("preprocess", ["crop", "none", "scale_width"])
def test_crop_larger_than_load_size_is_fine_where_they_do_not_meet(tmp_path, preprocess):
    data = dataset(folders(tmp_path), f"--load_size 9 --crop_size 10 --preprocess {preprocess}")
    assert sample_of(data, 0, 0)["A"].shape[1] > 0


@pytest.mark.parametrize("mode", list(DATASETS))
def test_data_sets_survive_pickling_for_workers_that_are_spawned(tmp_path, mode):
    counts = (1, 1) if mode == "singleimage" else (3, 3)
    data = dataset(folders(tmp_path, "train", *counts), f"{SMALL} --dataset_mode {mode}")
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(sample_of(copy, 1, 5)["A"], sample_of(data, 1, 5)["A"])


def test_augment_changes_nothing_in_testing_and_belongs_to_sets_with_two_domains(tmp_path):
    folders(tmp_path, "test")
    assert "A_aug" not in sample_of(dataset(tmp_path, "--augment", TEST), 0, 0)
    with pytest.raises(UserError, match="--augment is not a flag"):
        dataset(tmp_path, "--dataset_mode single --augment")


@pytest.mark.parametrize(("files", "arguments", "program", "message"), [
    ("x.png", "", TEST, r"--dataroot: .*testA.*--dataset_mode single"),
    ("trainA/x.png", "", TRAIN, r"no folder .*trainB"),
    ("testA/x.png", "--direction BtoA", TEST, r"no folder .*testB"),
    ("trainA/x.png trainB/", "", TRAIN, r"--dataroot: no images in \S*trainB"),
    ("x.png", "--dataset_mode aligned", TRAIN, r"trainA and .*trainB, or .*train .*side by side"),
    ("trainA/0.png trainB/0.png trainA/5.png trainA/6.png", "--dataset_mode aligned", TRAIN,
     r"2 images without a partner.*trainB: \S*trainA/5\.png, "),
    ("trainA/0.png trainB/0.png trainA/0.bmp", "--dataset_mode aligned", TRAIN,
     r"0\.bmp and \S*0\.png have the same name"),
])
def test_folders_that_are_no_data_set_are_named(tmp_path, files, arguments, program, message):
    for file in files.split():
        if file.endswith("/"):
            (tmp_path / file).mkdir()
        else:
            save(tmp_path / file)
    with pytest.raises(UserError, match=message):
        dataset(tmp_path, arguments, program)


@pytest.mark.parametrize("mode", ["unaligned", "aligned"])
def test_a_file_as_dataroot_does_not_override_the_dataset_mode(tmp_path, mode):
    with pytest.raises(UserError, match=rf"x\.png is a file; --dataset_mode {mode} needs a folder .*single"):
        dataset(save(tmp_path / "x.png"), f"--dataset_mode {mode}")


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_each_domain_has_its_own_channels_and_range(tmp_path, direction):
    for domain, values in (("A", np.full((20, 24, 5), 2048, np.uint16)), ("B", np.full((20, 24), -1024, np.int16))):
        (tmp_path / f"train{domain}").mkdir()
        np.save(tmp_path / f"train{domain}/x.npy", values)
    counts = (5, 1) if direction == "AtoB" else (1, 5)
    flags = f"--direction {direction} --input_nc {counts[0]} --output_nc {counts[1]} --range_A 0,4096 --range_B"
    for mode in ("unaligned", "aligned", "singleimage"):
        sample = sample_of(dataset(tmp_path, f"--dataset_mode {mode} {flags} -1024,1024"), 0, 0)
        found = {image.shape[0]: image.mean().item() for image in (sample["A"], sample["B"])}
        assert found == pytest.approx({5: 0.0, 1: -1.0}, abs=1e-6)


def test_pairs_that_differ_in_size_and_halves_of_an_odd_width_are_named(tmp_path):
    save(tmp_path / "two/trainA/x.png", size=(24, 20))
    save(tmp_path / "two/trainB/x.png", size=(20, 24))
    save(tmp_path / "one/train/x.png", size=(25, 20))
    for name, message in (("two", r"trainA/x\.png is 24x20 and \S*trainB/x\.png is 20x24"),
                          ("one", r"train/x\.png is 25 pixels wide")):
        with pytest.raises(UserError, match=message):
            sample_of(dataset(tmp_path / name, "--dataset_mode aligned"), 0, 0)


@pytest.mark.parametrize("mode", list(DATASETS))
def test_flags_that_do_not_fit_are_refused_at_start(tmp_path, mode):
    for arguments, message in (
        ("--load_size 9 --crop_size 10 --preprocess scale_width_and_crop", "--crop_size 10 .*--load_size 9"),
        ("--range_A 5", "'5' is no range"), ("--range_B -3,-4", "'-3,-4' is no range"),
    ):
        with pytest.raises(UserError, match=message):
            dataset(tmp_path, f"--dataset_mode {mode} {arguments}")
