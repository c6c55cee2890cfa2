"""Model pix2pix: what one optimisation step computes, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_model_sc import batch, check_step, weights
from tiny import METHODS, NETWORKS, SIZES, train_options, train_step
from torch import Tensor

from models import MODELS
from models.pix2pix import PairedModel
from options import DataFlags, Options, TrainFlags
from util.errors import UserError

Build = Callable[..., PairedModel]


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[str], Options]:
    return lambda flags: train_options(tmp_path, flags, defaults=(NETWORKS, SIZES, METHODS["pix2pix"]))


@pytest.fixture
def build(parse: Callable[[str], Options]) -> Build:
    def build(flags: str = "") -> PairedModel:
        torch.manual_seed(0)
        return MODELS["pix2pix"](parse(flags), training=True)

    return build


def cross_entropy(scores: Tensor, probability: float) -> Tensor:
    real = 1 / (1 + (-scores).exp())
    return -(probability * real.log() + (1 - probability) * (1 - real).log()).mean()


def test_steps_equal_the_plain_formulas(build: Build) -> None:
    model = build("--lr 0.01 --init_gain 0.5 --input_nc 1")
    for network in model.networks.values():
        network.double()
    plain = copy.deepcopy(model.networks)
    g, d = plain["G"], plain["D"]
    optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                  for name, network in plain.items()}

    def descend(name: str, loss: Tensor) -> None:
        parameters = list(plain[name].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizers[name].step()

    for seed in range(3):
        images = batch((1, 3), count=2, augment=False, dtype=torch.float64)
        a, b = (image + 0.1 * seed for image in images.values())
        losses = train_step(model, [{"A": a, "B": b}])
        fake = g(a)
        real_pair, fake_pair = torch.cat([a, b], dim=1), torch.cat([a, fake], dim=1)
        expected = {"D_real": cross_entropy(d(real_pair), 1), "D_fake": cross_entropy(d(fake_pair.detach()), 0)}
        descend("D", (expected["D_real"] + expected["D_fake"]) / 2)
        expected |= {"G_GAN": cross_entropy(d(fake_pair), 1), "G_L1": 100 * (fake - b).abs().mean()}
        expected["G"] = expected["G_GAN"] + expected["G_L1"]
        descend("G", expected["G"])
        assert losses.keys() == expected.keys()
        for name, loss in expected.items():
            assert losses[name].item() == pytest.approx(loss.item(), rel=1e-6), name
        for name, network in plain.items():
            for theirs, ours in zip(network.parameters(), model.networks[name].parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)
                ours.data.copy_(theirs)  # Adam blows up the rounding of gradients that are zero


@pytest.mark.parametrize("flags", [
    "--lambda_L1 0", "--gan_mode lsgan", "--gan_mode hinge --netD multi", "--netG unet_128 --no_dropout false",
    "--norm batch", "--netD pixel",
])
def test_steps_work_with(build: Build, flags: str) -> None:
    model = build(flags)
    before = {name: weights(network) for name, network in model.networks.items()}
    for _ in range(2):
        losses = train_step(model, [batch(count=2)])
    check_step(model, before, losses)


def test_defaults_are_those_of_the_paper_but_for_the_networks(parse: Callable[[str], Options]) -> None:
    options = parse("")
    train = options[TrainFlags]
    assert options[DataFlags].dataset_mode == "aligned"
    assert (train.gan_mode, train.lr, train.n_epochs, train.n_epochs_decay, train.pool_size) == (
        "vanilla", 0.0002, 100, 100, 0)


@pytest.mark.parametrize(("flags", "message"), [
    ("--dataset_mode unaligned", "--dataset_mode unaligned has no pairs"),
    ("--dataset_mode single", "--dataset_mode single has no pairs"),
    ("--pool_size 50", "--pool_size 50: --model pix2pix has no image pool"),
    ("--gan_mode wgangp", "--gan_mode wgangp needs a gradient penalty"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(
    parse: Callable[[str], Options], flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(flags)
    assert "\n" not in str(caught.value)
