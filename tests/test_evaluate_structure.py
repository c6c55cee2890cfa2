"""``evaluate.py structure`` from images and checkpoints to figures, arrays, JSON files and exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import TINY, Outcome, make_images, run
from PIL import Image
from tiny import save_noise

from evaluation.figures import save_figure, similarity_grid
from evaluation.pairing import read_image
from evaluation.structure_measures import Comparison
from evaluation.trained_heads import load_heads

RANDOM = ("--vgg_weights", "random", "--layers", "relu1_2,relu2_1", "--gpu_ids", "-1")
LEARNED = ("--learned_attn", "--attn_layers", "1,2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of LSeSim, of LSeSim with a feature network that learns, and of FSeSim."""
    root = tmp_path_factory.mktemp("trained")
    data = make_images(root / "data", "trainA", "trainB")
    for name, flags in (("lsesim", LEARNED), ("vgg", (*LEARNED, "--vgg_lr_scale", "1")), ("fsesim", ())):
        outcome = run("train.py", "--dataroot", data, "--checkpoints_dir", root, "--name", name, *TINY, *flags)
        assert (outcome.code, outcome.err) == (0, "")
    return root


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images of 20 x 24 pixels (height, width), and one of another size."""
    for seed, name in enumerate(("source", "one", "two")):
        save_noise(tmp_path / f"{name}.png", seed)
    save_noise(tmp_path / "small.png", 4, (20, 20))
    return tmp_path


def look(images: Path, *more: object, source: str = "source.png") -> Outcome:
    return run("evaluate.py", "structure", "--source", images / source, "--out", images / "out", *RANDOM, *more)


def says(outcome: Outcome, *words: object) -> None:
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    for word in words:
        assert str(word) in outcome.err, outcome.err


def test_maps_of_every_measure_and_candidate_and_their_means(images: Path, trained: Path) -> None:
    outcome = look(images, "--candidates", images / "one.png", images / "source.png", "--labels", "other", "same",
                   "--heads", trained / "lsesim")
    assert (outcome.code, outcome.err) == (0, "")
    arrays = np.load(images / "out" / "errors.npz")
    scores = json.loads((images / "out" / "errors.json").read_text(encoding="utf-8"))
    measures = ("perceptual", "patchnce", "fsesim", "fsesim_norm", "lsesim", "lsesim_norm")
    keys = ["pixel", *(f"{name}_{layer}" for name in measures for layer in ("relu1_2", "relu2_1"))]
    assert list(arrays) == list(scores["mean_errors"]) == keys
    assert [arrays[key].shape for key in ("pixel", "fsesim_relu1_2", "lsesim_relu2_1")] == [
        (2, 20, 24), (2, 20, 24), (2, 10, 12)]
    for key in keys:
        other, same = arrays[key].mean(axis=(1, 2))
        assert scores["mean_errors"][key] == pytest.approx([other, same], abs=1e-6)
        assert other > 0.01
        assert abs(same) < 1e-5, key
    assert scores["labels"] == ["other", "same"]
    assert len(scores["heads_sha256"]) == 64
    assert (scores["patch_size"], scores["vgg_weights"]) == (4, "random")
    assert f"{scores['mean_errors']['pixel'][0]:.4g}" in outcome.out
    width, height = Image.open(images / "out" / "errors.png").size
    assert height > 3 * width > 600


def test_points_get_maps_on_every_image(images: Path, trained: Path) -> None:
    outcome = look(images, "--points", "0,0", "23,19", "--candidates", images / "one.png", "--heads",
                   trained / "lsesim", "--patch_size", "64")
    assert (outcome.code, outcome.err) == (0, "")
    arrays = np.load(images / "out" / "points.npz")
    assert {key: of.shape for key, of in arrays.items()} == {
        f"{name}_{layer}": (2, 2, *size) for name in ("fsesim", "fsesim_norm", "lsesim", "lsesim_norm")
        for layer, size in (("relu1_2", (20, 24)), ("relu2_1", (10, 12)))}
    cosine = arrays["fsesim_norm_relu2_1"]  # the last point lies in the last feature
    np.testing.assert_allclose([cosine[0, :, 0, 0], cosine[1, :, 9, 11]], 1, atol=1e-5)
    assert Image.open(images / "out" / "points.png").size[0] > 500
    assert (images / "out" / "errors.png").exists()
    assert outcome.out.splitlines()[-2:] == [str(images / "out" / name) for name in ("errors.png", "points.png")]


def test_the_titles_over_the_columns_are_whole(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    image, of = torch.zeros(3, 32, 32), torch.rand(8, 8)
    save_figure(similarity_grid([(label, image, (16, 16), {f"FSeSim\n{layer}": of for layer in "abcd"})
                                 for label in ("source", "one")]), tmp_path / "points.png")
    pixels = np.asarray(Image.open(tmp_path / "points.png").convert("L"))
    assert (pixels[:5] == 255).all(), "a title reaches the upper edge"
    assert (pixels[:25] < 128).any(), "there is no title"


def test_a_single_point_needs_no_candidate_and_its_window_ends_the_map(images: Path) -> None:
    outcome = look(images, "--point", "12,0", "--patch_size", "5", "--measures", "fsesim")
    assert (outcome.code, outcome.err) == (0, "")
    of = np.load(images / "out" / "points.npz")["fsesim_relu1_2"]
    assert of.shape == (1, 1, 20, 24)
    assert np.isfinite(of[0, 0, :5, 10:15]).all()
    assert np.isfinite(of).sum() == 25
    assert not (images / "out" / "errors.png").exists()


def test_heads_bring_their_layers_and_weights_and_a_network_that_has_learned(images: Path, trained: Path) -> None:
    plain, learned = (Comparison(heads=load_heads(trained / name)) for name in ("lsesim", "vgg"))
    assert plain.layers == learned.layers == ("relu1_2", "relu2_1")
    assert (plain.weights, plain.patch_size) == ("random", 4)
    image = read_image(images / "one.png")
    fixed, moved = plain.look(image), learned.look(image)
    for index, head in enumerate(plain.modules):
        torch.testing.assert_close(fixed.learned[index], head(fixed.features[index]))
        torch.testing.assert_close(fixed.features[index], moved.features[index])
        assert not torch.allclose(moved.learned[index], learned.modules[index](moved.features[index]))
    one = Comparison(["2"], heads=load_heads(trained / "vgg"))
    torch.testing.assert_close(one.look(image).learned[0], moved.learned[1])


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for index in range(3):
        picture = Image.open(save_noise(tmp_path / "A" / f"{index}.png", index))
        (tmp_path / "B").mkdir(exist_ok=True)
        Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.2).save(tmp_path / "B" / f"{index}.png")
        save_noise(tmp_path / "C" / f"{index}.png", 10 + index)
    return tmp_path


def pairs(folders: Path, *more: object) -> Outcome:
    return run("evaluate.py", "structure", "--sources", folders / "A", "--aligned", folders / "B", "--out",
               folders / "out", *RANDOM, *more)


@pytest.mark.parametrize("unaligned", ["shuffle", "C"])
def test_folders_give_ratios_with_what_they_depend_on(folders: Path, unaligned: str, trained: Path) -> None:
    flags = () if unaligned == "shuffle" else ("--unaligned", folders / unaligned)
    outcome = pairs(folders, *flags, "--heads", trained / "lsesim")
    assert (outcome.code, outcome.err) == (0, "")
    scores = json.loads((folders / "out" / "pairs.json").read_text(encoding="utf-8"))
    assert scores["pairs"] == 3
    assert scores["feature_layers"] == ["relu1_2", "relu2_1"]
    for key, of in scores["errors"].items():
        assert of["ratio"] == pytest.approx(of["unaligned"] / of["aligned"])
        assert of["ratio"] > 1, key
        assert of["ratio_low"] <= of["ratio"] <= of["ratio_high"]
    one, other = (read_image(folders / name / "0.png") for name in "AB")
    *lines, place = outcome.out.splitlines()
    assert len(lines) == 1 + len(scores["errors"])
    assert place == str(folders / "out" / "pairs.json")
    alone = json.loads((folders / "out" / "pairs.json").read_text(encoding="utf-8")) if pairs(
        folders, "--unaligned", folders / "C", "--limit", "1").code == 0 else {}
    assert alone["errors"]["pixel"]["aligned"] == pytest.approx((one - other).abs().mean().item() / 2, rel=1e-5)
    assert alone["errors"]["pixel"]["separation"] is None  # no spread of a single pair


@pytest.mark.parametrize(("flags", "words"), [
    ((), ("--candidates", "--point")),
    (("--candidates", "small.png"), ("small.png", "20x20", "20x24", "make them alike")),
    (("--candidates", "none.png"), ("none.png", "no such file")),
    (("--candidates", "one.png", "--labels", "a", "b"), ("--labels", "2 of 1")),
    (("--points", "24,0"), ("--point 24,0", "outside", "23,19")),
    (("--points", "0,20", "--candidates", "one.png"), ("--point 0,20", "outside", "23,19")),
    (("--points", "3;4"), ("X,Y",)),
    (("--points", "3,4", "--measures", "pixel"), ("self-similarity",)),
    (("--points", "3,4", "--layers", "relu9_9"), ("--layers", "relu9_9")),
    (("--points", "3,4", "--layers", "1,relu1_2"), ("--layers", "twice")),
    (("--points", "3,4", "--measures", "fid"), ("--measures", "'fid'", "fsesim")),
    (("--points", "3,4", "--measures", "lsesim"), ("--measures lsesim", "--heads")),
    (("--points", "3,4", "--layers", "relu5_1", "--vgg_weights", "bundled"), ("relu5_1",)),
    (("--points", "3,4", "--aligned", "x"), ("--aligned",)),
    (("--points", "3,4", "--sources", "x"), ("either",)),
    (("--points", "3,4", "--heads", "nowhere"), ("--heads", "nowhere", "--learned_attn")),
])
def test_odd_requests_end_with_a_sentence(images: Path, flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    arguments = [images / flag if flag.endswith(".png") else flag for flag in flags]
    outcome = look(images, *arguments)
    assert outcome.code == 2, outcome
    for word in words:
        assert word in outcome.err, outcome.err
    assert not (images / "out").exists()


def test_heads_that_are_missing_are_named(images: Path, trained: Path) -> None:
    says(look(images, "--points", "3,4", "--heads", trained / "fsesim"), "fsesim", "no heads of LSeSim")
    says(look(images, "--points", "3,4", "--heads", trained / "lsesim", "--layers", "0"), "relu1_1", "relu1_2, relu2_1")
    says(look(images, "--points", "3,4", "--heads", trained / "lsesim", "--epoch", "7"), "7_state.pth")


def test_an_image_too_small_for_the_layer_is_named(images: Path) -> None:
    save_noise(images / "tiny.png", 0, (5, 5))
    says(look(images, "--points", "3,4", "--layers", "relu4_1", source="tiny.png"), "tiny.png", "relu4_1")


def test_folders_without_pairs_end_with_a_sentence(folders: Path) -> None:
    says(pairs(folders, "--limit", "1"), "shuffle", "two pairs")
    says(pairs(folders, "--candidates", folders / "A" / "0.png"), "--candidates")
    says(run("evaluate.py", "structure", "--sources", folders / "A", "--out", folders / "out"), "--aligned")
    (folders / "B" / "1.png").unlink()
    says(pairs(folders), "--aligned", "1.png", "no partner")
    shutil.rmtree(folders / "B")
    says(pairs(folders), "--aligned", "B")
    (folders / "B").mkdir()
    says(pairs(folders), "--aligned", "no images")
