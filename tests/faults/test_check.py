"""``python -m data.check`` finds problems of data sets."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli import ROOT, Outcome, run
from PIL import Image
from tiny import save_noise


def look(*arguments: object) -> Outcome:
    return run("data.check", *arguments)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Warm images in A and cold ones in B, for training and testing."""
    random = np.random.default_rng(0)
    for phase in ("train", "test"):
        for domain, colour in (("A", (255, 128, 0)), ("B", (0, 64, 255))):
            for index in range(12):
                path = tmp_path / f"{phase}{domain}/{index}.png"
                path.parent.mkdir(exist_ok=True)
                pixels = random.integers(0, 2, (20, 24, 1)) * np.array(colour)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


def test_a_good_data_set_is_described(root: Path) -> None:
    save_noise(root / "trainA/large.png", 1, size=(100, 80), mode="L")
    outcome = look(root)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert "trainA: 13 images" in lines
    assert "  2 sizes, width 24 to 100, height 20 to 80; most often 24x20 (12)" in lines
    assert "  RGB: 12, L: 1" in lines
    assert lines[-1] == "no problems found"
    assert "copies" not in outcome.out


def test_images_too_small_for_networks_are_a_note(tmp_path: Path) -> None:
    save_noise(tmp_path / "trainA/photograph.png", 1, size=(40, 32))
    save_noise(tmp_path / "trainA/thumbnail.png", 2, size=(200, 5))
    outcome = look(tmp_path)
    assert outcome.code == 0
    assert "note: images in trainA with a side below 32 pixels, too small for --preprocess none (1): thumbnail.png" in (
        outcome.out.splitlines())


@pytest.mark.slow
def test_the_bundled_data_set_has_no_problems() -> None:
    assert look(ROOT / "datasets/lineart2color").code == 0


def test_values_that_need_or_hardly_use_a_range_are_named_with_the_flag_to_type(tmp_path: Path) -> None:
    for domain, low, high, dtype in (("A", -1024, 3000, np.int16), ("B", 0, 4000, np.uint16)):
        (tmp_path / f"train{domain}").mkdir()
        np.save(tmp_path / f"train{domain}/x.npy", np.linspace(low, high, 2500).reshape(50, 50).astype(dtype))
    (tmp_path / "trainB/x.dcm").touch()
    outcome = look(tmp_path)
    assert outcome.code == 2
    assert "  int16 array: 1\n  values from -1024 to 3000\n" in outcome.out
    assert "  left out: 1 file of kinds that are not read (.dcm: 1)\n" in outcome.out
    assert "problem: the values of 1 image of trainA go from -1024 to 3000, and signed integers" in outcome.out
    assert "looks nearly flat; type --range_B 0,4095\n" in outcome.out
    outcome = look(tmp_path, "--range_A=-1024,2000", "--range_B=0,4095")
    assert (outcome.code, outcome.err) == (0, "")
    assert "24.8 % of them lie outside --range_A -1024,2000 and are clipped" in outcome.out
    assert "flat" not in outcome.out


def test_pages_that_are_not_read_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((5, 40, 40), np.uint8), photometric="minisblack")
    assert "have several pages (s.tif: 5), of which the first is read; --pages all" in look(tmp_path).out
    outcome = look(tmp_path, "--pages", "all").out
    assert f"{tmp_path.name}: 5 images" in outcome
    assert "copies" not in outcome


def test_unreadable_files_are_named(root: Path) -> None:
    (root / "trainB/3.png").write_text("no image")
    (root / "testA/4.png").write_bytes((root / "testA/4.png").read_bytes()[:60])
    outcome = look(root)
    assert outcome.code == 2
    assert "trainB: 11 images, 1 unreadable" in outcome.out
    assert f"problem: unreadable files in trainB (1): {root / 'trainB/3.png'} cannot be read as an image" in outcome.out
    assert f"problem: unreadable files in testA (1): {root / 'testA/4.png'}" in outcome.out
    assert outcome.err == (f"data.check: error: {root}: fix the problems listed above first\n")


@pytest.mark.parametrize(("count", "code"), [(1, 0), (2, 2), (12, 2)])
def test_domains_that_share_many_images_are_a_problem(
    root: Path, count: int, code: int
) -> None:
    for index in range(count):
        shutil.copy(root / f"trainA/{index}.png", root / f"trainB/{index}.png")
    outcome = look(root)
    assert outcome.code == code
    assert f"{'problem' if code else 'note'}: in trainA and trainB alike ({count}): trainA/0.png = trainB/0.png" in (
        outcome.out)


def test_swapped_test_folders_are_a_problem(root: Path) -> None:
    (root / "testA").rename(root / "other")
    (root / "testB").rename(root / "testA")
    (root / "other").rename(root / "testB")
    outcome = look(root)
    assert outcome.code == 2
    assert "problem: testA looks like trainB and testB like trainA: one of the two seems to be swapped" in outcome.out


def test_pairs_without_partner_are_a_problem_of_aligned_sets(root: Path) -> None:
    (root / "trainB/5.png").unlink()
    assert look(root).code == 0
    outcome = look(root, "--dataset_mode", "aligned")
    assert outcome.code == 2
    assert "1 image without a partner of the same name" in outcome.out
    assert "trainA/5.png" in outcome.out


def test_pairs_of_two_sizes_are_a_problem_of_aligned_sets(root: Path) -> None:
    save_noise(root / "trainB/5.png", 1, size=(24, 22))
    assert look(root).code == 0
    outcome = look(root, "--dataset_mode", "aligned")
    assert outcome.code == 2
    assert "problem: pairs in trainA and trainB that differ in size (1): 5.png" in outcome.out


@pytest.mark.parametrize(("width", "code"), [(24, 0), (25, 2)])
def test_pairs_side_by_side_have_an_even_width(
    tmp_path: Path, width: int, code: int
) -> None:
    path = save_noise(tmp_path / "train/1.png", 1, size=(width, 12))
    outcome = look(tmp_path, "--dataset_mode", "aligned")
    assert outcome.code == code
    fault = f"problem: images in train of odd width, which cannot be halved (1): {path}"
    assert (fault in outcome.out) == bool(code)


def test_a_plain_folder_and_any_number_of_threads(root: Path) -> None:
    outcomes = [look(root / "trainA", "--threads", threads) for threads in (1, 3)]
    assert outcomes[0].code == 0
    assert "trainA: 12 images" in outcomes[0].out
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("arguments", [
    ["nowhere"], [], ["."], ["datasets", "--threads", "0"], ["datasets", "--threads", "x"]])
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    outcome = look(*arguments)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("data.check: error: ")
