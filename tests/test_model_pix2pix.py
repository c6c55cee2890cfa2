"""Model pix2pix: what one optimisation step computes, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from steps import assert_same_steps, batch, build_model, checked_steps
from tiny import METHODS, NETWORKS, SIZES, train_options
from torch import Tensor

from models.pix2pix import PairedModel
from options import DataFlags, TrainFlags
from util.errors import UserError

DEFAULTS = (NETWORKS, SIZES, METHODS["pix2pix"])


def build(root: Path, flags: str = "", *, double: bool = False) -> PairedModel:
    return build_model(root, flags, defaults=DEFAULTS, double=double)


def cross_entropy(scores: Tensor, probability: float) -> Tensor:
    real = 1 / (1 + (-scores).exp())
    return -(probability * real.log() + (1 - probability) * (1 - real).log()).mean()


class PlainStep:
    """One optimisation step, straight from the formula."""

    def __init__(self, model: PairedModel) -> None:
        self.networks = copy.deepcopy(model.networks)
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                           for name, network in self.networks.items()}

    def descend(self, name: str, loss: Tensor) -> None:
        parameters = list(self.networks[name].parameters())
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        a, b, d = images["A"], images["B"], self.networks["D"]
        fake = self.networks["G"](a)
        real_pair, fake_pair = torch.cat([a, b], dim=1), torch.cat([a, fake], dim=1)
        losses = {"D_real": cross_entropy(d(real_pair), 1), "D_fake": cross_entropy(d(fake_pair.detach()), 0)}
        self.descend("D", (losses["D_real"] + losses["D_fake"]) / 2)
        losses |= {"G_GAN": cross_entropy(d(fake_pair), 1), "G_L1": 100 * (fake - b).abs().mean()}
        losses["G"] = losses["G_GAN"] + losses["G_L1"]
        self.descend("G", losses["G"])
        return losses


def test_steps_equal_the_plain_formulas(tmp_path: Path) -> None:
    model = build(tmp_path, "--lr 0.01 --init_gain 0.5 --input_nc 1", double=True)
    images = batch(7, 2, channels=(1, 3), dtype=torch.float64)
    assert_same_steps(model, PlainStep(model), images, steps=3, rtol=1e-6)


@pytest.mark.parametrize("flags", [
    "--lambda_L1 0", "--gan_mode lsgan", "--gan_mode hinge --netD multi", "--netG unet_128 --no_dropout false",
    "--norm batch", "--netD pixel",
])
def test_steps_work_with(tmp_path: Path, flags: str) -> None:
    checked_steps(build(tmp_path, flags), batch(count=2))


def test_defaults_are_those_of_the_paper_but_for_the_networks(tmp_path: Path) -> None:
    options = train_options(tmp_path, defaults=DEFAULTS)
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
    tmp_path: Path, flags: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)
