"""Model sinsc: what one step computes, and the way from two images to a translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from steps import assert_same_steps, batch, build_model
from test_model_sc import PlainStep, plain_distance
from tiny import (
    LOSSES,
    METHODS,
    NETWORKS,
    SIZES,
    save_noise,
    train_options,
    train_step,
    translate_options,
)
from torch import Tensor, nn

import test as translation
from models import Model
from options import TestFlags
from train import train
from util.errors import UserError

NETWORK_SIZES = "--ngf 1 --ndf 1 --crop_size 16 --max_dataset_size 8 --batch_size 4"


def build(root: Path, flags: str, *, double: bool = False) -> Model:
    return build_model(root, flags, defaults=(NETWORKS, SIZES, METHODS["single-image FSeSim"]), double=double)


def squared_slopes(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Compute |dD(x)/dx|^2 of each image by itself, [B]."""
    slopes = []
    for image in images:
        x = image[None].clone().requires_grad_()
        slopes.append(torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0].square().sum())
    return torch.stack(slopes)


class PlainSingleStep(PlainStep):
    """One optimisation step, written straight from the mathematics."""

    def __init__(self, model: Model, learned: bool, penalty: str) -> None:
        super().__init__(model, learned)
        self.penalty = penalty
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.001, betas=(0.0, 0.99))
                           for name, network in self.networks.items()}

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        a, b = images["A"], images["B"]
        fake, losses = self.g(a), {}
        if self.learned:
            losses["F_contrastive"] = self.train_heads(images, fake.detach())
        losses["D_real"] = (1 + (-self.d(b)).exp()).log().mean()
        losses["D_fake"] = (1 + self.d(fake.detach()).exp()).log().mean()
        if self.penalty == "D_penalty":  # WGAN-GP's, as in the published code
            share = torch.rand(len(b)).to(b)[:, None, None, None]
            slopes = squared_slopes(self.d, share * b + (1 - share) * fake.detach()).sqrt()
            losses["D_penalty"] = 3 * (slopes - 1).square().mean()
        else:
            losses["D_R1"] = 3 / 2 * squared_slopes(self.d, b).mean()
        self.descend("D", (losses["D_real"] + losses["D_fake"]) / 2 + losses[self.penalty])
        losses["G_GAN"] = (1 + (-self.d(fake)).exp()).log().mean()
        losses["G_spatial"] = 10 * self.over_layers(plain_distance, self.positions(), a, fake)
        losses["G_identity"] = 2 * (self.g(b) - b).abs().mean()
        losses["G"] = losses["G_GAN"] + losses["G_spatial"] + losses["G_identity"]
        self.descend("G", losses["G"])
        return losses


@pytest.mark.parametrize(("learned", "weights", "penalty"), [
    (False, "--lambda_gradient 3", "D_penalty"), (True, "--lambda_gradient 3", "D_penalty"),
    (False, "--lambda_gradient 0 --lambda_R1 3", "D_R1"),
])
def test_steps_equal_the_plain_formulas(tmp_path: Path, learned: bool, weights: str, penalty: str) -> None:
    flags = f"--pool_size 0 {weights} --lambda_identity 2" + " --learned_attn --augment" * learned
    model = build(tmp_path, flags, double=True)
    assert_same_steps(model, PlainSingleStep(model, learned, penalty), batch(7, 2, dtype=torch.float64), steps=2,
                      rel=1e-9, compare_weights=True)


def test_without_its_weight_there_is_no_penalty(tmp_path: Path) -> None:
    model = build(tmp_path, "--lambda_gradient 0")
    assert not {"D_R1", "D_penalty"} & set(train_step(model, [batch()]))


@pytest.mark.parametrize(("flags", "message"), [
    ("--gan_mode wgangp --lambda_gradient 0 --lambda_R1 1", "wgangp needs its gradient penalty"),
    ("--amp fp16", "--lambda_gradient needs second derivatives"),
    ("--amp fp16 --lambda_gradient 0 --lambda_R1 1", "--lambda_R1 needs second derivatives"),
])
def test_what_does_not_go_with_the_penalty_is_refused(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(tmp_path, flags)


@pytest.fixture
def two_images(tmp_path: Path) -> Path:
    save_noise(tmp_path / "trainA/photo.png", 0, size=(71, 45))
    save_noise(tmp_path / "trainB/painting.png", 1, size=(40, 62))
    return tmp_path


def translated(root: Path, flags: str = "") -> np.ndarray:
    options = translate_options(root, root, f"--model sinsc {flags}")
    translation.translate(options)
    (file,) = (root / options[TestFlags].results_dir).glob("*/train_latest/images/fake_B/*.png")
    assert file.name == "photo.png"
    return np.array(Image.open(file))


def test_from_two_images_to_a_translation_at_the_photographs_own_size(two_images: Path) -> None:
    """With the published networks, at a few channels; 71x45 pixels are no multiple of 4."""
    flags = f"--model sinsc {NETWORK_SIZES} {LOSSES} --n_epochs 1 --n_epochs_decay 1 --no_html --seed 1"
    train(train_options(two_images, flags, defaults=()))
    path = two_images / "checkpoints/experiment_name/latest_net_G.pth"
    weights = torch.load(path, weights_only=True)
    strengths = [name for name in weights if name.endswith("noise.weight")]
    assert len(strengths) == 2
    torch.save(weights | dict.fromkeys(strengths, torch.ones(1)), path)
    picture = translated(two_images)
    assert picture.shape == (45, 71, 3)
    assert np.array_equal(translated(two_images, "--seed 2"), picture), "no noise in evaluation mode, the default"
    assert not np.array_equal(translated(two_images, "--eval false"), picture)
