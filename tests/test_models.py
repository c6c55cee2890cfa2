"""Tests of all models. To include a new model, add a line to `tiny.METHODS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from states import content, differing
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options, train_step, translate_options
from torch import Tensor

import test as translation
from models import MODELS, Model
from models.networks.equalized import EqualConv2d, EqualLinear
from models.precision import prepare
from options import Options, RunFlags, SpeedFlags
from train import train

Build = Callable[..., Model]
EVERY = pytest.mark.parametrize("method", METHODS)


def options_of(root: Path, method: str, flags: str = "") -> Options:
    return train_options(root, flags, defaults=(NETWORKS, SIZES, METHODS[method]))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def build(method: str, flags: str = "") -> Model:
        options = options_of(tmp_path, method, flags)
        torch.manual_seed(0)
        model = MODELS[options[RunFlags].model](options, training=True)
        prepare(model, torch.device("cpu"), options[SpeedFlags])
        return model

    return build


def images_for(root: Path, method: str, count: int, phase: str = "train") -> Path:
    """``count`` images of each domain below ``root``, or the one that the method's data set takes."""
    single = "singleimage" in MODELS[METHODS[method].split()[1]].defaults(training=True).values()
    return save_folders(root, phase, counts=(1, 1) if single else (count, count))


def batch(seed: int = 0, count: int = 2, channels: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 2 * torch.rand(count, channels, 16, 16, generator=generator) - 1
            for name in ("A", "B", "A_aug", "B_aug")}


def weights(model: Model) -> dict[str, list[Tensor]]:
    return {name: [p.detach().clone() for p in network.parameters()] for name, network in model.networks.items()}


def check(model: Model, before: dict[str, list[Tensor]], losses: dict[str, Tensor]) -> None:
    """All losses are there, and every network has learned."""
    assert losses["G"].item() == pytest.approx(sum(v.item() for k, v in losses.items() if k.startswith("G_")), rel=1e-5)
    for name, loss in losses.items():
        assert math.isfinite(loss.item()), name
        assert not loss.requires_grad, name
    for name, after in weights(model).items():
        assert any(not torch.equal(a, b) for a, b in zip(before[name], after, strict=True)), f"{name} has not learned"
        assert all(value.isfinite().all() for value in after), name


def test_every_model_that_trains_takes_part(tmp_path: Path) -> None:
    assert {options_of(tmp_path, method)[RunFlags].model for method in METHODS} == set(MODELS) - {"test"}


@EVERY
def test_a_step_trains_every_network(build: Build, method: str) -> None:
    model = build(method)
    before = weights(model)
    losses = train_step(model, [batch()])
    check(model, before, losses)
    assert set(model.published) <= set(model.networks)
    visuals = model.visuals()
    assert {"real_A", "fake_B", "real_B"} <= set(visuals)
    assert not any(image.requires_grad for image in visuals.values())


@pytest.mark.parametrize("method", ["FSeSim", "CycleGAN", "CUT", "FastCUT", "MUNIT", "single-image FSeSim"])
def test_with_a_pool_the_discriminator_is_shown_older_translations(build: Build, method: str) -> None:
    model = build(method, "--pool_size 1")
    judged: list[Tensor] = []
    for name, network in model.networks.items():
        if name.startswith("D"):
            network.register_forward_pre_hook(lambda _, inputs: judged.append(inputs[0].detach()))
    translations: list[Tensor] = []
    shown_again = False
    for seed in range(8):
        train_step(model, [batch(seed, count=1)])
        shown_again |= any(torch.equal(old, image) for old in translations for image in judged)
        translations.append(model.images["fake_B"].detach())
        judged.clear()
    assert shown_again, "in eight steps no translation of an earlier step was judged"


@EVERY
def test_greyscale_images(build: Build, method: str) -> None:
    model = build(method, "--input_nc 1 --output_nc 1")
    before = weights(model)
    check(model, before, train_step(model, [batch(channels=1)]))
    assert model.visuals()["fake_B"].shape == (2, 1, 16, 16)


@EVERY
def test_half_precision_is_for_networks_and_not_for_losses(build: Build, method: str) -> None:
    exact, half = build(method, "--init_gain 0.5"), build(method, "--init_gain 0.5 --amp bf16")
    computed: dict[str, set[torch.dtype]] = {}
    networks = {**half.networks, **half.constants}
    for name, network in networks.items():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | EqualConv2d | EqualLinear):
                module.register_forward_hook(
                    lambda _, __, output, name=name: computed.setdefault(name, set()).add(output.dtype))
    before, losses = weights(half), []
    for model in (exact, half):
        torch.manual_seed(0)
        losses.append(train_step(model, [batch()]))
    check(half, before, losses[1])
    for name, loss in losses[0].items():
        assert losses[1][name].dtype == torch.float32, name
        assert losses[1][name].item() == pytest.approx(loss.item(), rel=0.3), name
    assert computed == {name: {torch.float32 if name in half.learned_losses else torch.bfloat16} for name in networks}
    assert {p.dtype for network in networks.values() for p in network.parameters()} == {torch.float32}


@EVERY
def test_accumulated_batches_make_one_step(build: Build, method: str) -> None:
    model = build(method)
    before = weights(model)
    check(model, before, train_step(model, [batch(0, count=1), batch(1, count=2)]))
    for optimizer in model.optimizers.values():
        assert {int(state["step"]) for state in optimizer.state.values()} == {1}


@EVERY
def test_a_run_resumes_to_the_bit(tmp_path: Path, method: str) -> None:
    root = images_for(tmp_path, method, 4)
    flags = ("--seed 3 --ema 0.9 --no_html --n_epochs 1 --n_epochs_decay 2 --max_iters 6 --save_latest_freq 3 "
             "--save_by_iter")
    train(options_of(root, method, flags))
    folder = root / "checkpoints" / "experiment_name"
    expected = content(folder)
    assert any("_ema." in name for name in expected)
    for path in folder.glob("latest_*"):
        path.unlink()
    train(options_of(root, method, f"{flags} --continue_train --load_iter 3"))
    assert differing(expected, content(folder)) == []


@EVERY
def test_a_trained_model_translates(tmp_path: Path, method: str) -> None:
    root = images_for(tmp_path, method, 2)
    train(options_of(root, method, "--seed 3 --ema 0.9 --no_html --max_iters 1"))
    images_for(tmp_path, method, 2, "test")
    flags = f"--model {METHODS[method].split()[1]} --phase test"
    for number, average in enumerate(("", "--use_ema")):
        results = root / str(number)
        translation.translate(translate_options(root, root, f"{flags} {average} --results_dir {results}"))
        outputs = list(results.glob("*/*/images/fake_B/*.png"))
        assert len(outputs) == len(list((root / "testA").iterdir()))
        assert {Image.open(path).size for path in outputs} == {(24, 20)}
