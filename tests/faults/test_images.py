"""Image files that cannot be read, or whose headers ask for too much memory."""

from __future__ import annotations

import shlex
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import NoModel, save_noise, train_options

from data import DATASETS, Loader, keep_in_memory
from options import TRAIN, DataFlags, parse
from train import train
from util.errors import UserError
from util.images import image_size, load_image
from util.loggers import Sink

COUNTS = (5, 7)
BAD = ("trainA/1.png", "trainB/0.png", "trainB/1.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains, of which three images are a text, cut off, and empty."""
    for domain, count in zip("AB", COUNTS, strict=True):
        for index in range(count):
            save_noise(tmp_path / f"train{domain}/{index}.png", seed=10 * index + (domain == "B"), size=(40, 40))
    (tmp_path / BAD[0]).write_text("I am no image.")
    (tmp_path / BAD[1]).write_bytes((tmp_path / BAD[1]).read_bytes()[:-600])
    (tmp_path / BAD[2]).write_bytes(b"")
    return tmp_path


def loader(
    root: Path, flags: str = "", *, workers: int = 0, warn: Callable[[str], None] = lambda text: None
) -> Loader:
    options = parse(TRAIN, {"sc": NoModel}, DATASETS, [
        "--dataroot", str(root), *shlex.split(f"--load_size 20 --crop_size 16 {flags}")])
    dataset = DATASETS[options[DataFlags].dataset_mode](options, training=True)
    if "--cache ram" in flags:
        keep_in_memory(dataset, Sink())
    batches = Loader(dataset, batch_size=2, num_workers=workers, seed=3, shuffle=True)
    batches.warn = warn
    return batches


def epochs(batches: Loader, *, first: int = 0, skip: int = 0) -> list[dict[str, Any]]:
    return [batch for epoch in range(first, 3) for batch in batches.epoch(epoch, skip if epoch == first else 0)]


def assert_same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name], name


# --- replaced images


@pytest.mark.parametrize(("workers", "flags"), [(0, "--cache ram"), (1, "--augment"), (2, ""), (2, "--cache ram")])
def test_replaced_images_are_the_same_for_all_workers_caches_and_resumes(root: Path, workers: int, flags: str) -> None:
    whole = epochs(loader(root, flags.replace("--cache ram", "")))
    assert_same(whole, epochs(loader(root, flags, workers=workers)))
    assert_same(whole[6:], epochs(loader(root, flags, workers=workers), first=1, skip=4))


@pytest.mark.parametrize(("workers", "cache"), [(0, "none"), (2, "none"), (2, "ram")])
def test_unreadable_images_are_named_once_and_counted(root: Path, workers: int, cache: str) -> None:
    warnings: list[str] = []
    epochs(loader(root, f"--max_bad_images 3 --cache {cache}", workers=workers, warn=warnings.append))
    assert len(warnings) == 3
    for bad in BAD:
        (text,) = (text for text in warnings if text.startswith(str(root / bad)))
        assert "cannot be read as an image" in text
        assert text.endswith("the next readable image of its folder replaces it")
    with pytest.raises(UserError, match=r"3 images cannot be read, .* more than --max_bad_images 2; .*data\.check"):
        epochs(loader(root, f"--max_bad_images 2 --cache {cache}", workers=workers))
    with pytest.raises(UserError, match=r"cannot be read as an image .* repair or remove it$"):
        epochs(loader(root, f"--max_bad_images 0 --cache {cache}", workers=workers))


def test_unreadable_images_are_replaced_by_the_next_readable_ones(root: Path) -> None:
    shown = [path for batch in epochs(loader(root)) for name in "AB" for path in batch[f"{name}_paths"]]
    assert not {str(root / bad) for bad in BAD} & set(shown)
    assert shown.count(str(root / "trainA/2.png")) > shown.count(str(root / "trainA/3.png")), "it stands in for 1"
    assert {Path(path).parent.name for path in shown} == {"trainA", "trainB"}


def test_a_domain_without_a_readable_image_ends_the_training(root: Path) -> None:
    for path in (root / "trainA").iterdir():
        path.write_text("no image")
    with pytest.raises(UserError, match=r"5 images in \S*trainA, none of which can be read: \S*/\d.png cannot be"):
        epochs(loader(root))


def test_an_unreadable_half_takes_its_whole_pair_along(root: Path) -> None:
    for index in (5, 6):
        (root / f"trainB/{index}.png").unlink()
    shown = epochs(loader(root, "--dataset_mode aligned"))
    for batch in shown:
        for first, second in zip(batch["A_paths"], batch["B_paths"], strict=True):
            assert Path(first).name == Path(second).name
            assert Path(first).stem in ("2", "3", "4")


def test_an_image_that_disappears_during_training_is_replaced(root: Path) -> None:
    warnings: list[str] = []
    batches = loader(root, warn=warnings.append)
    list(batches.epoch(0))
    (root / "trainA/4.png").unlink()
    list(batches.epoch(1))
    assert "trainA/4.png: there is no such file any more" in warnings[-1]


def test_training_names_unreadable_images(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(train_options(root, "--name run --seed 1 --no_html --max_iters 21"))
    assert capsys.readouterr().out.count("warning: ") == 3


# --- headers that ask for too much, and decoders that nobody asked for


def huge_png(width: int, height: int) -> bytes:
    """Return a PNG of some hundred bytes whose header asks for ``width * height`` pixels."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(99)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts.items())


@pytest.mark.parametrize("read", [load_image, image_size])
@pytest.mark.parametrize("size", [(20_000, 20_000), (2_000_000_000, 2), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, read: Callable[..., object], size: tuple[int, int]
) -> None:
    (tmp_path / "bomb.png").write_bytes(huge_png(*size))
    with pytest.raises(UserError, match=r"bomb\.png (has \d+x\d+ pixels, and more than|cannot be read)"):
        read(tmp_path / "bomb.png", *([3] if read is load_image else []))


def test_the_limit_of_pixels_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_noise(tmp_path / "a.png", 0, size=(10, 10))
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "99")
    with pytest.raises(UserError, match=r"10x10 pixels, and more than 99 .* set MAX_IMAGE_PIXELS in the environment"):
        load_image(path, 3)
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "100")
    assert load_image(path, 3).shape == (3, 10, 10)
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "many")
    with pytest.raises(UserError, match="MAX_IMAGE_PIXELS many, which is no number"):
        load_image(path, 3)


def test_large_photographs_are_no_bombs(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.new("1", (13_000, 13_000)).save(tmp_path / "large.png")
    assert image_size(tmp_path / "large.png") == (13_000, 13_000)
    assert not recwarn.list


@pytest.mark.parametrize("name", ["EPS", "PDF"])
def test_a_file_of_another_format_is_not_decoded_whatever_its_name_says(tmp_path: Path, name: str) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        Image.new("RGB", (9, 9)).save(file, format=name)
    with pytest.raises(UserError, match=r"a\.png cannot be read as an image"):
        load_image(tmp_path / "a.png", 3)
