"""``--cache ram``: the same samples, shared by all processes, and refused where there is no room."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NoModel, save_noise

from data import DATASETS, Loader, SampleKey, keep_in_memory
from data.memory import room
from options import TRAIN, DataFlags, parse
from util.errors import UserError
from util.loggers import Sink

SMALL = "--load_size 20 --crop_size 16"


class Counter(Sink):
    """Counts what it is told."""

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


def dataset(folder: Path, arguments: str = ""):
    options = parse(TRAIN, {"sc": NoModel}, DATASETS, ["--dataroot", str(folder), *shlex.split(arguments)])
    return DATASETS[options[DataFlags].dataset_mode](options, training=True)


def cached(folder: Path, arguments: str = ""):
    data = dataset(folder, arguments)
    keep_in_memory(data, Sink())
    return data


def assert_same_samples(first, second) -> None:
    for seed in range(3 * len(first)):
        one, two = (data[SampleKey(seed % len(first), seed)] for data in (first, second))
        assert one.keys() == two.keys()
        for name, value in one.items():
            same = torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
            assert same, f"{name} of sample {seed} differs"


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "none"])
@pytest.mark.parametrize(("folder", "mode"), [
    ("two", "unaligned --augment"), ("two", "aligned --augment --direction BtoA"), ("pairs", "aligned --output_nc 1"),
    ("two/trainA", "single --input_nc 1"),
])
def test_samples_from_the_cache_are_those_from_the_files(root, folder, mode, preprocess):
    arguments = f"{SMALL} --preprocess {preprocess} --dataset_mode {mode}"
    data = cached(root / folder, arguments)
    assert data.cache is not None
    assert_same_samples(data, dataset(root / folder, arguments))


def test_no_file_is_read_any_more(root):
    data = cached(root / "two", SMALL)
    for path in (root / "two").rglob("*.png"):
        path.unlink()
    assert data[SampleKey(0, 0)]["A"].shape == (3, 16, 16)


def test_8_bit_images_take_a_byte_a_value_and_16_bit_images_four(root):
    data = cached(root / "two", SMALL)
    assert data.cache.buffer.is_shared()
    assert data.cache.buffer.numel() == (7 + 4) * 3 * 20 * 20


def test_progress_is_told_image_by_image(root):
    progress = Counter()
    keep_in_memory(dataset(root / "two", SMALL), progress)
    assert progress.seen == 8
    assert len(progress.lines) == 5
    assert progress.lines[-1] == 8
    assert progress.said == ["--cache ram: images that are read into memory, once: 8"]
    assert progress.closed


@pytest.mark.parametrize("content", [b"I am text.", None], ids=["text", "truncated"])
def test_unreadable_file_is_named_as_without_the_cache(root, content):
    bad = root / "two/trainB/1.png"
    bad.write_bytes(content or bad.read_bytes()[:-400])
    data = dataset(root / "two", f"{SMALL} --max_bad_images 0")
    with pytest.raises(UserError, match=r"trainB/1\.png cannot be read as an image \([^\n]*\); repair or remove it"):
        keep_in_memory(data, Sink())
    assert data.cache is None


def test_file_that_is_not_what_its_header_says_is_named(root, monkeypatch):
    data = dataset(root / "two", SMALL)
    monkeypatch.setattr(data, "outline", lambda item: [torch.empty(3, 20, 19, dtype=torch.uint8, device="meta")])
    with pytest.raises(UserError, match=r"--cache ram: \S*trainA/0\.png is not what its header says"):
        keep_in_memory(data, Sink())


@pytest.mark.parametrize(("where", "advice"), [("memory", ""), ("/dev/shm", r"; enlarge /dev/shm \(docker")])
def test_too_little_room_is_refused_before_anything_is_decoded(root, monkeypatch, where, advice):
    monkeypatch.setattr("data.cache.room", lambda: {"memory": 10**9, "/dev/shm": 10**9, where: 5000})
    data = dataset(root / "two", SMALL)
    monkeypatch.setattr(data, "load", None)
    text = f"--cache ram: the images need 1.32e-05 GB, but {where} has room for 5e-06 GB{advice}"
    with pytest.raises(UserError, match=text):
        keep_in_memory(data, Sink())


def test_every_process_of_a_job_on_this_machine_needs_its_room(root, monkeypatch):
    monkeypatch.setattr("data.cache.room", lambda: {"memory": 20000})
    cached(root / "two", SMALL)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"1\.32e-05 GB for each of 2 processes, but memory has room for 2e-05 GB"):
        cached(root / "two", SMALL)


def test_room_is_the_least_that_machine_and_control_groups_leave(tmp_path):
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert room(tmp_path)["memory"] == 8000 * 1024
    write("proc/self/cgroup", "0::/job/step\n")
    write("sys/fs/cgroup/job/step/memory.max", "max\n")
    write("sys/fs/cgroup/job/memory.max", "500\n")
    write("sys/fs/cgroup/job/memory.current", "300\n")
    write("sys/fs/cgroup/job/memory.stat", "active_file 7\ninactive_file 50\n")
    assert room(tmp_path)["memory"] == 250


def test_this_machine_has_room():
    assert all(free > 10**6 for free in room().values())


def darken(data) -> None:
    """In another process: black out the first image."""
    data.cache[0][0].zero_()


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_share_the_images_without_copies(root, method):
    data = cached(root / "two", SMALL)
    assert data.cache[0][0].any()
    process = torch.multiprocessing.get_context(method).Process(target=darken, args=(data,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert not data.cache[0][0].any()
    assert data.cache[1][0].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_the_cache_are_those_from_the_files(root, workers):
    plain, kept = (
        Loader(data, batch_size=3, num_workers=workers, seed=1, shuffle=True)
        for data in (dataset(root / "two", f"{SMALL} --augment"), cached(root / "two", f"{SMALL} --augment")))
    for epoch in range(2):
        for one, two in zip(plain.epoch(epoch), kept.epoch(epoch), strict=True):
            assert one["A_paths"] == two["A_paths"]
            assert all(torch.equal(one[name], two[name]) for name in ("A", "B", "A_aug", "B_aug"))


def test_batches_are_copies_so_that_nobody_can_change_the_cache(root):
    data = cached(root / "two", SMALL)
    before = data.cache.buffer.clone()
    for batch in Loader(data, batch_size=1, num_workers=0, seed=1, shuffle=True, finished=False).epoch(0):
        batch["A"].zero_()
        batch["B"].zero_()
    assert torch.equal(data.cache.buffer, before)
