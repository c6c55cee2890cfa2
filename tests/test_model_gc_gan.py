"""Model gc_gan: its losses and gradients from the published formulation, and structure beside geometry consistency."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from steps import Descent, assert_same_steps, batch, build_model
from tiny import LOSSES, NETWORKS, SIZES, train_step
from torch import Tensor

from models.gc_gan import GeometryModel
from spatial_correlative import self_similarity, structure_distance
from util.errors import UserError


def build(root: Path, flags: str, *, double: bool = False) -> GeometryModel:
    return build_model(root, f"--model gc_gan {flags}", defaults=(NETWORKS, SIZES, "--init_gain 0.5"), double=double)


def turned(images: Tensor, geometry: str) -> Tensor:
    """Rotate by 90 degrees, so that the left is above, or flip vertically, pixel by pixel."""
    height, width = images.shape[2:]
    if geometry == "vf":
        return torch.stack([images[:, :, height - 1 - y] for y in range(height)], dim=2)
    rows = [torch.stack([images[:, :, height - 1 - x, y] for x in range(height)], dim=2) for y in range(width)]
    return torch.stack(rows, dim=2)


class PlainStep(Descent):
    """One optimisation step, with the consistency as the published code has it: two terms, one side of each fixed."""

    def __init__(self, model: GeometryModel, geometry: str) -> None:
        self.networks, self.geometry = copy.deepcopy(model.networks), geometry
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                           for name, network in self.networks.items()}

    def back(self, images: Tensor) -> Tensor:
        for _ in range(3 if self.geometry == "rot" else 1):
            images = turned(images, self.geometry)
        return images

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        g, d, d_gc = (self.networks[name] for name in ("G", "D", "D_gc"))
        a, b = images["A"], images["B"]
        a_gc, b_gc = turned(a, self.geometry), turned(b, self.geometry)
        fake, fake_gc = g(a), g(a_gc)
        losses = {"D_real": (d(b) - 1).square().mean(), "D_fake": d(fake.detach()).square().mean(),
                  "D_gc_real": (d_gc(b_gc) - 1).square().mean(), "D_gc_fake": d_gc(fake_gc.detach()).square().mean()}
        for name in ("D", "D_gc"):
            self.descend((losses[f"{name}_real"] + losses[f"{name}_fake"]) / 2, name)
        terms = {"G_GAN": (d(fake) - 1).square().mean(), "G_GAN_gc": (d_gc(fake_gc) - 1).square().mean(),
                 "G_idt": 3 * 0.25 * (g(b) - b).abs().mean(), "G_idt_gc": 3 * 0.25 * (g(b_gc) - b_gc).abs().mean()}
        both = [3 * 5 * (first - second).abs().mean() for first, second in (
            (fake, self.back(fake_gc).detach()), (fake_gc, turned(fake, self.geometry).detach()))]
        self.descend(sum(terms.values()) + sum(both), "G")
        return losses | terms | {"G_gc": both[0], "G": sum(terms.values()) + both[1]}


@pytest.mark.parametrize("geometry", ["rot", "vf"])
def test_steps_equal_the_published_formulation(tmp_path: Path, geometry: str) -> None:
    flags = f"--geometry {geometry} --lambda_AB 3 --lambda_gc 5 --lambda_identity 0.25 --lr 0.01 --pool_size 0"
    model = build(tmp_path, flags, double=True)
    images = batch(3, 2, size_a=(16, 24), size_b=(20, 16), dtype=torch.float64)
    assert_same_steps(model, PlainStep(model, geometry), images, steps=3)


@pytest.mark.parametrize("kind", ["fsesim", "lsesim"])
def test_structure_stands_beside_geometry_consistency(tmp_path: Path, kind: str) -> None:
    flags = f"--structure {kind} {LOSSES} --patch_nums -1 --patch_size 64 --lambda_spatial 7"
    model = build(tmp_path, f"{flags} {'--augment' * (kind == 'lsesim')}")
    images = batch(1, 2)
    with torch.no_grad():
        fake = model.networks["G"](images["A"])
    losses = train_step(model, [images])
    assert losses["G_gc"] > 0
    assert ("F_contrastive" in losses) == (kind == "lsesim")
    distances = []
    for position, layers in enumerate(zip(model.structure.vgg(images["A"]), model.structure.vgg(fake), strict=True)):
        head = model.structure.loss.heads[position] if kind == "lsesim" else torch.nn.Identity()  # after its step
        distances.append(structure_distance(*(self_similarity(head(layer), patch_size=64) for layer in layers)))
    assert losses["G_spatial"].item() == pytest.approx(7 * float(sum(distances)) / len(distances), rel=1e-3)


def test_terms_of_weight_0_are_left_out(tmp_path: Path) -> None:
    losses = train_step(build(tmp_path, "--lambda_gc 0 --lambda_identity 0"), [batch()])
    assert {name for name in losses if name.startswith("G")} == {"G", "G_GAN", "G_GAN_gc"}


@pytest.mark.parametrize(("flags", "message"), [
    ("--output_nc 1", "--lambda_identity translates real B images"),
    ("--structure fsesim --learned_attn", "--learned_attn and --structure fsesim contradict each other"),
    ("--gan_mode wgangp", "--gan_mode wgangp needs a gradient penalty"),
    ("--dataset_mode single", "--dataset_mode single has no images of the target domain"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)
