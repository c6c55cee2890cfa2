"""--mask_A: where a mask is black, the output is the input, bit for bit, in training and in translations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import run
from PIL import Image
from steps import batch, build_model
from test_data_datasets import dataset, sample_of
from tiny import METHODS, NETWORKS, SIZES, save_folders, save_noise, train_options, train_step, translate_options
from torch import Tensor

import test as translation
from inference import load
from models import MODELS
from models.structure import positions_in
from options import TEST
from train import train
from training.samples import FixedSamples
from util.errors import UserError

MASKED = ["FSeSim", "LSeSim", "CycleGAN", "CycleGAN with LSeSim", "GcGAN", "GcGAN with LSeSim", "CUT", "FastCUT",
          "single-image FSeSim", "SinCUT", "DistanceGAN", "DistanceGAN of halves with LSeSim"]
LEFT = torch.arange(16).view(1, 1, 1, 16).expand(2, 1, 16, 16) < 7
"""White on the left."""


def save_masks(root: Path, folder: Path, seed: int = 0) -> Path:
    """Save a mask of large blocks for each image of ``root``."""
    for number, image in enumerate(sorted(root.glob("*.png"))):
        width, height = Image.open(image).size
        blocks = np.random.default_rng(seed + number).integers(0, 2, (height // 5, width // 6)).astype(np.uint8)
        (folder / image.name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 * blocks).resize((width, height), Image.Resampling.NEAREST).save(folder / image.name)
    return folder


def build(root: Path, method: str, flags: str = "") -> Any:
    return build_model(root, flags, defaults=(NETWORKS, SIZES, METHODS[method]))


@pytest.mark.parametrize(("flags", "exact"), [
    ("--preprocess crop --crop_size 16", True), ("--preprocess none --batch_size 1", True),
    ("--preprocess none --dataset_mode aligned", True), ("--load_size 40 --crop_size 30", False),
    ("--preprocess zoom_and_patch --load_size 40 --crop_size 12", False),
])
@pytest.mark.parametrize("cache", ["", "--cache ram"])
def test_a_mask_is_scaled_cropped_and_flipped_with_its_image(
    tmp_path: Path, flags: str, exact: bool, cache: str
) -> None:
    """Each image of A is its own mask."""
    save_folders(tmp_path, counts=(3, 3))
    save_masks(tmp_path / "trainA", tmp_path / "trainA")
    data = dataset(tmp_path, f"{flags} {cache} --mask_A {tmp_path / 'trainA'}")
    if cache:
        data.cache = [data.read(item) for item in range(data.items)]
    seen = set()
    for seed in range(8):
        sample = sample_of(data, seed, seed)
        mask = sample["A_mask"]
        assert (mask.dtype, mask.shape) == (torch.bool, (1, *sample["A"].shape[1:]))
        agree = (mask == (sample["A"][:1] > 0)).float().mean().item()
        assert agree == 1 if exact else agree > 0.9
        seen.add(mask.numpy().tobytes())
    assert len(seen) > 2


def test_masks_come_from_a_folder_of_the_name_of_the_images_or_from_the_folder_itself(tmp_path: Path) -> None:
    root = save_folders(save_folders(tmp_path / "data"), "test")
    masks = tmp_path / "masks"
    for phase in ("train", "test"):
        save_masks(root / f"{phase}A", masks / f"{phase}A", seed=len(phase))
    inner, flat = (dataset(root, f"--mask_A {folder}") for folder in (masks, masks / "trainA"))
    assert inner.masks == flat.masks == {
        path: masks / "trainA" / path.name for path in (root / "trainA").iterdir()}
    assert dataset(root, f"--mask_A {masks} --model test", TEST).masks.keys() == set((root / "testA").iterdir())


@pytest.mark.parametrize(("flags", "message"), [
    ("--mask_A nowhere", "--mask_A: there is no folder nowhere"),
    ("--mask_A {masks}", r"--mask_A: 1 image without a mask of the same name in .*masks: .*trainA/2.png; add the"),
    ("--mask_A {masks} --output_nc 1", "--mask_A keeps parts of the input in the output: it needs --input_nc equal"),
])
def test_masks_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path, flags: str, message: str) -> None:
    save_folders(tmp_path)
    save_masks(tmp_path / "trainA", tmp_path / "masks")
    (tmp_path / "masks/2.png").unlink()
    with pytest.raises(UserError, match=message):
        dataset(tmp_path, flags.format(masks=tmp_path / "masks"))


def test_a_mask_of_another_size_is_one_sentence_and_an_unreadable_one_is_replaced(tmp_path: Path) -> None:
    save_folders(tmp_path)
    masks = save_masks(tmp_path / "trainA", tmp_path / "masks")
    Image.new("L", (5, 4)).save(masks / "0.png")
    (masks / "1.png").write_bytes(b"no image")
    data = dataset(tmp_path, f"--mask_A {masks}")
    with pytest.raises(UserError, match=r"0.png is 5x4 and .*trainA/0.png is 24x20; scale the mask"):
        sample_of(data, 0, 0)
    assert sample_of(data, 1, 0)["A_paths"].endswith("2.png")
    assert "masks/1.png" in data.unreadable[1]


def test_masks_with_transparent_pixels_are_refused_since_they_would_count_as_white(tmp_path: Path) -> None:
    save_folders(tmp_path)
    masks = save_masks(tmp_path / "trainA", tmp_path / "masks")
    Image.new("LA", (24, 20), (255, 255)).save(masks / "0.png")
    Image.new("LA", (24, 20), (255, 0)).save(masks / "1.png")
    data = dataset(tmp_path, f"--mask_A {masks}")
    assert sample_of(data, 0, 0)["A_mask"].all()
    with pytest.raises(UserError, match=r"--mask_A: .*masks/1.png has transparent pixels"):
        sample_of(data, 1, 0)


@pytest.mark.parametrize("method", ["MUNIT", "plain MUNIT", "UNSB", "pix2pix"])
def test_other_models_refuse_masks_in_one_sentence(tmp_path: Path, method: str) -> None:
    with pytest.raises(UserError, match=r"--mask_A: --model \w+ does not train with masks; leave it out"):
        build(tmp_path, method, "--mask_A masks")


@pytest.mark.parametrize("method", MASKED)
def test_the_discriminator_sees_composites_and_only_the_white_part_learns(tmp_path: Path, method: str) -> None:
    model = build(tmp_path, method, "--pool_size 0")
    generator = model.networks["G_A" if "Cycle" in method else "G"]
    made: list[Tensor] = []
    seen: list[Tensor] = []

    def keep(_: Any, __: Any, output: Tensor | list[Tensor]) -> None:
        first = output[0] if isinstance(output, list) else output
        if first.requires_grad and first.shape[-3:] == (3, 16, 16):
            first.retain_grad()
            made.append(first)

    generator.register_forward_hook(keep)
    model.networks["D_A" if "Cycle" in method else "D"].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].detach().clone()))
    images = batch(count=2)
    losses = train_step(model, [images | {"A_mask": LEFT}])
    fake_B = model.images["fake_B"]
    white = LEFT.expand_as(fake_B)
    assert torch.equal(fake_B[~white], images["A"][~white])
    assert not torch.equal(fake_B[white], images["A"][white])
    assert any(torch.equal(image, fake_B.detach()) for image in seen), "no composite was judged"
    assert losses["G"].isfinite()
    gradient = made[0].grad[:2]  # of CUT, also the translations of B
    flipped = "FastCUT" in method and not torch.equal(made[0][:2][white], fake_B[white])
    outside = gradient[~(white.flip(3) if flipped else white)]
    assert torch.equal(outside, torch.zeros_like(outside))
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("method", ["CUT", "FastCUT", "GcGAN"])
def test_images_of_sides_that_the_generator_pads_are_composed_too(tmp_path: Path, method: str) -> None:
    model = build(tmp_path, method)
    images = batch(size_a=(18, 22), size_b=(18, 22))
    mask = torch.rand(1, 1, 18, 22) < 0.5
    for _ in range(3):  # FastCUT flips some
        train_step(model, [images | {"A_mask": mask}])
        kept = ~mask.expand(1, 3, -1, -1)
        assert torch.equal(model.images["fake_B"][kept], images["A"][kept])


def test_a_white_mask_changes_nothing_but_the_queries(tmp_path: Path) -> None:
    images, found = batch(count=2), []
    for mask in ({}, {"A_mask": torch.ones(2, 1, 16, 16, dtype=torch.bool)}):
        model = build(tmp_path, "FSeSim", "--patch_nums inf")
        torch.manual_seed(0)
        found.append(train_step(model, [images | mask]))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_cycles_are_composed_too(tmp_path: Path) -> None:
    model, images = build(tmp_path, "CycleGAN"), batch(count=2)
    train_step(model, [images | {"A_mask": LEFT}])
    kept = ~LEFT.expand(2, 3, 16, 16)
    assert torch.equal(model.images["rec_A"][kept], images["A"][kept])
    assert not torch.equal(model.images["fake_A"][kept], images["B"][kept])


def test_queries_are_drawn_in_proportion_to_the_mask() -> None:
    mask = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    mask[0, 0, :2, :4] = True  # two cells of a map of 4x4
    mask[1, 0, :2, :2], mask[1, 0, 2, 2] = True, True  # a whole cell, and a quarter of another; none in the third image
    torch.manual_seed(0)
    drawn = torch.cat([positions_in(mask, 4, 4, 16) for _ in range(500)], dim=1)
    shares = torch.stack([torch.bincount(row, minlength=16) / len(row) for row in drawn])
    expected = torch.zeros(3, 16)
    expected[0, :2], expected[1, 0], expected[1, 5], expected[2] = 0.5, 0.8, 0.2, 1 / 16
    torch.testing.assert_close(shares, expected, atol=0.02, rtol=0)
    assert torch.equal(shares > 0, expected > 0)
    assert positions_in(mask, 4, 4, 99).shape == (3, 16)


@pytest.mark.parametrize("flags", ["", "--loss_mode info"])
def test_the_structure_loss_asks_at_white_positions(tmp_path: Path, flags: str) -> None:
    model = build(tmp_path, "FSeSim", flags)
    asked: list[Tensor] = []
    maps = model.structure.loss.maps
    model.structure.loss.maps = lambda features, positions: (asked.extend(positions), maps(features, positions))[1]
    train_step(model, [batch(count=2) | {"A_mask": LEFT}])
    assert {tuple(of.shape) for of in asked} == {(2, 8)}
    sides = [16, 8] * (3 if flags else 2)
    assert all((positions % side <= side * 7 / 16).all() for positions, side in zip(asked, sides, strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with masks in ``masks``, of images in ``data``."""
    place = tmp_path_factory.mktemp("masked")
    root = save_folders(save_folders(place / "data", counts=(2, 2)), "test", (4, 4))
    for domain in "AB":
        save_noise(root / f"test{domain}/large.png", 9, size=(30, 20))
    for phase in ("train", "test"):
        save_masks(root / f"{phase}A", place / f"masks/{phase}A")
    train(train_options(root, f"--mask_A {place / 'masks'} --seed 1 --no_html --max_iters 1"))
    return place


def black_part(place: Path, name: str) -> Any:
    black = np.array(Image.open(place / "masks/testA" / name)) == 0
    assert 0 < black.mean() < 1
    return black


@pytest.mark.parametrize("flags", ["--batch_size 2", "--dataset_mode aligned", "--tile 16 --tile_overlap 4"])
def test_translations_of_test_py_keep_the_black_part(trained: Path, tmp_path: Path, flags: str) -> None:
    root = trained / "data"
    translation.translate(translate_options(root, root, f"--model sc --scores none --results_dir {tmp_path} {flags}"))
    outputs = sorted(tmp_path.glob("*/*/images/fake_B/*.png"))
    assert len(outputs) == 5
    for path in outputs:
        black = black_part(trained, path.name)
        made, given = (np.array(Image.open(of)) for of in (path, root / "testA" / path.name))
        assert np.array_equal(made[black], given[black])
        assert not np.array_equal(made[~black], given[~black])


def test_test_py_translates_whole_images_without_masks(trained: Path, tmp_path: Path) -> None:
    root = trained / "data"
    translation.translate(translate_options(
        root / "testA/0.png", root, f"--mask_A none --scores none --results_dir {tmp_path}"))
    made = np.array(Image.open(next(tmp_path.glob("*/*/images/fake_B/0.png"))))
    black, given = black_part(trained, "0.png"), np.array(Image.open(root / "testA/0.png"))
    assert not np.array_equal(made[black], given[black])
    with pytest.raises(UserError, match=r"--mask_A: 1 image without a mask .*type --mask_A none to translate whole"):
        translation.translate(translate_options(save_noise(tmp_path / "new.png", 1), root))


def test_a_translator_takes_masks_of_any_kind(trained: Path) -> None:
    translator = load(trained / "data/checkpoints/experiment_name", device="-1")
    image = Image.open(trained / "data/testA/2.png").convert("RGB")
    path = trained / "masks/testA/2.png"
    mask, black, whole = np.array(Image.open(path)), black_part(trained, "2.png"), np.array(translator(image))
    for form in (path, Image.open(path), mask, mask > 0, mask.astype(">u2"), mask[::-1].copy()[::-1],
                 torch.from_numpy(mask / 255)):
        made = np.array(translator(image, mask=form))
        assert np.array_equal(made[black], np.array(image)[black])
        assert np.array_equal(made[~black], whole[~black])
    first, second = translator([image, image], mask=[mask, np.ones((20, 24))])
    assert np.array_equal(np.array(first)[black], np.array(image)[black])
    assert np.array_equal(np.array(second), whole)


@pytest.mark.parametrize(("images", "mask", "error"), [
    (1, Image.new("LA", (24, 20), (255, 0)), ValueError),
    (1, np.zeros((3, 4)), ValueError), (1, 3, TypeError), (2, [np.zeros((20, 24))], ValueError),
    (2, np.zeros((20, 24)), TypeError),
])
def test_masks_that_do_not_fit_their_images_are_refused(
    trained: Path, images: int, mask: Any, error: type[Exception]
) -> None:
    image = Image.open(trained / "data/testA/2.png")
    with pytest.raises(error, match="mask"):
        load(trained / "data/checkpoints/experiment_name", device="-1")(
            image if images == 1 else [image] * images, mask=mask)


def test_samples_of_a_training_keep_the_black_part(tmp_path: Path) -> None:
    save_folders(tmp_path)
    masks = save_masks(tmp_path / "trainA", tmp_path / "masks")
    options = train_options(tmp_path, f"--mask_A {masks} --preprocess none --sample_images 2",
                            defaults=(NETWORKS, METHODS["FSeSim"], SIZES))
    samples = FixedSamples(options, MODELS["sc"](options, training=True), torch.device("cpu"), print)
    drawn = samples.draw()
    for name in samples.samples:
        black = torch.from_numpy(np.array(Image.open(masks / f"{name}.png"))) == 0
        made, given = (drawn[f"samples/{name}/{label}"] for label in ("output", "input"))
        assert torch.equal(made[:, black], given[:, black])
        assert not torch.equal(made[:, ~black], given[:, ~black])


def test_data_check_looks_at_masks(tmp_path: Path) -> None:
    root = save_folders(tmp_path / "data")
    masks = save_masks(root / "trainA", tmp_path / "masks")
    assert run("data.check", root, "--mask_A", masks).code == 0
    Image.new("L", (24, 20)).save(masks / "0.png")
    outcome = run("data.check", root, "--mask_A", masks)
    assert outcome.code == 0
    assert "note: masks of trainA without white (1): 0.png\n" in outcome.out
    Image.new("L", (9, 9)).save(masks / "1.png")
    outcome = run("data.check", root, "--mask_A", masks)
    assert outcome.code == 2
    assert "problem: masks of trainA (1): --mask_A: a mask has the size of its image, but" in outcome.out
    (masks / "1.png").unlink()
    assert "without a mask of the same name" in run("data.check", root, "--mask_A", masks).out
    save_masks(root / "trainB", tmp_path / "of_b/trainB")
    assert run("data.check", root, "--mask_A", tmp_path / "of_b").code == 0  # for --direction BtoA
