"""test.py: images of any size, name and number, translated under their own names and shown on a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile
import torch
from cli import locked_elsewhere
from PIL import Image
from tiny import METHODS, NETWORKS, save_folders, save_noise, train_options, translate_options
from torch import Tensor, nn

import test as program
from evaluation import structure_measures
from evaluation.set_translator import Names
from metrics.paired import colour_error, ssim
from models import base as base_module
from models import building as building_module
from models import sc as sc_module
from models import structure as structure_module
from models import test as test_module
from test import translate
from train import train
from util.errors import UserError
from util.state_dicts import load_file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trained experiments, which tests only read."""
    root = save_folders(tmp_path_factory.mktemp("trained"))
    for name, flags in {
        "run": "--init_gain 0.5", "unet": "--netG unet_128 --norm batch --ngf 4 --no_antialias",
        "grey": "--input_nc 1 --output_nc 3 --init_gain 0.5", "greyer": "--input_nc 3 --output_nc 1",
        "back": "--direction BtoA", "lsesim": "--learned_attn --augment --no_dropout false --no_antialias_up",
    }.items():
        train(train_options(root, f"--name {name} --max_iters 1 --seed 1 --no_html {flags}"))
    return root


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    (tmp_path / "checkpoints").symlink_to(trained / "checkpoints")
    return tmp_path


def outputs(root: Path, images: Path, flags: str = "", name: str = "run") -> dict[str, Path]:
    """Translate ``images``; returns the written pictures by label and name."""
    translate(translate_options(images, root, f"--name {name} {flags}"))
    folder = root / "results" / name / "test_latest"
    return {path.relative_to(folder / "images").as_posix(): path for path in (folder / "images").rglob("*.*")}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


class Images(HTMLParser):
    """Collects the files to which the pictures of a page lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[Path] = []
        self.folder = page.parent
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href") or ""
        if tag == "a" and address.startswith("images/"):
            self.found.append(self.folder / unquote(address))


def by_hand(trained: Path, image: Path) -> np.ndarray:
    """Return the generator of ``run`` applied to a file whose sides are multiples of 4."""
    generator = building_module.build_generator(train_options(trained, "--init_gain 0.5"))
    generator.load_state_dict(load_file(trained / "checkpoints" / "run" / "latest_net_G.pth"))
    tensor = torch.from_numpy(pixels(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        return ((generator(tensor)[0] + 1) * 127.5).permute(1, 2, 0).numpy()


def test_outputs_are_what_the_generator_makes_of_the_inputs(root: Path, trained: Path) -> None:
    for index in range(3):
        save_noise(root / "in" / f"{index}.png", index)
    found = outputs(root, root / "in")
    assert sorted(found) == sorted(f"{label}/{i}.png" for label in ("real_A", "fake_B") for i in range(3))
    for index in range(3):
        image = root / "in" / f"{index}.png"
        assert np.array_equal(pixels(found[f"real_A/{index}.png"]), pixels(image))
        output = pixels(found[f"fake_B/{index}.png"])
        assert np.abs(output - by_hand(trained, image)).max() <= 1
        assert output.std() > 1


def test_a_test_set_is_translated_from_its_own_domain(root: Path) -> None:
    save_folders(root / "set", "test", (2, 3))
    found = outputs(root, root / "set", "--model sc --truth none")
    assert np.array_equal(pixels(found["real_A/0.png"]), pixels(root / "set" / "testA" / "0.png"))
    assert len(found) == 4
    found = outputs(root, root / "set", "--model sc --truth none", "back")  # trained with --direction BtoA
    assert np.array_equal(pixels(found["real_A/0.png"]), pixels(root / "set" / "testB" / "0.png"))
    assert len(found) == 6


@pytest.mark.parametrize("flags", ["", "--tile 128 --tile_overlap 0 --tile_statistics tile", "--eval"])
def test_with_batch_normalisation_no_translation_depends_on_its_neighbours(
    root: Path, capsys: pytest.CaptureFixture[str], flags: str
) -> None:
    for index in range(2):
        save_noise(root / "in" / f"{index}.png", index, (192, 128) if "tile" in flags else (32, 32))
    found = (outputs(root, root / "in", f"{flags} {size}", "unet") for size in ("", "--batch_size 4"))
    alone, together = ({key: pixels(path) for key, path in files.items()} for files in found)
    assert all(np.abs(alone[key] - together[key]).max() <= 1 for key in alone)
    assert ("--batch_size 4: images go one by one" in capsys.readouterr().err) is ("--eval" not in flags)


@pytest.mark.parametrize(("method", "flags"), [
    *((method, METHODS[method]) for method in ("FSeSim", "single-image FSeSim", "CUT", "pix2pix", "MUNIT")),
    ("FSeSim", "--model test"),
])
def test_a_generator_of_one_way_refuses_the_other(tmp_path: Path, method: str, flags: str) -> None:
    trained = train_options(tmp_path, "--direction BtoA", defaults=(NETWORKS, METHODS[method]))
    trained.save(tmp_path / "checkpoints" / "experiment_name", "train_opt")
    flags = " ".join(flags.split()[:2])
    translate_options(tmp_path, tmp_path, f"{flags} --direction BtoA")
    with pytest.raises(UserError, match="--direction AtoB: experiment_name was trained with --direction BtoA"):
        translate_options(tmp_path, tmp_path, f"{flags} --direction AtoB")


def test_aligned_images_are_shown_with_the_truth(root: Path) -> None:
    save_folders(root / "set", "test", (2, 2))
    found = outputs(root, root / "set", "--model sc --dataset_mode aligned")
    assert len(found) == 6
    for index in range(2):
        assert np.array_equal(pixels(found[f"real_B/{index}.png"]), pixels(root / "set" / "testB" / f"{index}.png"))
    page = (root / "results" / "run" / "test_latest" / "index.html").read_text(encoding="utf-8")
    assert [page.count(f'alt="{label}"') for label in ("input", "output", "truth")] == [2, 2, 2]


NAMES = ["a b.png", "ä漢字.png", "100% #1?.png", "x.png", "x.jpg", "sub/x.png", "sub/deeper/x.png", "it's & <b>.png",
         "x_2.png", "dots.in.name.png"]


def test_every_image_has_its_own_result_and_place_on_the_page(root: Path) -> None:
    for seed, name in enumerate(NAMES):
        save_noise(root / "in" / name, seed, (16, 12))
    found = outputs(root, root / "in", "--batch_size 3")
    assert len(found) == 2 * len(NAMES)
    assert {"fake_B/a b.png", "fake_B/ä漢字.png", "fake_B/100% #1?.png", "fake_B/dots.in.name.png"} <= found.keys()
    page = root / "results" / "run" / "test_latest" / "index.html"
    shown = [path.relative_to(page.parent).as_posix() for path in Images(page).found]
    assert sorted(shown) == sorted(f"images/{name}" for name in found)
    inputs = sorted(pixels(path).tobytes() for key, path in found.items() if key.startswith("real_A/"))
    lossless = [pixels(root / "in" / name).tobytes() for name in NAMES]
    assert inputs == sorted(lossless)
    for key in (key for key in found if key.startswith("real_A/")):  # input and output stand in the same row
        assert abs(shown.index(f"images/{key}") - shown.index(f"images/{key.replace('real_A', 'fake_B')}")) == 1


def test_names_stay_what_they_were_and_never_collide() -> None:
    names = Names(Path("in"))
    paths = [f"in/{name}" for name in ("x.png", "b/x.png", "c/x.png", "x.jpg", "x_2.png", "x.png.png", "x.jpg.png",
                                       "x.png")]
    given = [names.of(path) for path in paths]
    assert given[:5] == ["x", "b/x", "c/x", "x.jpg", "x_2"]
    assert len(set(given)) == len(set(paths))
    assert given[0] == given[-1] == "x"


def test_subfolders_of_the_input_are_kept(root: Path) -> None:
    for seed, name in enumerate(f"p{p}/slice{s}.png" for p in (1, 2, 3) for s in (1, 2)):
        save_noise(root / "pats" / name, seed, (12, 8))
    found = outputs(root, root / "pats")
    assert sorted(found) == sorted(f"{label}/p{p}/slice{s}.png" for label in ("real_A", "fake_B") for p in (1, 2, 3)
                                   for s in (1, 2))
    for name in ("p1/slice1.png", "p3/slice2.png"):
        assert np.array_equal(pixels(found[f"real_A/{name}"]), pixels(root / "pats" / name))
    page = (root / "results" / "run" / "test_latest" / "index.html").read_text(encoding="utf-8")
    assert all(f"p{p}/slice{s}.png" in page for p in (1, 2, 3) for s in (1, 2))
    outputs(root, root / "pats" / "p2")
    assert (root / "results" / "run" / "test_latest.1" / "images" / "fake_B" / "p1" / "slice1.png").is_file()


def test_values_go_beside_the_pictures_of_the_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_noise(root / "in" / "p1" / "0.png", 0, (16, 12))
    found = outputs(root, root / "in", "--output_format tiff --output_bits 16 --range_B 100,4195")
    assert found.keys() == {"real_A/p1/0.png", "fake_B/p1/0.png"}
    folder = root / "results" / "run" / "test_latest" / "outputs"
    assert f"values, uint16 from 100 to 4195: {folder}" in capsys.readouterr().out
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")] == ["fake_B/p1/0.tif"]
    values = tifffile.imread(folder / "fake_B" / "p1" / "0.tif")
    assert values.dtype == np.uint16
    assert np.abs((values - 100.0) / 4095 * 255 - pixels(found["fake_B/p1/0.png"])).max() <= 0.55


@pytest.mark.parametrize(("flags", "kind"), [("--output_format jpg", "JPEG"), ("--output_format webp", "WEBP")])
def test_pictures_have_the_format_asked_for(root: Path, flags: str, kind: str) -> None:
    save_noise(root / "in" / "0.png", 0, (16, 12))
    found = outputs(root, root / "in", flags)
    suffix = flags.split()[1]
    assert found.keys() == {"real_A/0.png", f"fake_B/0.{suffix}"}
    with Image.open(found[f"fake_B/0.{suffix}"]) as image:
        assert image.format == kind


@pytest.mark.parametrize(("flags", "said"), [
    ("--output_format jpg --output_bits 16", "jpg has 8 bits"),
    ("--output_format tiff --aspect_ratio 1.5", "--aspect_ratio 1.5 scales pictures"),
    ("--output_bits 12", "'12' is not 8, 16 or 32"),
])
def test_formats_that_do_not_fit_are_refused_first(root: Path, flags: str, said: str) -> None:
    save_noise(root / "in" / "0.png", 0, (16, 12))
    with pytest.raises(UserError, match=said):
        outputs(root, root / "in", flags)
    assert not (root / "results").exists()


@pytest.mark.parametrize(("flags", "count"), [("--num_test 3", 3), ("--num_test 3 --batch_size 2", 3),
                                              ("--num_test inf", 5), ("--num_test 0", 5),
                                              ("--num_test 100 --batch_size 4", 5),
                                              ("--num_test 1 --num_threads 1", 1), ("--max_dataset_size 2", 2)])
def test_as_many_images_are_translated_as_asked_for(
    root: Path, capsys: pytest.CaptureFixture[str], flags: str, count: int
) -> None:
    for index in range(5):
        save_noise(root / "in" / f"{index}.png", index, (8, 8))
    found = outputs(root, root / "in", flags)
    assert sorted(found) == sorted(f"{label}/{i}.png" for label in ("real_A", "fake_B") for i in range(count))
    assert re.search(rf"{count} of \d images translated: .*index\.html", capsys.readouterr().out)


def test_options_are_shown_and_kept_beside_the_results(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_noise(root / "in" / "0.png", 0, (8, 8))
    outputs(root, root / "in", "--aspect_ratio 1.5")
    folder = root / "results" / "run" / "test_latest"
    assert json.loads((folder / "test_opt.json").read_text())["aspect_ratio"] == 1.5
    assert re.search(r"aspect_ratio: 1\.5\t\[default: 1\.0\]", (folder / "test_opt.txt").read_text())
    assert re.search(r"aspect_ratio: 1\.5\t\[default: 1\.0\]", capsys.readouterr().out)


def test_progress_is_told_now_and_then(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "REPORT_EVERY", 2)
    for index in range(5):
        save_noise(root / "in" / f"{index}.png", index, (8, 8))
    outputs(root, root / "in")
    assert re.findall(r"^(\d)/5 ", capsys.readouterr().out, re.MULTILINE) == ["2", "4"]


@pytest.mark.parametrize(("name", "modes"), [("grey", ("L", "RGB")), ("greyer", ("RGB", "L"))])
@pytest.mark.parametrize("source", ["L", "RGB"])
def test_greyscale_is_read_and_written_as_the_network_was_trained(
    root: Path, name: str, modes: tuple[str, str], source: str
) -> None:
    save_noise(root / "in" / "0.png", 0, mode=source)
    found = outputs(root, root / "in", "", name)
    for label, mode in zip(("real_A", "fake_B"), modes, strict=True):
        with Image.open(found[f"{label}/0.png"]) as image:
            assert image.mode == mode


@pytest.mark.parametrize("model", ["sc --dataset_mode single", "test"])
def test_translating_needs_neither_vgg_nor_a_discriminator(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("built, and not needed")

    for module, name in ((structure_module, "create_features"), (sc_module, "build_discriminator"),
                         (building_module, "create_discriminator"), (structure_measures, "create_features")):
        monkeypatch.setattr(module, name, refuse)
    save_noise(root / "in" / "0.png", 0)
    assert len(outputs(root, root / "in", f"--scores cheap --model {model}", "lsesim")) == 2


def test_the_architecture_is_read_from_the_experiment_and_flags_overrule_it(root: Path) -> None:
    save_noise(root / "in" / "0.png", 0)
    with pytest.raises(UserError, match=r"latest_net_G\.pth does not fit this ResnetGenerator"):
        outputs(root, root / "in", "--netG resnet_9blocks")
    with pytest.raises(UserError, match=r"latest_net_G\.pth does not fit"):
        outputs(root, root / "in", "--ngf 3", "unet")


def test_another_checkpoint_can_be_chosen(tmp_path: Path) -> None:
    root = save_folders(tmp_path)
    train(train_options(root, "--n_epochs 2 --n_epochs_decay 0 --save_epoch_freq 1 --save_latest_freq 3 --save_by_iter "
                              "--lr 0.01 --init_gain 0.5 --no_html"))
    found = []
    for flags, tag in (("--epoch 1", "1"), ("--epoch 2", "2"), ("--load_iter 3", "iter_3"), ("", "latest")):
        translate(translate_options(root / "trainA", root, f"{flags} --num_test 1"))
        found.append(pixels(root / "results" / "experiment_name" / f"test_{tag}" / "images" / "fake_B" / "0.png"))
    assert np.array_equal(found[1], found[3])
    assert len({image.tobytes() for image in found}) == 3


def test_a_second_run_keeps_the_results_of_the_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(2):
        save_noise(root / "in" / f"{index}.png", index)
    first = {name: pixels(path) for name, path in outputs(root, root / "in").items()}
    assert "earlier" not in capsys.readouterr().out
    folder = root / "results" / "run" / "test_latest"
    page = (folder / "index.html").read_bytes()
    save_noise(root / "other" / "1.png", 7)
    assert set(outputs(root, root / "other")) == {"real_A/1.png", "fake_B/1.png"}
    assert f"the earlier results are now in {folder}.1\n" in capsys.readouterr().out
    kept = folder.with_name("test_latest.1")
    assert (kept / "index.html").read_bytes() == page
    for name, image in first.items():
        assert np.array_equal(pixels(kept / "images" / name), image)


def test_a_single_file_is_added_to_the_page_of_the_same_checkpoint(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(2):
        save_noise(root / "in" / f"{index}.png", index)
    outputs(root, root / "in", "--scores cheap")
    folder = root / "results" / "run" / "test_latest"
    image = save_noise(root / "x.png", 7)
    assert len(outputs(root, image, "--scores cheap")) == 6
    assert "the image is added to the page of 2 earlier results" in capsys.readouterr().out
    assert [path.name for path in Images(folder / "index.html").found[::2]] == ["x.png", "0.png", "1.png"]
    save_noise(image, 8)
    found = outputs(root, image, "--scores cheap")
    assert f"the earlier result of {image} is replaced" in capsys.readouterr().out
    assert len(found) == 6
    assert np.array_equal(pixels(found["real_A/x.png"]), pixels(image))
    outputs(root, image, "--scores cheap --aspect_ratio 2")
    assert f"the earlier results are now in {folder}.1\n" in capsys.readouterr().out
    assert len(Images(folder / "index.html").found) == 2
    (folder / "results.json").write_text("damaged", encoding="utf-8")
    outputs(root, image, "--scores cheap --aspect_ratio 2")
    assert f"the earlier results are now in {folder}.2\n" in capsys.readouterr().out


@pytest.mark.parametrize(("data", "flags", "shown"), [
    ("set", "--model sc", [True, False, False]), ("set/testA", "", [True, False, False]),
    ("set/testA/0.png", "", [True]), ("set", "--model sc --truth none", [False, False, False]),
    ("set/testA", "--truth {}/other", [False, True, False]), ("set/testA", "--load_size 16", [True, False, False]),
])
def test_the_truth_is_shown_wherever_a_file_of_that_name_and_size_is_there(
    root: Path, data: str, flags: str, shown: list[bool]
) -> None:
    for name in ("set/testA/0.png", "set/testA/1.png", "set/testA/2.png", "set/testB/1.jpg", "set/testB/1.png",
                 "other/1.jpg"):
        save_noise(root / name, 1)
    save_noise(root / "set" / "testB" / "0.jpg", 2)
    save_noise(root / "set" / "testB" / "2.png", 3, (12, 12))
    outputs(root, root / data, f"--scores cheap {flags.format(root)}")
    results = json.loads((root / "results" / "run" / "test_latest" / "results.json").read_text())["images"]
    assert ["real_B" in of["pictures"] for of in results] == shown
    assert [set(of["scores"]) for of in results] == [{"colour_error", "ssim"} if known else set() for known in shown]


def test_a_damaged_truth_is_left_out_with_a_warning(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_folders(root / "set", "test", (2, 2))
    (root / "set" / "testB" / "0.png").write_bytes(b"no image")
    found = outputs(root, root / "set" / "testA", "--scores cheap")
    assert {name for name in found if name.startswith("real_B")} == {"real_B/1.png"}
    assert re.search(r"warning: \S*testB/0\.png cannot be read .*; its truth is not shown", capsys.readouterr().out)
    with pytest.raises(UserError, match="there is no folder"):
        outputs(root, root / "set" / "testA", f"--truth {root}/nowhere")


def test_each_translation_has_its_scores(root: Path) -> None:
    save_folders(root / "set", "test", (2, 2))
    found = outputs(root, root / "set", "--model sc --dataset_mode aligned")
    results = json.loads((root / "results" / "run" / "test_latest" / "results.json").read_text())["images"]
    for index, result in enumerate(results):
        output, truth = (torch.from_numpy(pixels(found[f"{label}/{index}.png"])).permute(2, 0, 1) / 127.5 - 1
                         for label in ("fake_B", "real_B"))
        assert result["scores"]["colour_error"] == pytest.approx(colour_error(output, truth).item(), rel=1e-4)
        assert result["scores"]["ssim"] == pytest.approx(ssim(output, truth).item(), rel=1e-4)
        assert 0 < result["scores"]["structure_error"] < 2
    page = (root / "results" / "run" / "test_latest" / "index.html").read_text(encoding="utf-8")
    assert "structure error, worst first" in page
    assert f"{results[0]['scores']['structure_error']:.4g}<" in page


def test_two_runs_do_not_write_into_one_folder(root: Path) -> None:
    image = save_noise(root / "in" / "0.png", 0)
    with locked_elsewhere(root / "results/run/test_latest"), \
            pytest.raises(UserError, match=r"another process is writing into .*test_latest"):
        outputs(root, image)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_are_left_out_and_told_and_the_rest_is_translated(
    root: Path, capsys: pytest.CaptureFixture[str], workers: int,
) -> None:
    for index in range(4):
        save_noise(root / "in" / f"{index}.png", index)
    (root / "in" / "1.png").write_bytes(b"no image")
    (root / "in" / "3.png").write_bytes((root / "in" / "3.png").read_bytes()[:-99])
    with pytest.raises(UserError, match=r"left out, since they cannot be read: 2; the first: \S*1\.png cannot be read"):
        outputs(root, root / "in", f"--num_threads {workers}")
    written = {path.name for path in root.glob("results/run/test_latest/images/fake_B/*")}
    assert written == {"0.png", "2.png"}
    printed = capsys.readouterr().out
    assert re.findall(r"warning: \S*/(\d)\.png cannot be read", printed) == ["1", "3"]
    assert "2 of 4 images translated: " in printed


def test_the_moving_average_translates_when_asked_for(tmp_path: Path) -> None:
    root = save_folders(tmp_path / "data")
    train(train_options(root, "--max_iters 4 --ema 0.9 --init_gain 0.5 --lr 0.05"))
    image = save_noise(root / "test" / "a.png", 1, (24, 16))
    plain = pixels(outputs(root, image, name="experiment_name")["fake_B/a.png"])
    folder = root / "checkpoints" / "experiment_name"
    (folder / "latest_net_G.pth").write_bytes((folder / "latest_net_G_ema.pth").read_bytes())
    expected = pixels(outputs(root, image, name="experiment_name")["fake_B/a.png"])
    (folder / "latest_net_G.pth").unlink()
    found = pixels(outputs(root, image, "--use_ema", "experiment_name")["fake_B/a.png"])
    assert (found == expected).all()
    assert (found != plain).any()


def test_neighbours_of_equal_size_are_translated_together(
    root: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(24, 20), (24, 20), (24, 20), (16, 20), (24, 20), (24, 20)]
    for index, size in enumerate(sizes):
        save_noise(root / "in" / f"{index}.png", index, size)
    batches = []

    def translate_and_count(generator: nn.Module, images: Tensor) -> Tensor:
        batches.append(len(images))
        return base_module.translate_any_size(generator, images)

    monkeypatch.setattr(test_module, "translate_any_size", translate_and_count)
    found = outputs(root, root / "in", "--batch_size 2")
    assert batches == [2, 1, 1, 2]
    assert len(found) == 2 * len(sizes)
    for index in range(len(sizes)):
        output = pixels(found[f"fake_B/{index}.png"])
        assert np.abs(output - by_hand(trained, root / "in" / f"{index}.png")).max() <= 1
    page = root / "results" / "run" / "test_latest" / "index.html"
    assert [path.name for path in Images(page).found] == [f"{i}.png" for i in range(len(sizes)) for _ in range(2)]


def test_tiles_show_the_whole_image(root: Path) -> None:
    photograph = Path(__file__).parent.parent / "datasets" / "photo2painting" / "trainA" / "EveningGlow.jpg"
    with Image.open(photograph) as image:
        image.resize((250, 161)).save(root / "boats.png")
    whole = pixels(outputs(root, root / "boats.png")["fake_B/boats.png"])
    errors = {}
    for flags in ("tile", "scaled", "exact"):
        tiled = pixels(outputs(root, root / "boats.png", f"--tile 128 --tile_overlap 96 --batch_size 2 "
                               f"--tile_statistics {flags}")["fake_B/boats.png"])
        assert tiled.shape == whole.shape == (161, 250, 3)
        errors[flags] = np.abs(tiled - whole).mean()
    assert errors["exact"] < 0.1 < errors["scaled"] < errors["tile"], errors


@pytest.mark.parametrize(("flags", "name", "message"), [
    ("--tile 130", "run", "--tile 130 is no multiple of 4, which the generator needs: use 132"),
    ("--tile 64", "unet", "--tile 64 is no multiple of 128, which the generator needs: use 128"),
    ("--tile 128", "run", "--tile_overlap 128 is too much for --tile 128: enlarge --tile or lower --tile_overlap to at "
                          "most 124"),
    ("--tile 64 --tile_overlap 61", "run", "--tile_overlap 61 is too much for --tile 64"),
    ("--tile 256 --compile", "run", "--compile with --tile needs --tile_statistics tile"),
])
def test_tiles_that_cannot_be_are_refused_before_anything_is_written(
    root: Path, flags: str, name: str, message: str
) -> None:
    save_noise(root / "in" / "0.png", 0)
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        outputs(root, root / "in", flags, name)
    assert not (root / "results").exists()


def test_tiles_of_a_unet_come_with_a_warning(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_noise(root / "in" / "0.png", 0, (300, 140))
    assert pixels(outputs(root, root / "in", "--tile 256", "unet")["fake_B/0.png"]).shape == (140, 300, 3)
    assert "warning: a U-Net looks at the whole image at once" in capsys.readouterr().err


@pytest.mark.parametrize("flags", ["", "--channels_last false", "--tile 32 --tile_overlap 16 --tile_statistics exact"])
def test_half_precision_translates_nearly_alike(root: Path, flags: str) -> None:
    save_noise(root / "in" / "0.png", 0, (64, 48))
    whole = pixels(outputs(root, root / "in", flags)["fake_B/0.png"])
    half = pixels(outputs(root, root / "in", f"{flags} --amp bf16")["fake_B/0.png"])
    assert 0 < np.abs(half - whole).mean() < 3
