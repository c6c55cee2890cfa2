"""``--cache ram``: the same samples, read once, and refused where memory is full."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NoModel, save_noise

from data import DATASETS, ImageDataset, Loader, SampleKey, cache, keep_in_memory
from options import TRAIN, DataFlags, parse
from util.errors import UserError
from util.loggers import Sink

SMALL = "--load_size 20 --crop_size 16"


class Counter(Sink):
    """Record progress."""

    def __init__(self) -> None:
        self.seen, self.lines, self.said, self.closed = 0, [], [], False

    def advance(self, images):
        self.seen += images

    def scalars(self, step, values):
        self.lines.append(step)

    def message(self, text):
        self.said.append(text)

    def close(self):
        self.closed = True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Unaligned and aligned folders, and pairs side by side; images of several sizes, one of 16 bits."""
    for index, size in enumerate([(24, 20), (30, 22), (18, 40), (17, 17)]):
        for domain in "AB":
            save_noise(tmp_path / f"two/train{domain}/{index}.png", seed=index, size=size)
        save_noise(tmp_path / f"pairs/train/{index}.png", seed=index, size=(2 * size[0], size[1]))
    deep = np.random.default_rng(0).integers(0, 65536, (20, 24), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "two/trainA/0.png")
    return tmp_path


def dataset(folder: Path, arguments: str = "") -> ImageDataset:
    options = parse(TRAIN, {"sc": NoModel}, DATASETS, ["--dataroot", str(folder), *shlex.split(arguments)])
    return DATASETS[options[DataFlags].dataset_mode](options, training=True)


def cached(folder: Path, arguments: str = "") -> ImageDataset:
    data = dataset(folder, arguments)
    keep_in_memory(data, Sink())
    return data


def assert_same(one, two) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name], name


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "none"])
@pytest.mark.parametrize(("folder", "mode"), [
    ("two", "unaligned --augment"), ("two", "aligned --augment --direction BtoA"), ("pairs", "aligned --output_nc 1"),
    ("two/trainA", "single --input_nc 1"),
])
def test_samples_from_the_cache_are_those_from_the_files(root, folder, mode, preprocess):
    arguments = f"{SMALL} --preprocess {preprocess} --dataset_mode {mode}"
    kept, plain = cached(root / folder, arguments), dataset(root / folder, arguments)
    for seed in range(3 * len(plain)):
        assert_same(kept[SampleKey(seed % len(plain), seed)], plain[SampleKey(seed % len(plain), seed)])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_from_the_files_and_read_none(root, workers):
    arguments = f"{SMALL} --augment"
    plain = Loader(dataset(root / "two", arguments), batch_size=3, num_workers=0, seed=1, shuffle=True)
    expected = [batch for epoch in range(2) for batch in plain.epoch(epoch)]
    kept = Loader(cached(root / "two", arguments), batch_size=3, num_workers=workers, seed=1, shuffle=True)
    for path in (root / "two").rglob("*.png"):
        path.unlink()
    for one, two in zip(expected, [batch for epoch in range(2) for batch in kept.epoch(epoch)], strict=True):
        assert_same(one, two)


def test_batches_are_copies_so_that_nobody_changes_the_cache(root):
    data = cached(root / "two", SMALL)
    before = [image.clone() for images in data.cache for image in images]
    for batch in Loader(data, batch_size=1, num_workers=0, seed=1, shuffle=True, finished=False).epoch(0):
        batch["A"].zero_()
        batch["B"].zero_()
    after = [image for images in data.cache for image in images]
    assert all(map(torch.equal, before, after))
    assert [image.dtype for image in after] == [torch.float32] + 7 * [torch.uint8]


def test_progress_counts_images(root):
    progress = Counter()
    keep_in_memory(dataset(root / "two", SMALL), progress)
    assert (progress.seen, len(progress.lines), progress.lines[-1], progress.closed) == (8, 5, 8, True)
    assert progress.said == ["--cache ram: images that are read into memory, once: 8"]


def test_full_memory_is_refused(root, monkeypatch):
    left = iter([0.5, 0.2, 0.01])
    monkeypatch.setattr(cache, "available", lambda: next(left))
    data = dataset(root / "two", SMALL)
    with pytest.raises(UserError, match="--cache ram: memory is full after 3 of 8 images; use --cache none, or fewer"):
        keep_in_memory(data, Sink())
    assert data.cache is None


def test_available_memory_is_a_share_and_unknown_without_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MEMORY", tmp_path / "meminfo")
    assert cache.available() == 1.0
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 4500 kB\nHugePages_Total: 0\n")
    assert cache.available() == 0.5
