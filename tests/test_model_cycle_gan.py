"""CycleGAN: its losses from their definition, its file names, and structure in the place of its cycles."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from PIL import Image
from steps import batch, build_model
from tiny import LOSSES, NETWORKS, SIZES, save_folders, train_options, train_step, translate_options
from torch import Tensor

import test as translation
from models.cycle_gan import CycleFlags, CycleModel
from models.structure_flags import StructureFlags
from options import TrainFlags
from spatial_correlative import self_similarity, structure_distance
from train import train
from util.errors import UserError

LINEAR = ("--lambda_A 3 --lambda_B 5 --lambda_identity 0.25", "--lambda_A 0 --lambda_B 2 --lambda_identity 1",
          "--lambda_A 3 --lambda_B 5 --lambda_identity 0")


def build(root: Path, flags: str) -> CycleModel:
    return build_model(root, f"--model cycle_gan {flags}", defaults=(NETWORKS, SIZES, "--init_gain 0.5"))


def distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().sum() / first.numel())


@pytest.mark.parametrize("flags", LINEAR)
def test_the_losses_are_those_of_the_definition(tmp_path: Path, flags: str) -> None:
    model = build(tmp_path, flags)
    weights, images = model.cycle, batch(1, 2)
    g_a, g_b, d_a, d_b = (copy.deepcopy(model.networks[name]) for name in ("G_A", "G_B", "D_A", "D_B"))
    losses = train_step(model, [images])
    with torch.no_grad():
        a, b = images["A"], images["B"]
        fake_b, fake_a = g_a(a), g_b(b)
        expected = {
            "D_A_real": float((d_a(b) - 1).square().mean()), "D_A_fake": float(d_a(fake_b).square().mean()),
            "D_B_real": float((d_b(a) - 1).square().mean()), "D_B_fake": float(d_b(fake_a).square().mean()),
            "G_cycle_A": weights.lambda_A * distance(g_b(fake_b), a),
            "G_cycle_B": weights.lambda_B * distance(g_a(fake_a), b),
            "G_idt_A": weights.lambda_identity * weights.lambda_B * distance(g_a(b), b),
            "G_idt_B": weights.lambda_identity * weights.lambda_A * distance(g_b(a), a),
            # the discriminators have taken their step before
            "G_GAN_A": float((model.networks["D_A"](fake_b) - 1).square().mean()),
            "G_GAN_B": float((model.networks["D_B"](fake_a) - 1).square().mean()),
        }
    expected = {name: value for name, value in expected.items() if value}
    assert set(losses) == {*expected, "G"}
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name
    assert losses["G"].item() == pytest.approx(sum(v for k, v in expected.items() if k.startswith("G_")), rel=1e-4)


@pytest.mark.parametrize("kind", ["fsesim", "lsesim"])
def test_structure_takes_the_place_of_the_cycles_in_both_directions(tmp_path: Path, kind: str) -> None:
    flags = f"--structure {kind} --attn_layers relu1_2,relu2_1 --vgg_weights random --patch_nums -1 --lambda_spatial 7"
    model = build(tmp_path, f"{flags} {'--augment' * (kind == 'lsesim')}")
    images = batch(1, 2)
    with torch.no_grad():
        fakes = {"A": model.networks["G_A"](images["A"]), "B": model.networks["G_B"](images["B"])}
    losses = train_step(model, [images])
    assert not {name for name in losses if "cycle" in name}
    assert ("F_contrastive" in losses) == (kind == "lsesim")
    for name, fake in fakes.items():
        of = []
        for position, (source, target) in enumerate(zip(model.structure.vgg(images[name]), model.structure.vgg(fake),
                                                        strict=True)):
            head = model.structure.loss.heads[position] if kind == "lsesim" else torch.nn.Identity()  # after its step
            maps = [self_similarity(head(features), patch_size=64) for features in (source, target)]
            of.append(structure_distance(*maps))
        expected = 7 * float(sum(of)) / len(of)
        assert losses[f"G_spatial_{name}"].item() == pytest.approx(expected, rel=1e-3), name


def test_each_direction_has_its_own_image_pool(tmp_path: Path) -> None:
    model = build(tmp_path, "--pool_size 5")
    train_step(model, [batch(1, 2)])
    assert set(model.memory) == {"pool_A", "pool_B"}
    contents = [torch.stack(model.memory[name].state_dict()["images"]) for name in ("pool_A", "pool_B")]
    assert torch.equal(contents[0], model.images["fake_B"].detach())
    assert torch.equal(contents[1], model.images["fake_A"].detach())


def test_domains_may_differ_in_channels(tmp_path: Path) -> None:
    model = build(tmp_path, "--output_nc 1 --lambda_identity 0")
    train_step(model, [batch(count=2, channels=(3, 1))])
    assert model.visuals()["fake_B"].shape == model.visuals()["rec_B"].shape == (2, 1, 16, 16)
    assert model.visuals()["fake_A"].shape == model.visuals()["rec_A"].shape == (2, 3, 16, 16)


def test_both_generators_translate_from_the_published_files(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(2, 2))
    train(train_options(root, "--model cycle_gan --no_html --max_iters 1", defaults=(NETWORKS, SIZES)))
    folder = root / "checkpoints" / "experiment_name"
    assert {f"latest_net_{name}.pth" for name in ("G_A", "G_B", "D_A", "D_B")} == {
        path.name for path in folder.glob("*_net_*")}
    save_folders(tmp_path, "test", counts=(1, 1))
    pictures = []
    for flags in (f"--dataroot {root} --model cycle_gan", f"--dataroot {root / 'testA'} --model_suffix _A",
                  f"--dataroot {root / 'testA'} --model_suffix _B"):
        results = tmp_path / str(len(pictures))
        translation.translate(translate_options(root, root, f"{flags} --results_dir {results}"))
        (path,) = results.glob("*/*/images/fake_B/*.png")
        pictures.append(Image.open(path).tobytes())
    assert pictures[0] == pictures[1], "--model test --model_suffix _A is the same generator"
    assert pictures[0] != pictures[2], "--model_suffix _B is the other direction's"


def test_the_direction_at_test_chooses_the_half(tmp_path: Path) -> None:
    """In domains of different channels, trained in either direction; as --model test with that half does."""
    root = save_folders(save_folders(tmp_path), "test", counts=(1, 1))
    flags = "--model cycle_gan --no_html --max_iters 1 --input_nc 1 --lambda_identity 0 --direction BtoA"
    train(train_options(root, flags, defaults=(NETWORKS, SIZES)))
    pictures = {}
    for name, flags in {
        "trained": "--model cycle_gan", "typed": "--model cycle_gan --direction BtoA", "_A": "--model_suffix _A",
        "back": "--model cycle_gan --direction AtoB --input_nc 3 --output_nc 1",
        "_B": "--model_suffix _B --direction AtoB --input_nc 3 --output_nc 1"}.items():
        mode = "" if "cycle_gan" in flags else "--dataset_mode unaligned"
        results = tmp_path / name
        translation.translate(translate_options(root, root, f"{flags} {mode} --results_dir {results}"))
        (path,) = results.glob("*/*/images/fake_B/*.png")
        pictures[name] = Image.open(path)
        assert path.parts[-4] == "test_latest" + {"_A": "_A", "_B": "_B", "back": "_B"}.get(name, "")
    assert pictures["trained"].tobytes() == pictures["typed"].tobytes() == pictures["_A"].tobytes()
    assert pictures["back"].tobytes() == pictures["_B"].tobytes() != pictures["trained"].tobytes()


@pytest.mark.parametrize(("flags", "message"), [
    ("--model cycle_gan --direction BtoA", "--direction BtoA is the way back .*: add --input_nc 3 --output_nc 1"),
    ("--dataset_mode unaligned --model_suffix _B", "_B translates the images of --direction BtoA: add that"),
    ("--dataset_mode unaligned --model_suffix _A --direction BtoA", "_A translates the images of --direction AtoB"),
])
def test_a_direction_that_does_not_fit_the_half_is_refused(tmp_path: Path, flags: str, message: str) -> None:
    trained = train_options(tmp_path, "--model cycle_gan --input_nc 1 --lambda_identity 0", defaults=(NETWORKS, SIZES))
    trained.save(tmp_path / "checkpoints" / "experiment_name", "train_opt")
    with pytest.raises(UserError, match=message):
        translate_options(tmp_path, tmp_path, flags)


@pytest.mark.parametrize(("flags", "message"), [
    ("--learned_attn", "--learned_attn and --structure none contradict"),
    ("--learned_attn --structure fsesim", "--learned_attn and --structure fsesim contradict"),
    ("--learned_attn false --structure lsesim", "--learned_attn and --structure lsesim contradict"),
    ("--structure fsesim --attn_layers relu9_1", "--attn_layers"),
    ("--output_nc 1", "--lambda_identity"),
    ("--gan_mode wgangp", "--model cycle_gan"),
    ("--dataset_mode single", "no images of the target domain"),
])
def test_flags_that_contradict_each_other_are_refused(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_options(tmp_path, f"--model cycle_gan {flags}", defaults=(NETWORKS, SIZES))


def test_the_defaults_are_the_published_ones(tmp_path: Path) -> None:
    options = train_options(tmp_path, "--model cycle_gan --structure lsesim", defaults=(NETWORKS, LOSSES, SIZES))
    assert options[CycleFlags] == CycleFlags(lambda_A=10, lambda_B=10, lambda_identity=0.5, structure="lsesim")
    assert (options[TrainFlags].lr, options[TrainFlags].pool_size, options[TrainFlags].gan_mode) == (2e-4, 50, "lsgan")
    assert options[StructureFlags].learned_attn
