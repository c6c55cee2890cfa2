"""The parts of app.py: checkpoints, uploads, translations, self-similarity and events."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import TINY, make_images, run
from PIL import Image
from tiny import save_noise

from evaluation.trained_heads import load_heads
from inference.translator import STYLES
from models.networks.vgg import VGG16Features
from util.errors import UserError
from util.images import load_normalized
from web.checkpoints import Checkpoint, find_checkpoints, load_generator
from web.events import INPUT, Events, captions
from web.hosts import allowed, own_names
from web.pictures import Studio, read_image
from web.similarity import LAYERS, draw, feature_names, similarity


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments of three methods."""
    folder = tmp_path_factory.mktemp("app")
    data = make_images(folder / "data", "trainA", "trainB")
    learned = ("--learned_attn", "--vgg_weights", "bundled")
    for name, model, more in (("mine", "sc", (*learned, "--ema", "0.9")), ("group/styles", "munit_sc", ()),
                              ("cycle", "cycle_gan", ())):
        tiny = [word for word in TINY if model != "munit_sc" or word not in ("--netG", "resnet_6blocks")]
        outcome = run("train.py", "--dataroot", data, "--checkpoints_dir", folder / "checkpoints", "--name", name,
                      "--model", model, *tiny, *more)
        assert outcome.code == 0, outcome.err
    return folder / "checkpoints"


@pytest.fixture(autouse=True)
def _nothing_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.checkpoints.BUNDLED", tmp_path / "bundled")


def choose(root: Path, label: str) -> Checkpoint:
    return find_checkpoints(root)[label]


def test_every_generator_is_found_by_name_save_and_kind(root: Path) -> None:
    found = find_checkpoints(root)
    assert {"mine, latest", "mine, latest, moving average", "group/styles, latest", "cycle, latest, G_A",
            "cycle, latest, G_B"} <= set(found)
    assert not [label for label in found if "net_D" in label]


def test_checkpoints_are_listed_by_their_state_and_not_by_the_times_of_files(tmp_path: Path) -> None:
    tags = ["latest", "best", "20", "3", "iter_400", "iter_80", "mine", "yours"]
    for experiment, reported in (("old", 1000.0), ("new", 2000.5), ("unknown", None)):
        for second, tag in enumerate(tags):
            path = tmp_path / experiment / f"{tag}_net_G.pth"
            path.parent.mkdir(exist_ok=True)
            path.touch()
            os.utime(path, (second, second))
        if reported:
            lines = [json.dumps({"step": step, "time": reported - 1 + step, "G": 0.5}) for step in (0, 1)]
            (tmp_path / experiment / "loss_log.jsonl").write_text("\n".join([*lines, '{"step": 2, "ti']))
    (tmp_path / "new" / "latest_net_G_ema.pth").touch()
    expected = [f"{experiment}, {tag}" for experiment in ("new", "old", "unknown") for tag in tags]
    assert list(find_checkpoints(tmp_path)) == [expected[0], "new, latest, moving average", *expected[1:]]


@pytest.mark.parametrize(("label", "flags"), [
    ("mine, latest, moving average", ("--use_ema",)),
    ("cycle, latest, G_B", ("--model_suffix", "_B")), ("group/styles, latest", ("--model", "munit_sc"))])
def test_the_page_translates_as_test_py_does(root: Path, tmp_path: Path, label: str, flags: tuple[str, ...]) -> None:
    photo, checkpoint = save_noise(tmp_path / "in" / "photo.png", 3, (37, 26)), choose(root, label)
    outcome = run("test.py", "--dataroot", photo.parent, "--checkpoints_dir", root, "--name", checkpoint.name,
                  "--results_dir", tmp_path / "results", "--gpu_ids", "-1", "--num_threads", "0",
                  "--dataset_mode", "single", *flags)
    assert outcome.code == 0, outcome.err
    (tmp_path / "into").mkdir()
    shown = Studio(tmp_path, "-1", 0).translate(photo, tmp_path / "into", checkpoint, None, style=1, side=64)
    expected = next((tmp_path / "results").rglob("fake_B*/photo.png"))
    assert np.array_equal(np.asarray(Image.open(shown.output)), np.asarray(Image.open(expected)))


def test_a_long_name_of_an_upload_is_shortened(root: Path, tmp_path: Path) -> None:
    photo = save_noise(tmp_path / f"{'写' * 83}.png", 3)
    (into := tmp_path / "into").mkdir()
    shown = Studio(tmp_path, "-1", 0).translate(photo, into, choose(root, "mine, latest"), None, style=1, side=64)
    assert shown.output.is_file()


def test_sides_of_the_slider_show_names_as_they_are() -> None:
    assert "<span>Left: &lt;b&gt;_1_, latest</span>" in captions("<b>_1_, latest")


def test_page_and_terminal_say_what_to_do_without_a_checkpoint(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("gradio")
    (empty := tmp_path / "<b>").mkdir()
    hints = [Events(folder, Studio(tmp_path, "-1", 0)).refresh(None, INPUT)[-1] for folder in (empty, root)]
    assert [hint.visible for hint in hints] == [True, False]
    assert "there is no checkpoint in" in hints[0].value
    assert "<b>" not in hints[0].value
    monkeypatch.setattr("app.serve", lambda flags, folder: None)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    outcome = run("app.py", "--checkpoints_dir", empty, "--gpu_ids", "-1")
    assert (outcome.code, outcome.err) == (
        0, f"warning: there is no checkpoint in {empty}: train a model, or start app.py with another "
        "--checkpoints_dir\n")
    assert run("app.py", "--checkpoints_dir", root, "--gpu_ids", "-1").err == ""


def test_a_multi_modal_checkpoint_has_several_styles_and_others_have_one(root: Path, tmp_path: Path) -> None:
    photo = save_noise(tmp_path / "photo.png", 3)
    studio, pictures = Studio(tmp_path, "-1", 0), []
    for style in (1, 2):
        (into := tmp_path / str(style)).mkdir()
        shown = studio.translate(photo, into, choose(root, "group/styles, latest"), choose(root, "mine, latest"),
                                 style=style, side=64)
        pictures.append(load_normalized(shown.output, 3))
        assert shown.styles == STYLES
        assert shown.other.read_bytes() not in (shown.output.read_bytes(), shown.input.read_bytes())
    assert not torch.equal(*pictures)
    assert load_generator(choose(root, "mine, latest"), 0, "-1", 0).styles == 1


def test_a_generator_is_loaded_once_and_again_when_its_file_has_changed(root: Path) -> None:
    checkpoint = choose(root, "mine, latest")
    first = load_generator(checkpoint, checkpoint.changed(), "-1", 0)
    assert load_generator(choose(root, "mine, latest"), checkpoint.changed(), "-1", 0) is first
    assert load_generator(checkpoint, checkpoint.changed() + 1, "-1", 0) is not first


def test_large_images_are_translated_in_tiles_where_asked_for(root: Path, tmp_path: Path) -> None:
    checkpoint, images = choose(root, "mine, latest"), torch.rand(1, 3, 70, 90) * 2 - 1
    whole, tiled = (load_generator(checkpoint, 0, "-1", tile) for tile in (0, 64))
    assert tiled(images).shape == whole(images).shape == images.shape
    assert torch.equal(tiled(images[..., :60, :60]), whole(images[..., :60, :60]))
    assert not torch.equal(tiled(images), whole(images)), "an image above the tile's size was not cut"


def test_a_checkpoint_that_vanished_or_does_not_fit_is_one_sentence(root: Path, tmp_path: Path) -> None:
    gone = Checkpoint(tmp_path, "gone", "latest", "")
    with pytest.raises(UserError, match="refresh the list"):
        gone.changed()
    shutil.copytree(root / "mine", tmp_path / "mine")
    options = tmp_path / "mine" / "train_opt.json"
    options.write_text(json.dumps({**json.loads(options.read_text()), "ngf": 5}))
    with pytest.raises(UserError, match="does not fit"):
        load_generator(choose(tmp_path, "mine, latest"), 0, "-1", 0)
    options.write_text("{")
    with pytest.raises(UserError, match="cannot be used"):
        load_generator(choose(tmp_path, "mine, latest"), 1, "-1", 0)


@pytest.mark.parametrize("file", ["7_net_G.pth", "latest_net_G_ema.pth"])
def test_without_an_options_file_the_architecture_is_read_from_the_weights(
    root: Path, tmp_path: Path, file: str,
) -> None:
    (tmp_path / "downloaded").mkdir()
    shutil.copy(root / "mine" / "latest_net_G.pth", tmp_path / "downloaded" / file)
    checkpoint, = find_checkpoints(tmp_path).values()
    images = torch.rand(1, 3, 40, 32) * 2 - 1
    found, wanted = (load_generator(of, 0, "-1", 0) for of in (checkpoint, choose(root, "mine, latest")))
    assert torch.equal(found(images), wanted(images))


def test_a_host_is_this_servers_or_an_address() -> None:
    for header in ("127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "10.0.0.7:80", "server.lan:7860"):
        assert allowed(header, own_names("Server.lan")), header
    for header in ("", "rebound.example", "localhost.rebound.example:7860", "server.lan.", "[::1", "1.2.3.4.example"):
        assert not allowed(header, own_names("Server.lan")), header


def test_uploads_are_upright_and_small_ones_stay_as_they_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg", partial(load_normalized, channels=3), 40).shape == (3, 40, 20)


def test_what_is_no_image_is_named_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(UserError, match=r"^x\.png cannot be read as an image"):
        read_image(tmp_path / "x.png", partial(load_normalized, channels=3), 100)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (700, 20), (64, 48)])
def test_a_point_resembles_itself_most_in_images_of_any_size(root: Path, size: tuple[int, int]) -> None:
    image, point = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1, (0.99, 0.3)
    for sight in LAYERS:
        cosines = similarity(image, point, sight, choose(root, "mine, latest"), "-1")
        height, width = cosines.shape
        assert cosines[int(0.99 * height), int(0.3 * width)] == pytest.approx(cosines.max().item(), abs=1e-6)
        assert cosines.abs().max() <= 1 + 1e-5
        picture = draw(cosines, image, point)
        assert picture.shape == (3, *size)
        assert picture.abs().max() <= 1


def test_learned_heads_see_where_the_checkpoint_has_them(root: Path) -> None:
    mine = choose(root, "mine, latest")
    assert feature_names(mine) == [*LAYERS, "learned on relu1_2", "learned on relu2_1"]
    assert feature_names(choose(root, "cycle, latest, G_A")) == list(LAYERS)
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    cosines = similarity(image, (0.5, 0.25), "learned on relu2_1", mine, "-1")
    heads = load_heads(root / "mine")
    (features,) = VGG16Features(["relu2_1"])(image[None])
    own = heads.modules[1](features)[0]  # [C, 20, 20]
    own = own - own.mean((1, 2), keepdim=True)
    expected = torch.cosine_similarity(own, own[:, 10:11, 5:6], dim=0)
    torch.testing.assert_close(cosines, expected, atol=1e-5, rtol=0)


def test_mistakes_on_the_command_line_are_one_sentence() -> None:
    for flags, sentence in {
        "--checkpoints_dir nowhere": "there is no folder nowhere",
        "--gpu_ids 99 --checkpoints_dir .": "--gpu_ids 99",
        "--port 0": "0 is too small: the least value is 1",
        "--shar": "--shar is not a flag of app.py; did you mean --share?",
    }.items():
        outcome = run("app.py", *flags.split())
        assert outcome.code == 2
        assert sentence in outcome.err
        assert outcome.err.count("\n") == 1


def test_without_gradio_the_program_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = run("app.py", "--checkpoints_dir", root, "--gpu_ids", "-1")
    assert (outcome.code, outcome.err) == (2, "app.py: error: app.py needs the package gradio: pip install gradio\n")
