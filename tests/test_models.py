"""Tests of all models. To include a new model, add a line to `tiny.METHODS`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from states import content, differing
from steps import assert_learned, batch, build_model, checked_steps, weights
from tiny import METHODS, NETWORKS, SIZES, images_for, train_options, train_step, translate_options
from torch import Tensor

import test as translation
from models import MODELS, Model
from models.networks.equalized import EqualConv2d, EqualLinear
from options import Options, RunFlags
from train import train

EVERY = pytest.mark.parametrize("method", METHODS)
OTHERS = ("CycleGAN with FSeSim", "GcGAN with LSeSim", "DistanceGAN of halves with LSeSim", "single-image FSeSim",
          "FastCUT", "CUT with MoNCE", "CUT with SRC and QS-Attn", "UNSB with LSeSim")
MAIN = pytest.mark.parametrize("method", [
    pytest.param(method, marks=pytest.mark.slow if method in OTHERS else []) for method in METHODS])
"""Every model, with and without heads; the other methods have losses of their own, and the same networks and state."""


def options_of(root: Path, method: str, flags: str = "") -> Options:
    return train_options(root, flags, defaults=(NETWORKS, SIZES, METHODS[method]))


def build(root: Path, method: str, flags: str = "") -> Model:
    return build_model(root, flags, defaults=(NETWORKS, SIZES, METHODS[method]))


def test_every_model_that_trains_takes_part(tmp_path: Path) -> None:
    assert {options_of(tmp_path, method)[RunFlags].model for method in METHODS} == set(MODELS) - {"test"}


@EVERY
def test_a_step_trains_every_network(tmp_path: Path, method: str) -> None:
    model = build(tmp_path, method)
    checked_steps(model, batch(count=2))
    assert set(model.published) <= set(model.networks)
    visuals = model.visuals()
    assert {"real_A", "fake_B", "real_B"} <= set(visuals)
    assert not any(image.requires_grad for image in visuals.values())


@pytest.mark.parametrize("method", ["FSeSim", "CycleGAN", "CUT", "FastCUT", "MUNIT", "single-image FSeSim"])
def test_with_a_pool_the_discriminator_is_shown_older_translations(tmp_path: Path, method: str) -> None:
    model = build(tmp_path, method, "--pool_size 1")
    judged: list[Tensor] = []
    for name, network in model.networks.items():
        if name.startswith("D"):
            network.register_forward_pre_hook(lambda _, inputs: judged.append(inputs[0].detach()))
    translations: list[Tensor] = []
    for seed in range(8):
        train_step(model, [batch(seed)])
        if any(torch.equal(old, image) for old in translations for image in judged):
            return
        translations.append(model.images["fake_B"].detach())
        judged.clear()
    pytest.fail("in eight steps no translation of an earlier step was judged")


@MAIN
def test_greyscale_images(tmp_path: Path, method: str) -> None:
    model = build(tmp_path, method, "--input_nc 1 --output_nc 1")
    checked_steps(model, batch(count=2, channels=(1, 1)))
    assert model.visuals()["fake_B"].shape == (2, 1, 16, 16)


@MAIN
def test_images_of_many_channels(tmp_path: Path, method: str) -> None:
    same = "CUT" in method or "UNSB" in method  # they pass translations to G as they do inputs
    channels = (4, 4) if same else (5, 3)
    has_identity = not same and not method.startswith(("pix2pix", "plain MUNIT", "DistanceGAN"))
    identity = "--lambda_identity 0" if has_identity else ""
    model = build(tmp_path, method, f"--input_nc {channels[0]} --output_nc {channels[1]} --rgb_bands 4,2,1 "
                  f"--diff_augment color,translation {identity}")
    images = batch(count=2, channels=channels)
    checked_steps(model, images)
    assert torch.equal(model.visuals()["real_A"], images["A"][:, [3, 1, 0]])
    assert all(image.shape[1] == 3 for image in (model.visuals() | model.drawn(model.images)).values())


@MAIN
def test_half_precision_is_for_networks_and_not_for_losses(tmp_path: Path, method: str) -> None:
    exact, half = build(tmp_path, method, "--init_gain 0.5"), build(tmp_path, method, "--init_gain 0.5 --amp bf16")
    computed: dict[str, set[torch.dtype]] = {}
    networks = {**half.networks, **half.constants}
    for name, network in networks.items():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | EqualConv2d | EqualLinear):
                module.register_forward_hook(
                    lambda _, __, output, name=name: computed.setdefault(name, set()).add(output.dtype))
    losses = []
    for model in (exact, half):
        torch.manual_seed(0)
        losses.append(checked_steps(model, batch(count=2)))
    for name, loss in losses[0].items():
        assert losses[1][name].dtype == torch.float32, name
        assert losses[1][name].item() == pytest.approx(loss.item(), rel=0.3), name
    assert computed == {name: {torch.float32 if name in half.learned_losses else torch.bfloat16} for name in networks}
    assert {p.dtype for network in networks.values() for p in network.parameters()} == {torch.float32}


@MAIN
def test_accumulated_batches_make_one_step(tmp_path: Path, method: str) -> None:
    model = build(tmp_path, method)
    before = {name: weights(network) for name, network in model.networks.items()}
    assert_learned(model, before, train_step(model, [batch(0, count=1), batch(1, count=2)]))
    for optimizer in model.optimizers.values():
        assert {int(state["step"]) for state in optimizer.state.values()} == {1}


@MAIN
def test_a_run_resumes_to_the_bit(tmp_path: Path, method: str) -> None:
    root = images_for(tmp_path, method, 3)
    flags = "--seed 3 --ema 0.9 --n_epochs 1 --n_epochs_decay 2 --max_iters 4 --save_latest_freq 2 --save_by_iter"
    train(options_of(root, method, flags))
    folder = root / "checkpoints" / "experiment_name"
    expected = content(folder)
    assert any("_ema." in name for name in expected)
    for path in folder.glob("latest_*"):
        path.unlink()
    middle = min(int(path.name.split("_")[1]) for path in folder.glob("iter_*_state.pth"))
    train(options_of(root, method, f"{flags} --continue_train --load_iter {middle}"))
    assert differing(expected, content(folder)) == []


@MAIN
def test_a_trained_model_translates(tmp_path: Path, method: str) -> None:
    root = images_for(tmp_path, method, 2)
    train(options_of(root, method, "--seed 3 --ema 0.9 --max_iters 1"))
    images_for(tmp_path, method, 2, "test")
    flags = f"--model {METHODS[method].split()[1]} --phase test"
    for number, average in enumerate(("", "--use_ema")):
        results = root / str(number)
        translation.translate(translate_options(root, root, f"{flags} {average} --results_dir {results}"))
        outputs = list(results.glob("*/*/images/fake_B/*.png"))
        assert len(outputs) == len(list((root / "testA").iterdir()))
        assert {Image.open(path).size for path in outputs} == {(24, 20)}
