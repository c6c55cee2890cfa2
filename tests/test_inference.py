"""Trained generators from Python: the pixels of test.py, for every kind of image and checkpoint."""

from __future__ import annotations

import re
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import ROOT
from PIL import Image
from tiny import METHODS, save_folders, save_noise, train_options, translate_options

from inference import Translator, load
from test import translate
from train import train
from util.errors import UserError
from util.images import load_normalized


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of several methods, and images of two sizes in ``images``."""
    root = save_folders(tmp_path_factory.mktemp("trained"))
    for method in ("FSeSim", "CycleGAN", "MUNIT"):
        name = method.lower()
        train(train_options(root, f"--name {name} {METHODS[method]} --ema 0.5 --max_iters 2 --seed 1 --no_html"))
    for index, size in enumerate([(24, 20), (24, 20), (31, 22)]):
        save_noise(root / "images" / f"{index}.png", index, size)
    return root


@pytest.mark.parametrize(("name", "keywords", "flags", "label"), [
    ("fsesim", {}, "", "fake_B"), ("fsesim", {"ema": True}, "--use_ema", "fake_B"),
    ("cyclegan", {}, "--model_suffix _A", "fake_B"),
    ("cyclegan", {"model_suffix": "_B"}, "--model_suffix _B", "fake_B"),
    ("munit", {}, "--model munit_sc --dataset_mode single --n_styles 3", "fake_B_3"),
])
def test_a_list_of_files_gives_the_pixels_of_test_py(
    root: Path, tmp_path: Path, name: str, keywords: dict[str, object], flags: str, label: str,
) -> None:
    batches = f"--batch_size 2 --results_dir {tmp_path}"
    translate(translate_options(root / "images", root, f"--name {name} {batches} {flags}"))
    files = sorted((root / "images").iterdir())
    pictures = load(root / "checkpoints" / name, device="-1", batch_size=2, **keywords)(  # type: ignore[arg-type]
        files, style=int(label[7:] or 1))
    assert [picture.size for picture in pictures] == [(24, 20), (24, 20), (31, 22)]
    for file, picture in zip(files, pictures, strict=True):
        expected, = tmp_path.glob(f"{name}/*/images/{label}/{file.stem}.png")
        assert np.array_equal(picture, Image.open(expected)), file.name


def test_each_kind_of_image_comes_back_as_its_kind(root: Path) -> None:
    translator, file = load(root / "checkpoints" / "fsesim", device="-1"), root / "images" / "2.png"
    picture = translator(file)
    assert isinstance(picture, Image.Image)
    array, tensor = np.asarray(Image.open(file)), load_normalized(file, 3)
    assert np.array_equal(translator(Image.open(file)), picture)
    assert np.array_equal(translator(array), picture)
    assert translator(tensor.double()).dtype == torch.float64
    assert translator(tensor[None]).shape == (1, *tensor.shape)
    assert np.array_equal(((translator(tensor) + 1) * 127.5).round().byte().permute(1, 2, 0), picture)
    assert [type(image) for image in translator([file, array, tensor])] == [Image.Image, np.ndarray, torch.Tensor]
    assert translator(array[:, :, 0]).shape == array.shape, "grey is repeated"


@pytest.mark.parametrize(("dtype", "given", "kept"), [
    ("int16", (-1024, 3071), "int16"), ("uint8", (0, 255), "float32"), ("float32", (-1024, 3071), "float32"),
])
def test_arrays_come_back_in_the_units_of_the_target_domain(
    tmp_path: Path, dtype: str, given: tuple[int, int], kept: str
) -> None:
    low, high = given
    translator = untrained(tmp_path, f"--input_nc 5 --output_nc 2 --range_A {low},{high} --range_B 0,4095")
    values = np.random.default_rng(0).integers(low, high + 1, (12, 16, 5)).astype(dtype)
    found = translator(values)
    assert (found.dtype, found.shape) == (kept, (12, 16, 2))
    unit = torch.from_numpy((values.astype(np.float32) - low) / (high - low) * 2 - 1).permute(2, 0, 1)
    expected = (translator(unit).permute(1, 2, 0).numpy() + 1) / 2 * 4095
    assert np.abs(found - expected).max() <= 0.51
    np.save(tmp_path / "a.npy", values)
    assert translator(tmp_path / "a.npy").mode == "L", "a picture of the first of two channels"


def test_arrays_without_ranges_have_the_full_range_of_their_type(tmp_path: Path) -> None:
    translator = untrained(tmp_path, "--input_nc 5 --output_nc 5 --rgb_bands 5,3,1")
    levels = np.random.default_rng(0).integers(0, 256, (12, 16, 5), dtype=np.uint8)
    values = levels.astype(np.uint16) * 257
    found, small = translator(values), translator(levels)
    assert (found.dtype, small.dtype) == (np.uint16, np.uint8)
    assert np.abs(found / 257 - small).max() <= 0.51
    np.save(tmp_path / "a.npy", values)
    picture = np.asarray(translator(tmp_path / "a.npy"))
    assert np.abs(picture - found[..., [4, 2, 0]] / 257).max() <= 0.51


def untrained(root: Path, flags: str) -> Translator:
    """Return a generator with random weights."""
    options = translate_options(root, root, f"--netG resnet_6blocks --ngf 2 {flags}")
    torch.manual_seed(0)
    translator = Translator(options, torch.device("cpu"))
    for weights in translator.model.networks["G"].parameters():
        weights.data.normal_(0, 0.3)
    return translator


def test_a_file_of_any_name_is_a_generator_and_its_architecture_is_read_from_it(root: Path, tmp_path: Path) -> None:
    experiment, file = root / "checkpoints" / "fsesim", root / "images" / "0.png"
    shutil.copy(experiment / "latest_net_G.pth", tmp_path / "horse2zebra.pth")
    expected = load(experiment, device="-1")(file)
    for path in (tmp_path / "horse2zebra.pth", experiment / "latest_net_G.pth"):
        assert np.array_equal(load(path, device="-1")(file), expected)


def test_threads_share_a_translator_that_works_in_tiles(root: Path) -> None:
    translator, images = load(root / "checkpoints" / "fsesim", device="-1", tile=16), 2 * torch.rand(6, 3, 24, 20) - 1
    expected = [translator(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        for output, wanted in zip(pool.map(translator, images), expected, strict=True):
            assert torch.equal(output, wanted)


def test_what_cannot_be_translated_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    translator = load(root / "checkpoints" / "fsesim", device="-1")
    for image, error, words in (
        (np.zeros((8, 8, 3)), ValueError, "float64"), (np.zeros((8, 8, 5), np.uint8), ValueError, "have 3 channels"),
        (np.zeros((8, 8, 3), np.int16), ValueError, r"without a range \(--range_A\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, "with pixels"), (torch.zeros(0, 3, 8, 8), ValueError, "not empty"),
        (torch.zeros(1, 8, 8), ValueError, r"\[3, H, W\]"),
        (torch.full((3, 8, 8), torch.nan), ValueError, r"values from nan to nan: they should be in \[-1, 1\]"),
        (torch.linspace(0, 255, 192).view(3, 8, 8), ValueError, "values from 0 to 255: .* image / 127.5 - 1"),
        (7, TypeError, "int is no image"), (tmp_path / "none.png", UserError, "no such file"),
    ):
        with pytest.raises(error, match=words):
            translator(image)
    assert translator(torch.full((3, 8, 8), 1.05)).shape == (3, 8, 8), "resampling overshoots a little"
    with pytest.warns(UserWarning, match=r"without negative values: .* an image of 0 to 1 is 2 \* image - 1"):
        translator(torch.linspace(0, 1, 192).view(3, 8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        translator(torch.linspace(0.1, 1, 192).view(3, 8, 8))  # a bright image
    with pytest.raises(ValueError, match=r"model_suffix _A: .*munit has one generator, with several styles"):
        load(root / "checkpoints" / "munit", model_suffix="_A", device="-1")
    with pytest.raises(ValueError, match="styles 1 to 1"):
        translator(torch.zeros(3, 8, 8), style=2)
    with pytest.raises(UserError, match=r"there is no .*missing"):
        load(tmp_path / "missing")
    with pytest.raises(UserError, match="there is no checkpoint"):
        load(root / "checkpoints" / "fsesim", epoch="77", device="-1")
    with pytest.raises(ValueError, match="is a file"):
        load(root / "checkpoints" / "fsesim" / "latest_net_G.pth", ema=True, device="-1")
    (tmp_path / "horse2zebra.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'horse2zebra.pth'} cannot be read")):
        load(tmp_path / "horse2zebra.pth", device="-1")


@pytest.mark.parametrize("path", [".", "../fsesim", "../fsesim/..//fsesim/latest_net_G.pth", "latest_net_G.pth"])
def test_paths_are_relative_to_the_working_folder(root: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(root / "checkpoints" / "fsesim")
    assert load(path, device="-1").styles == 1


def test_a_style_costs_one_pass_of_the_generator(root: Path) -> None:
    translator, passes = load(root / "checkpoints" / "munit", device="-1"), 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    translator.networks["G"].register_forward_hook(count)
    translator(root / "images" / "0.png", style=3)
    assert passes == 1


def test_the_lines_of_the_page_run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "from_python.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "checkpoints" / "fsesim", tmp_path / "checkpoints" / "mine")
    shutil.copy(root / "checkpoints" / "fsesim" / "latest_net_G.pth", tmp_path / "horse2zebra.pth")
    save_noise(tmp_path / "photo.jpg", 0)
    translating, rest = page.split("## Train\n")  # `rest`: tests/test_from_python.py
    assert "```" not in rest.split("## The loss")[1]
    for lines in re.findall(r"```python\n(.*?)```", translating, re.DOTALL):
        exec(lines, {"load": load, "REPOSITORY": str(ROOT)})
    with Image.open("painting.png") as painting:
        assert painting.size == (24, 20)
