"""Batches: order, resuming, workers, and errors that cross process borders."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import ROOT, make_images, run_process
from PIL import Image
from tiny import NoModel

from data import DATASETS, Loader, SampleKey
from data.sampler import mix
from options import TRAIN, DataFlags, parse
from util.errors import UserError

COUNT = 7


class Keys:
    """A data set whose samples are their own keys."""

    unreadable = types.MappingProxyType({})

    def __len__(self):
        return COUNT

    def __getitem__(self, key):
        return {"A": torch.tensor([key.index, key.seed]), "A_paths": str(key.index)}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Unaligned folders whose images are 200 pixels large: some operations on these use several threads."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for domain, i in itertools.product("AB", range(COUNT)):
        (folder / f"train{domain}").mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (200, 230, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"train{domain}/{i}.png", compress_level=0)
    Image.fromarray(random.integers(0, 65536, (200, 230), dtype=np.uint16)).save(folder / "trainA/0.png")
    return folder


def loader(root: Path, *arguments: str, workers: int = 0, batch_size: int = 2, seed: int = 3, **others) -> Loader:
    options = parse(TRAIN, {"sc": NoModel}, DATASETS, ["--dataroot", str(root), *arguments])
    dataset = DATASETS[options[DataFlags].dataset_mode](options, training=True)
    return Loader(dataset, batch_size=batch_size, num_workers=workers, seed=seed, shuffle=True, **others)


def keys(seed: int = 0, epoch: int = 0, skip: int = 0, *, shuffle: bool = True, batch_size: int = 3) -> list[SampleKey]:
    batches = Loader(Keys(), batch_size=batch_size, num_workers=0, seed=seed, shuffle=shuffle).epoch(epoch, skip)
    return [SampleKey(*row) for batch in batches for row in batch["A"].tolist()]


def assert_same(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name]


def test_every_epoch_shows_every_image_once_in_a_new_order():
    epochs = [[key.index for key in keys(epoch=epoch)] for epoch in range(4)]
    assert all(sorted(order) == list(range(COUNT)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 4
    assert epochs[1] == [key.index for key in keys(epoch=1)]


def test_unshuffled_order_is_the_data_sets_own_with_new_random_choices():
    first, second = keys(shuffle=False), keys(epoch=1, shuffle=False)
    assert [key.index for key in first] == [key.index for key in second] == list(range(COUNT))
    assert len({key.seed for key in first + second}) == 2 * COUNT


def test_seeds_are_the_same_on_every_platform():
    assert [mix(0, 1, 2, 3), mix(2**40, 0, 0), mix(5, 1, 0, 0)] == [51760083, 929640194, 3060604704]


def test_keys_do_not_depend_on_the_batch_size():
    assert keys(batch_size=1) == keys(batch_size=3) == keys(batch_size=100)


@pytest.mark.parametrize("skip", [0, 1, COUNT])
def test_skipping_gives_the_tail_of_the_epoch(skip):
    assert keys(epoch=2, skip=skip) == keys(epoch=2)[skip:]


def test_last_batch_is_kept_though_smaller():
    loader = Loader(Keys(), batch_size=3, num_workers=0, seed=0, shuffle=True)
    batches = list(loader.epoch(0))
    assert len(loader) == COUNT
    assert [len(batch["A"]) for batch in batches] == [3, 3, 1]
    assert [len(batch["A_paths"]) for batch in batches] == [3, 3, 1]


@pytest.mark.parametrize(("epoch", "skip"), [(-1, 0), (0, -1), (0, COUNT + 1)])
def test_positions_outside_the_run_are_refused(epoch, skip):
    with pytest.raises(ValueError, match="there is no epoch"):
        next(Loader(Keys(), batch_size=3, num_workers=0, seed=0, shuffle=True).epoch(epoch, skip))


def test_batches_are_bit_identical_for_every_number_of_workers_over_epochs_and_resumes(root):
    arguments = ("--augment", "--load_size", "210", "--crop_size", "200")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)  # a worker has one
        alone = loader(root, *arguments)
        together = loader(root, *arguments, workers=2)
        for epoch in range(2):
            whole = list(alone.epoch(epoch))
            assert whole[0]["A"].shape == whole[0]["B_aug"].shape == (2, 3, 200, 200)
            assert_same(whole, together.epoch(epoch))
        next(together.epoch(0))  # left early
        assert_same(whole[2:], together.epoch(1, skip=4))
        assert_same(whole[2:], loader(root, *arguments).epoch(1, skip=4))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("skip", [0, 2])
def test_processes_see_together_what_one_process_sees(world_size, skip):
    epoch = keys(epoch=1)
    loaders = [Loader(Keys(), batch_size=2, num_workers=0, seed=0, shuffle=True, rank=rank, world_size=world_size)
               for rank in range(world_size)]
    seen = skip
    for parts in zip(*(batches.epoch(1, skip) for batches in loaders), strict=True):
        together = [SampleKey(*row) for part in parts for row in part["A"].tolist()]
        images = loaders[0].images_after(seen)
        added = len(together) - images
        assert together == epoch[seen:seen + images] + epoch[:added], "what is added is the epoch's beginning"
        assert 0 <= added < world_size
        seen += images
    assert seen == COUNT


def test_no_process_is_left_without_images_where_there_are_fewer_than_processes():
    parts = [next(Loader(Keys(), batch_size=4, num_workers=0, seed=0, shuffle=False, rank=rank, world_size=9).epoch(0))
             for rank in range(9)]
    assert [part["A_paths"] for part in parts] == [[str(rank % COUNT)] for rank in range(9)]


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_is_not_touched(root, workers):
    state = torch.get_rng_state()
    for _ in loader(root, "--augment", "--load_size", "20", "--crop_size", "16", workers=workers).epoch(0):
        pass
    assert torch.equal(torch.get_rng_state(), state)


def sentence(batches: Loader) -> str:
    """Return the error message, without a reference to the exception, which would keep the workers."""
    try:
        list(batches.epoch(0))
    except UserError as error:
        return str(error)
    return ""


def test_workers_end_with_their_loader_after_an_error(tmp_path):
    before = set(multiprocessing.active_children())
    make_images(tmp_path, "trainA", "trainB", size=40)
    (tmp_path / "trainB/1.png").write_text("I am no image.")
    batches = loader(tmp_path, "--serial_batches", "--max_bad_images", "0", workers=2, batch_size=1)
    gc.disable()  # a reference cycle would keep them
    try:
        assert sentence(batches)
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 2
        del batches
        assert [worker.exitcode for worker in workers] == [0, 0]
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_loader_that_is_held_until_the_end_does_not_keep_the_process(tmp_path):
    """As an exception's traceback, or a cycle that nobody has collected, holds one."""
    (tmp_path / "hold.py").write_text(f"""
import gc, sys
sys.path.insert(0, {str(ROOT)!r})
from data import Loader

class Numbers:
    unreadable = {{}}

    def __len__(self):
        return 4

    def __getitem__(self, key):
        return {{"A": key.index}}

gc.disable()
loader = Loader(Numbers(), batch_size=1, num_workers=1, seed=0, shuffle=False, finished=False)
held = loader.epoch(0)
print(sorted(next(held)))
""")
    outcome = run_process(tmp_path / "hold.py")  # which gives up after two minutes
    assert (outcome.code, outcome.err) == (0, "")
