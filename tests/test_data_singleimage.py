"""The data set `singleimage`, from the command line to samples."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from tiny import NoModel, save_folders, save_noise

from data import DATASETS, Loader, SampleKey, SingleImageDataset, finish
from data.batch import collate
from options import TEST, TRAIN, LoadingFlags, Options, Program, parse
from util.errors import UserError
from util.images import load_image

PATCHES = "--preprocess zoom_and_patch --load_size 60 --crop_size 8"


def options_of(root: Path, flags: str = "", program: Program = TRAIN) -> Options:
    argv = ["--dataroot", str(root), "--checkpoints_dir", str(root / "none"), "--dataset_mode", "singleimage"]
    return parse(program, {"sc": NoModel, "test": NoModel}, DATASETS, [*argv, *shlex.split(flags)])


def dataset(root: Path, flags: str = "", program: Program = TRAIN) -> SingleImageDataset:
    return SingleImageDataset(options_of(root, flags, program), training=program is TRAIN)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_noise(tmp_path / "trainA/photo.png", 0, size=(50, 40))
    save_noise(tmp_path / "trainB/painting.png", 1, size=(90, 30))
    return tmp_path


def sample_of(data: SingleImageDataset, seed: int, index: int = 0) -> dict[str, torch.Tensor]:
    return {name: value[0] for name, value in finish(collate([data[SampleKey(index, seed)]])).items()}


def test_an_epoch_is_a_number_of_patches_of_images_in_memory(root: Path) -> None:
    assert options_of(root)[LoadingFlags].cache == "ram"
    assert len(dataset(root)) == 100_000
    assert len(dataset(root, "--max_dataset_size 37")) == 37
    assert len(dataset(root, "--max_dataset_size 37", TEST)) == 1


def test_sample_is_a_patch_of_each_image_and_a_function_of_its_key(root: Path) -> None:
    data = dataset(root, f"{PATCHES} --augment")
    first, again, later, other = (sample_of(data, 7), sample_of(data, 7), sample_of(data, 7, index=9),
                                  sample_of(data, 8))
    assert set(first) == {"A", "B", "A_aug", "B_aug", "A_paths", "B_paths"}
    for name in ("A", "B", "A_aug", "B_aug"):
        assert first[name].shape == (3, 8, 8)
        assert torch.equal(first[name], again[name])
        assert torch.equal(first[name], later[name]), "random choices come from the seed alone"
        assert not torch.equal(first[name], other[name])
    assert Path(str(first["A_paths"])).name == "photo.png"
    assert Path(str(first["B_paths"])).name == "painting.png"


def test_a_batch_holds_different_patches_of_both_images(root: Path) -> None:
    data = dataset(root, f"{PATCHES} --max_dataset_size 10")
    loader = Loader(data, batch_size=4, num_workers=0, seed=0, shuffle=True)
    batches = list(loader.epoch(0))
    assert [len(batch["A"]) for batch in batches] == [4, 4, 2]
    for name in "AB":
        patches = torch.cat([batch[name] for batch in batches])
        assert len(torch.unique(patches, dim=0)) == 10


def test_testing_shows_the_photograph_of_the_training_whole_at_its_own_size(root: Path) -> None:
    data = dataset(root, program=TEST)
    sample = sample_of(data, 5)
    assert set(sample) == {"A", "A_paths"}
    torch.testing.assert_close(sample["A"], load_image(root / "trainA/photo.png", 3) / 127.5 - 1)
    save_noise(root / "testA/other.png", 5)
    assert Path(str(sample_of(dataset(root, "--phase test", TEST), 0)["A_paths"])).name == "other.png"


@pytest.mark.parametrize("counts", [(2, 1), (1, 3)])
def test_several_images_are_refused_whatever_the_length_of_an_epoch(tmp_path: Path, counts: tuple[int, int]) -> None:
    save_folders(tmp_path, counts=counts)
    folder = "trainA" if counts[0] > 1 else "trainB"
    with pytest.raises(UserError, match=rf"one image in \S*{folder}, which holds {max(counts)}; remove"):
        dataset(tmp_path, "--max_dataset_size 1")


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    save_noise(tmp_path / "trainA/photo.png", 0)
    with pytest.raises(UserError, match=r"no folder .*trainB, which --dataset_mode singleimage needs"):
        dataset(tmp_path)
    (tmp_path / "trainB").mkdir()
    with pytest.raises(UserError, match=r"no images in .*trainB"):
        dataset(tmp_path)
