"""Model munit: what one optimisation step computes, and that it translates as munit_sc does."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from steps import assert_same_steps, batch, build_model, checked_steps
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options, train_step, translate_options
from torch import Tensor, nn

from models.munit import MunitModel, ReconstructionFlags
from models.networks.munit import MunitGenerator
from options import TrainFlags
from test import translate
from train import train
from util.errors import UserError

DEFAULTS = (NETWORKS, SIZES, METHODS["plain MUNIT"])


def build(root: Path, flags: str = "", *, double: bool = False) -> MunitModel:
    return build_model(root, flags, defaults=DEFAULTS, double=double)


class AutoEncoder:
    """Of one domain: content encoder and style encoder, and a decoder, of the networks that have them."""

    def __init__(self, content: MunitGenerator, style: nn.Module, decoder: MunitGenerator) -> None:
        self.content, self.style, self.decoder = content.encoder, style, decoder

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % 4, 0, -height % 4), mode="reflect")
        return self.content(padded), self.style(images)

    def decode(self, content: Tensor, style: Tensor, like: Tensor) -> Tensor:
        x = content
        for block, parameters in zip(self.decoder.blocks, self.decoder.mlp(style).chunk(4, dim=1), strict=True):
            x = block(x, parameters)
        return self.decoder.decoder(x)[..., :like.shape[2], :like.shape[3]]


def apart(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs().mean()


class PlainStep:
    """One optimisation step, straight from the paper: two auto-encoders."""

    def __init__(self, model: MunitModel) -> None:
        self.networks = copy.deepcopy(model.networks)
        g, e, back, e_back = (self.networks[name] for name in ("G", "E", "G_back", "E_back"))
        self.a, self.b = AutoEncoder(g, e_back, back), AutoEncoder(back, e, g)
        self.parameters = {"G": [value for net in (g, e, back, e_back) for value in net.parameters()]} | {
            name: list(self.networks[name].parameters()) for name in ("D", "D_back")}
        self.optimizers = {name: torch.optim.Adam(of, lr=0.01, betas=(0.5, 0.999))
                           for name, of in self.parameters.items()}

    def descend(self, name: str, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.parameters[name], retain_graph=True, materialize_grads=True)
        for parameter, gradient in zip(self.parameters[name], gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        a, b = images["A"], images["B"]
        drawn_a, drawn_b = (torch.randn(len(a), 3, dtype=torch.float64) for _ in range(2))
        (content_a, style_a), (content_b, style_b) = self.a.encode(a), self.b.encode(b)
        ab, ba = self.b.decode(content_a, drawn_b, a), self.a.decode(content_b, drawn_a, b)
        losses = {}
        for name, real, fake in (("D", b, ab), ("D_back", a, ba)):
            d = self.networks[name]
            losses |= {f"{name}_real": (d(real) - 1).square().mean(), f"{name}_fake": d(fake.detach()).square().mean()}
            self.descend(name, (losses[f"{name}_real"] + losses[f"{name}_fake"]) / 2)
        (content_ab, style_ab), (content_ba, style_ba) = self.b.encode(ab), self.a.encode(ba)
        terms = {
            "G_GAN": (self.networks["D"](ab) - 1).square().mean(),
            "G_GAN_back": (self.networks["D_back"](ba) - 1).square().mean(),
            "G_rec_A": 2 * apart(self.a.decode(content_a, style_a, a), a),
            "G_rec_B": 2 * apart(self.b.decode(content_b, style_b, b), b),
            "G_content_rec_A": 3 * apart(content_ab, content_a), "G_content_rec_B": 3 * apart(content_ba, content_b),
            "G_style_rec_B": 4 * apart(style_ab, drawn_b), "G_style_rec_A": 4 * apart(style_ba, drawn_a),
            "G_cycle_A": 5 * apart(self.a.decode(content_ab, style_a, a), a),
            "G_cycle_B": 5 * apart(self.b.decode(content_ba, style_b, b), b),
        }
        total = sum(terms.values())
        self.descend("G", total)
        return losses | terms | {"G": total}


@pytest.mark.parametrize(("size_a", "size_b"), [((16, 16), (16, 16)), ((17, 22), (20, 18))])
def test_steps_equal_the_plain_formulas(tmp_path: Path, size_a: tuple[int, int], size_b: tuple[int, int]) -> None:
    weights = "--lambda_rec 2 --lambda_content_rec 3 --lambda_style_rec 4 --lambda_cycle 5"
    model = build(tmp_path, f"--lr 0.01 --init_gain 0.5 --preprocess none {weights}", double=True)
    images = batch(7, 2, size_a=size_a, size_b=size_b, dtype=torch.float64)
    assert_same_steps(model, PlainStep(model), images, steps=2)


def test_the_cycle_is_optional(tmp_path: Path) -> None:
    losses = train_step(build(tmp_path, "--lambda_cycle 0"), [batch()])
    assert not {name for name in losses if "cycle" in name}


def test_domains_may_differ_in_channels(tmp_path: Path) -> None:
    model = build(tmp_path, "--output_nc 1")
    checked_steps(model, batch(count=2, channels=(3, 1)))
    assert model.images["fake_B"].shape == model.images["rec_B"].shape == (2, 1, 16, 16)
    assert model.images["fake_A"].shape == model.images["rec_A"].shape == (2, 3, 16, 16)


def test_defaults(tmp_path: Path) -> None:
    options = train_options(tmp_path, "--model munit", defaults=())
    assert options[ReconstructionFlags] == ReconstructionFlags(10, 1, 1, 0)
    assert options[TrainFlags].pool_size == 0


def test_a_trained_model_translates_in_styles_and_needs_them(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(2, 2))
    train(train_options(root, "--no_html --max_iters 1 --seed 1", defaults=DEFAULTS))
    save_folders(root, "test", counts=(1, 1))
    flags = f"--model munit --dataset_mode unaligned --results_dir {root / 'results'}"
    translate(translate_options(root, root, f"{flags} --n_styles 2"))
    assert len(list((root / "results").glob("*/*/images/fake_B_?/*.png"))) == 2
    style = next((root / "testB").iterdir())
    translate(translate_options(root, root, f"{flags} --style_image {style}"))
    with pytest.raises(UserError, match="was trained with --model munit, whose generator needs a style: add --model"):
        translate(translate_options(root / "testA", root))
