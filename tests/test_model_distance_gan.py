"""Model distance_gan: its loss against loops over pairs in float64, the statistics, and structure beside distances."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from steps import Descent, assert_same_steps, batch, build_model
from tiny import LOSSES, NETWORKS, SIZES, save_folders, train_options, train_step
from torch import Tensor

from data import DATASETS, SampleKey, collate, finish
from models.distance_gan import DistanceModel
from models.losses.distances import half_distances, pair_distances
from options import DataFlags
from training import job
from util.errors import UserError

SCALES = {"A": (0.6, 0.25), "B": (0.4, 0.125)}


def build(root: Path, flags: str, *, double: bool = False) -> DistanceModel:
    return build_model(root, f"--model distance_gan {flags}", defaults=(NETWORKS, SIZES, "--init_gain 0.5"),
                       double=double)


def plain_distances(images: Tensor, kind: str) -> list[Tensor]:
    """Compute distances pixel by pixel, of all pairs i < j, or of the halves of each image."""
    if kind == "pairs":
        pairs = [(images[i], images[j]) for j in range(len(images)) for i in range(j)]
    else:
        middle = images.shape[3] // 2
        pairs = [(image[:, :, :middle], image[:, :, image.shape[2] - middle:]) for image in images]
    return [sum((x - y).abs() for x, y in zip(one.flatten(), other.flatten(), strict=True)) / one.numel()
            for one, other in pairs]


@pytest.mark.parametrize("kind", ["pairs", "self"])
@pytest.mark.parametrize(("count", "width"), [(4, 6), (2, 5), (1, 4)])
def test_distances_equal_loops(kind: str, count: int, width: int) -> None:
    images = torch.rand(count, 2, 3, width, dtype=torch.float64, requires_grad=True)
    found = (pair_distances if kind == "pairs" else half_distances)(images)
    expected = plain_distances(images, kind)
    assert found.shape == (len(expected),)
    torch.testing.assert_close(sorted(found.tolist()), sorted(of.item() for of in expected))
    found.sum().backward()  # also of no pair
    assert images.grad.isfinite().all()


class PlainStep(Descent):
    """One optimisation step, straight from the equation."""

    def __init__(self, model: DistanceModel, kind: str) -> None:
        self.networks, self.kind = copy.deepcopy(model.networks), kind
        self.optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999))
                           for name, network in self.networks.items()}

    def __call__(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        g, d, (mean_a, std_a), (mean_b, std_b) = self.networks["G"], self.networks["D"], *SCALES.values()
        fake = g(images["A"])
        losses = {"D_real": (d(images["B"]) - 1).square().mean(), "D_fake": d(fake.detach()).square().mean()}
        self.descend((losses["D_real"] + losses["D_fake"]) / 2, "D")
        pairs = zip(plain_distances(images["A"], self.kind), plain_distances(fake, self.kind), strict=True)
        errors = [((one - mean_a) / std_a - (other - mean_b) / std_b).abs() for one, other in pairs]
        losses |= {"G_GAN": (d(fake) - 1).square().mean(), "G_distance": 3 * sum(errors) / len(errors)}
        losses["G"] = losses["G_GAN"] + losses["G_distance"]
        self.descend(losses["G"], "G")
        return losses


@pytest.mark.parametrize("kind", ["pairs", "self"])
def test_steps_equal_the_equation(tmp_path: Path, kind: str) -> None:
    flags = f"--distance {kind} --lambda_distance 3 --lr 0.01 --pool_size 0"
    model = build(tmp_path, flags, double=True)
    model.scales = SCALES
    assert_same_steps(model, PlainStep(model, kind), batch(3, 3, dtype=torch.float64), steps=2)


@pytest.mark.parametrize("kind", ["pairs", "self"])
def test_a_training_measures_mean_and_deviation_in_real_images(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_folders(tmp_path, counts=(4, 4))
    flags = f"--model distance_gan --distance {kind} --max_iters 2 --no_html"
    options = train_options(tmp_path, flags, defaults=(NETWORKS, SIZES))
    models: list[DistanceModel] = []
    monkeypatch.setattr(job, "loop", lambda run, *_, **__: models.append(run.model))
    job.train(options)
    dataset = DATASETS[options[DataFlags].dataset_mode](options, training=True)
    samples = [finish(collate([dataset[SampleKey(item, item)]])) for item in range(4)]
    for name in "AB":
        images = torch.cat([sample[name] for sample in samples])
        found = torch.stack(plain_distances(images, kind))
        mean, deviation = models[0].scales[name]
        assert mean == pytest.approx(found.mean().item(), rel=1e-5)
        assert deviation == pytest.approx(found.std(correction=0).item(), rel=1e-4)


def test_a_single_distance_leaves_the_scale(tmp_path: Path) -> None:
    model = build(tmp_path, "--distance pairs")
    model.study([{"A": torch.ones(1, 3, 4, 4), "B": torch.ones(1, 3, 4, 4)}] * 2)
    assert model.scales == {"A": (0, 1), "B": (0, 1)}


@pytest.mark.parametrize("kind", ["fsesim", "lsesim"])
def test_structure_stands_beside_distances(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, f"--structure {kind} {LOSSES} --lambda_spatial 7 {'--augment' * (kind == 'lsesim')}")
    losses = train_step(model, [batch(1, 2)])
    assert losses["G_distance"] > 0
    assert losses["G_spatial"] > 0
    assert ("F_contrastive" in losses) == (kind == "lsesim")


def test_terms_of_weight_0_are_left_out(tmp_path: Path) -> None:
    assert {name for name in train_step(build(tmp_path, "--lambda_distance 0"), [batch()]) if name[0] == "G"} == {
        "G", "G_GAN"}


@pytest.mark.parametrize(("flags", "message"), [
    ("--distance pairs --batch_size 1", "--distance pairs compares the images of a batch"),
    ("--distance pairs --preprocess none", "--distance pairs compares the images of a batch"),
    ("--structure fsesim --learned_attn", "--learned_attn and --structure fsesim contradict each other"),
    ("--gan_mode wgangp", "--gan_mode wgangp needs a gradient penalty"),
    ("--dataset_mode single", "--dataset_mode single has no images of the target domain"),
])
def test_flags_that_cannot_work_are_refused_in_one_sentence(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path, flags)
    assert "\n" not in str(caught.value)


def test_pairs_have_the_default_of_two_images_in_a_batch(tmp_path: Path) -> None:
    assert train_options(tmp_path, "--model distance_gan --distance pairs")[DataFlags].batch_size == 2
    assert train_options(tmp_path, "--model distance_gan")[DataFlags].batch_size == 1
