"""Hub folders: export.py --format hub writes them, and every program reads them as it reads an experiment."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import Outcome, run
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import METHODS, save_folders, save_noise, train_options

from evaluation.checkpoint_scores import HEADINGS
from evaluation.model_card import example_files
from inference import load
from models import MODELS
from training.checkpoints import save_checkpoint
from training.initial import read_weights
from util.errors import UserError
from util.files import sha256
from util.hub_folders import is_hub_folder
from web.checkpoints import find_checkpoints, load_generator

COMMAND = "/home/me/code/train.py --dataroot /home/me/sets/horses --name fsesim --vgg_weights=/tmp/vgg.pth --lr 0.1"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of several methods and their exports in ``hub``, and a photograph."""
    root = save_folders(tmp_path_factory.mktemp("hub"), "test")
    save_folders(root)
    save_noise(root / "photo.png", 0, (37, 26))
    for method in ("FSeSim", "CycleGAN", "MUNIT"):
        torch.manual_seed(1)
        options = train_options(root, f"--name {method.lower()} {METHODS[method]} --ema 0.5 --init_gain 0.2")
        folder = root / "checkpoints" / method.lower()
        save_checkpoint(folder, "latest", MODELS[METHODS[method].split()[1]](options, training=True), {})
        options.save(folder, "train_opt")
    (root / "checkpoints" / "fsesim" / "runs.jsonl").write_text(json.dumps({"command": COMMAND}) + "\n")
    for flags in ("--name fsesim --license mit", "--name cyclegan --model cycle_gan", "--name munit --model munit_sc"):
        outcome = export(root, *flags.split(), "--output", root / "hub" / flags.split()[1])
        assert (outcome.code, outcome.err.replace(NO_LICENCE, "")) == (0, ""), outcome
    return root


NO_LICENCE = "warning: the model card states no licence: name one by --license\n"


def export(root: Path, *flags: object) -> Outcome:
    return run("export.py", "--checkpoints_dir", root / "checkpoints", "--results_dir", root / "results",
               "--format", "hub", *flags)


@pytest.mark.parametrize(("name", "keywords", "style"), [
    ("fsesim", {}, 1), ("cyclegan", {"model_suffix": "_A"}, 1), ("cyclegan", {"model_suffix": "_B"}, 1),
    ("munit", {}, 3)])
def test_a_hub_folder_gives_the_pixels_of_the_experiment(
    root: Path, name: str, keywords: dict[str, str], style: int,
) -> None:
    expected, found = (
        load(root / folder / name, device="-1", model_suffix=keywords.get("model_suffix", ""))(
            root / "photo.png", style=style) for folder in ("checkpoints", "hub"))
    assert np.array_equal(found, expected)


def test_test_py_and_the_app_take_a_hub_folder_for_an_experiment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = load(root / "checkpoints" / "munit", device="-1")(root / "photo.png")
    before = sorted((root / "hub" / "munit").iterdir())
    outcome = run("test.py", "--dataroot", root / "photo.png", "--checkpoints_dir", root / "hub", "--name", "munit",
                  "--model", "munit_sc", "--dataset_mode", "single", "--results_dir", tmp_path, "--gpu_ids", "-1",
                  "--num_threads", "0", "--style_image", root / "photo.png")
    assert outcome.code == 0, outcome.err  # the style encoder is there, too
    assert sorted((root / "hub" / "munit").iterdir()) == before, "a folder to share stays as it is"
    monkeypatch.setattr("web.checkpoints.BUNDLED", root / "hub")
    (tmp_path / "mine" / "broken").mkdir(parents=True)
    (tmp_path / "mine" / "broken" / "config.json").write_text("no JSON")
    found = find_checkpoints(tmp_path / "mine")
    assert list(found) == ["broken, latest", "hub/cyclegan, latest, G_A", "hub/cyclegan, latest, G_B",
                           "hub/fsesim, latest", "hub/munit, latest"]
    chosen = found["hub/munit, latest"]
    generator = load_generator(chosen, chosen.changed(), "-1", 0)
    assert np.array_equal(generator(root / "photo.png"), expected)
    assert {"fsesim, latest", "cyclegan, latest, G_B"} <= find_checkpoints(root / "hub").keys()


def test_a_bundled_generator_is_loaded_by_its_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.hub.BUNDLED", root / "hub")
    found = load("fsesim", device="-1")(root / "photo.png")
    for place in (root / "hub" / "fsesim", root / "hub" / "fsesim" / "model.safetensors"):
        assert np.array_equal(found, load(place, device="-1")(root / "photo.png"))
    with pytest.raises(UserError, match=r"there is no \.\./hub/fsesim: name the folder"):
        load("../hub/fsesim", device="-1")


def test_pictures_are_spread_over_a_folder(tmp_path: Path) -> None:
    for number in range(10):
        save_noise(tmp_path / f"{number % 2}" / f"{number}.png", number)
    files = example_files([tmp_path / "none", tmp_path])
    assert [path.name for path in files] == ["0.png", "4.png", "1.png", "5.png"]


def test_a_training_starts_from_a_hub_folder_but_not_inside_of_one(root: Path) -> None:
    for place in (root / "hub" / "munit", root / "hub" / "munit" / "model.safetensors"):
        weights = read_weights(train_options(root, f"--init_from {place}"))
        assert weights is not None
        assert set(weights.networks) == {"G", "E"}
    outcome = run("train.py", "--dataroot", root, "--checkpoints_dir", root / "hub", "--name", "fsesim")
    assert outcome.code == 2
    assert "fsesim holds a generator to share, not a training: choose another --name, and --init_from" in outcome.err


def test_half_precision_halves_the_file_and_the_average_is_chosen(root: Path, tmp_path: Path) -> None:
    experiment = root / "checkpoints" / "fsesim"
    outcome = export(root, "--name", "fsesim", "--half", "--use_ema", "--output", tmp_path / "half")
    assert outcome.code == 0, outcome.err
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    expected, found = (np.asarray(translator(root / "photo.png"), dtype=int) for translator in (
        load(experiment, ema=True, device="-1"), load(tmp_path / "half", device="-1")))
    assert 0 < np.abs(found - expected).max() <= 3


def test_the_card_has_front_matter_pictures_scores_and_a_training_without_folders_of_the_user(
    root: Path, tmp_path: Path,
) -> None:
    experiment = root / "checkpoints" / "fsesim"
    digest = sha256(experiment / "latest_net_G.pth")
    (scores := root / "results" / "fsesim" / "test_epochs").mkdir(parents=True)
    (scores / "epochs.json").write_text(json.dumps({"conditions": {"images_outputs": 3}, "checkpoints": [
        {"tag": "1", "sha256": {"G": "another"}, "frechet": 9.0},
        {"tag": "latest", "sha256": {"G": digest}, "frechet": 1.25, "images": 2}]}))
    outcome = export(root, "--name", "fsesim", "--license", "cc-by-4.0", "--dataset", "horses of Ghent",
                     "--output", tmp_path / "card")
    assert (outcome.code, outcome.err) == (0, "")
    card = (tmp_path / "card" / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-4.0"\npipeline_tag: image-to-image\ntags: ["image-to-image", ')
    for line in ("| training images | horses of Ghent |", "| licence | cc-by-4.0 |", "| method | `--model sc` |",
                 "Translations of 3 test images:", f"| {HEADINGS['frechet']} | 1.25 |",
                 "python train.py --dataroot horses --name fsesim --vgg_weights=vgg.pth --lr 0.1"):
        assert f"\n{line}\n" in card, line
    picture, = re.findall(r"!\[.*\]\((.*)\)", card)
    with Image.open(tmp_path / "card" / picture) as sheet:
        assert sheet.width == 2 * 256 + 8, "input and translation"
    assert (tmp_path / "card" / "model.safetensors").stat().st_mode & 0o044, "others may read it, if the umask agrees"


@pytest.mark.parametrize(("config", "words"), [
    ("{", r"config.json cannot be read"), ('{"model_type": "bert"}', r"describes no generator of this project"),
    ({"version": 2}, r"is of version 2 of the format, and this code reads version 1; use newer code"),
    ({"networks": None}, r'is damaged: it has no usable "networks"'), ({"flags": {"ngf": "x"}}, r"config.json cannot"),
    ({"flags": {"netG": "resnet_6blocks", "ngf": 3}}, r"model.safetensors does not fit this ResnetGenerator"),
])
def test_a_damaged_description_is_named(root: Path, tmp_path: Path, config: object, words: str) -> None:
    folder = shutil.copytree(root / "hub" / "fsesim", tmp_path / "shared")
    if isinstance(config, dict):
        config = json.dumps({**json.loads((folder / "config.json").read_text()), **config, "later": "entries are kept"})
    (folder / "config.json").write_text(str(config))
    with pytest.raises(UserError, match=words):
        load(folder, device="-1")


def test_missing_and_foreign_weights_are_named(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "hub" / "fsesim", tmp_path / "shared")
    tensors = load_file(folder / "model.safetensors")
    with pytest.raises(UserError, match="has one checkpoint without a number, and not 7: leave --epoch out"):
        load(folder, epoch="7", device="-1")
    with pytest.raises(UserError, match="has no network G_ema, but G: leave --use_ema out"):
        load(folder, ema=True, device="-1")
    tensors.pop("G.model.1.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors does not fit .*: model.1.weight is missing"):
        load(folder, device="-1")
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"model.safetensors cannot be read as weights \(.*\); download or export it"):
        load(folder, device="-1")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"there is no .*model.safetensors, which holds the weights; download or"):
        load(folder, device="-1")


def test_an_earlier_export_is_replaced_and_another_folder_is_not(root: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "diary.txt").write_text("mine")
    outcome = export(root, "--name", "fsesim", "--output", other)
    assert outcome.code == 2
    assert f"{other} is there, and is no folder of an earlier export: choose another --output" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    outcome = run("export.py", "--checkpoints_dir", root / "hub", "--name", "fsesim", "--format", "hub", "--output",
                  root / "hub" / "fsesim")
    assert outcome.code == 2
    assert "fsesim would replace itself, and its model card would lose the training" in outcome.err
    folder = shutil.copytree(root / "hub" / "munit", tmp_path / "shared")
    assert export(root, "--name", "fsesim", "--output", folder).code == 0
    assert load(folder, device="-1").styles == 1


def test_weights_beyond_half_precision_are_not_written(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "checkpoints" / "fsesim", tmp_path / "checkpoints" / "fsesim")
    state = torch.load(folder / "latest_net_G.pth")
    state["model.1.weight"][0, 0, 0, 0] = 1e6
    torch.save(state, folder / "latest_net_G.pth")
    outcome = export(tmp_path, "--name", "fsesim", "--half", "--output", tmp_path / "hub")
    assert outcome.code == 2
    assert "hub was not written: translations would differ by" in outcome.err
    assert outcome.err.endswith("leave --half out\n")
    assert not is_hub_folder(tmp_path / "hub")


@pytest.mark.parametrize(("flags", "words"), [
    ("--format onnx --license mit", "--license has no meaning for --format onnx: leave it out"),
    ("--uint8", "--uint8 has no meaning for --format hub: leave it out"),
    ("--push mine", "'mine' is not of the form OWNER/NAME"),
])
def test_flags_of_the_other_formats_are_refused(root: Path, flags: str, words: str) -> None:
    outcome = export(root, "--name", "fsesim", *flags.split())
    assert outcome.code == 2
    assert words in outcome.err
