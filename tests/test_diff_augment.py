"""Differentiable augmentation: the changes by themselves, and that discriminators see nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options, train_step
from torch import Tensor

from models import MODELS, Model
from models.diff_augment import blank, diff_augment, recolor, shift
from options import Options, RunFlags, TrainFlags
from options.train import POLICIES
from util.errors import UserError


def images(count: int = 2, channels: int = 3, size: tuple[int, int] = (6, 5), seed: int = 0) -> Tensor:
    return 2 * torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed)) - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_changes_at_zero_strength() -> None:
    x, zero, one = images(), torch.zeros(2), torch.ones(2)
    assert diff_augment(x, ()) is x
    torch.testing.assert_close(recolor(x, zero, one, one), x)
    assert torch.equal(shift(x, zero.long(), zero.long()), x)
    assert torch.equal(blank(x, zero.long(), zero.long(), 0, 0), x)


def test_colours_change_as_drawn() -> None:
    x = torch.tensor([0.2, 0.4, 0.9]).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone()
    x[0, :, 0, 0] = -0.5
    zero, one, half = torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([0.5])
    torch.testing.assert_close(recolor(x, half, one, one), x + 0.5)
    torch.testing.assert_close(recolor(x, zero, half, one)[0, :, 1, 1], torch.tensor([0.35, 0.45, 0.7]))
    torch.testing.assert_close(recolor(x, zero, zero, one), x.mean(1, keepdim=True).expand_as(x))
    mean = (3 * 0.5 - 0.5) / 4
    torch.testing.assert_close(recolor(x, zero, one, half), mean + 0.5 * (x - mean))


def test_pictures_side_by_side_keep_their_own_colours_and_share_the_draw() -> None:
    colour, grey = images(channels=3), images(channels=1, seed=1)
    draws = torch.tensor([0.1, -0.3]), torch.tensor([0.2, 1.7]), torch.tensor([0.6, 1.4])
    together = recolor(torch.cat([colour, grey], dim=1), *draws, channels=(3, 1))
    torch.testing.assert_close(together, torch.cat([recolor(colour, *draws), recolor(grey, *draws)], dim=1))


def test_images_move_and_zeros_move_in() -> None:
    x = torch.arange(1.0, 13.0).view(1, 1, 3, 4).repeat(3, 2, 1, 1)
    moved = shift(x, torch.tensor([1, -2, 0]), torch.tensor([0, 1, -9]))
    assert moved[0, 1].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert moved[1, 1].tolist() == [[0, 9, 10, 11], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert moved[2, 1].tolist() == [[0] * 4] * 3


def test_a_rectangle_becomes_zero_and_is_cut_at_the_border() -> None:
    cut = blank(torch.ones(2, 3, 4, 6), torch.tensor([2, 0]), torch.tensor([3, 5]), 2, 3)
    assert cut[0, 2].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1], [1] * 6]
    assert cut[1, 2].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6, [1] * 6, [1] * 6]


def test_every_image_has_its_own_draw_which_the_generator_decides() -> None:
    x = images(1, size=(16, 16)).repeat(8, 1, 1, 1)
    for policy in POLICIES:
        changed = diff_augment(x, [policy], seeded())
        assert torch.equal(changed, diff_augment(x, [policy], seeded())), policy
        assert not torch.equal(changed, diff_augment(x, [policy], seeded(1))), policy
        assert len({image.numpy().tobytes() for image in changed}) > 5, policy


def test_the_changes_have_the_published_strength() -> None:
    count, side = 4000, 16
    brighter = diff_augment(torch.zeros(count, 1, 2, 2), ["color"], seeded())[:, 0, 0, 0]
    assert -0.5 <= brighter.min() < -0.49
    assert 0.49 < brighter.max() < 0.5
    assert brighter.mean().abs() < 0.02
    spread = diff_augment(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2).repeat(count, 1, 1, 1), ["color"], seeded())
    contrast = (spread[..., 1] - spread[..., 0]) / 2
    assert 0.5 <= contrast.min() < 0.51
    assert 1.49 < contrast.max() < 1.5
    opposite = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).repeat(count, 1, 1, 1)
    saturation = diff_augment(opposite, ["color"], seeded()).diff(dim=1)[:, 0].flatten() / contrast.flatten()
    assert 0 <= saturation.min() < 0.01
    assert 1.99 < saturation.max() < 2.01

    dots = torch.zeros(count, 1, side, side)
    dots[:, :, 8, 8] = 1
    places = diff_augment(dots, ["translation"], seeded()).flatten(1).argmax(1)
    for of in (places // side, places % side):
        assert of.unique().tolist() == [6, 7, 8, 9, 10]
        assert of.bincount()[6:].min() > 0.17 * count  # a fifth each

    zeros = diff_augment(torch.ones(count, 1, side, side), ["cutout"], seeded()) == 0
    assert zeros.sum(dim=(1, 2, 3)).max() == (side // 2) ** 2
    rows = zeros.any(dim=3).squeeze(1).float()
    assert rows.sum(1).min() == side // 4, "the centre stays inside the image"
    assert rows.mean(0)[side // 2] == pytest.approx(0.5, abs=0.03)


def test_the_host_does_not_wait_for_the_device() -> None:
    """On the meta device there are no values to wait for, and asking for one raises."""
    assert diff_augment(images().to("meta"), POLICIES).shape == (2, 3, 6, 5)


def options(root: Path, flags: str, method: str = "FSeSim") -> Options:
    return train_options(root, flags, defaults=(NETWORKS, SIZES, METHODS[method]))


def test_the_flag_is_a_list_of_policies(tmp_path: Path) -> None:
    root = save_folders(tmp_path)
    assert options(root, "")[TrainFlags].diff_augment == ()
    assert options(root, "--diff_augment none")[TrainFlags].diff_augment == ()
    assert options(root, "--diff_augment cutout,color")[TrainFlags].diff_augment == ("cutout", "color")
    with pytest.raises(UserError, match="'colour' is not one of color, translation, cutout"):
        options(root, "--diff_augment colour")
    with pytest.raises(ValueError, match=r"policies \['colour'\] are not among color, translation, cutout"):
        diff_augment(images(), ["colour"])


@pytest.mark.parametrize(("method", "flags"), [
    *((method, "--diff_augment cutout") for method in METHODS),
    *(pytest.param(method, "", marks=[] if method == "LSeSim" else pytest.mark.slow) for method in METHODS)])
def test_discriminators_see_augmented_images_alone(tmp_path: Path, method: str, flags: str) -> None:
    """Cutout leaves exact zeros, which images do not have: in each model, for real and fake, in D's step and in G's."""
    real_only = "--lambda_gradient 0 --lambda_R1 1" if "single" in method else ""  # mixed images have no zeros
    parsed = options(save_folders(tmp_path), f"--ngf 8 --init_gain 1 {real_only} {flags}", method)
    torch.manual_seed(0)
    model = MODELS[parsed[RunFlags].model](parsed, training=True)
    seen: dict[str, list[Tensor]] = {}
    for name, network in model.networks.items():
        if name.startswith("D"):
            network.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0].detach()))
    batch = {name: images(2, size=(16, 16), seed=seed) for seed, name in
             enumerate(("A", "B", "A_aug", "B_aug"))}
    train_step(model, [batch])
    assert seen, "no discriminator was used"
    for name, inputs in seen.items():
        assert len(inputs) >= 3, f"{name}: real, fake, and fake for the generator"
        for shown in inputs:
            cut = (shown == 0).all(dim=1).sum(dim=(1, 2))
            assert ((cut > 0).all() if flags else (cut == 0).all()), f"{name} {flags}"


def test_the_gradient_penalty_is_taken_where_the_discriminator_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = options(save_folders(tmp_path), "--diff_augment cutout --lambda_gradient 10")
    model = MODELS["sc"](parsed, training=True)
    shown: list[Tensor] = []
    monkeypatch.setattr("models.base.gradient_penalty",
                        lambda discriminator, real, fake, weight: shown.extend([real, fake]) or torch.zeros(()))
    train_step(model, [{name: images(2, size=(16, 16)) for name in ("A", "B")}])
    assert len(shown) == 2
    assert all((image == 0).any() for image in shown)


def test_gradients_reach_the_generator_through_the_changes(tmp_path: Path) -> None:
    model: Model = MODELS["sc"](options(save_folders(tmp_path), "--diff_augment color,translation"), training=True)
    fake = images(2, size=(16, 16)).requires_grad_()
    model.adversarial("D", fake, gan_mode="lsgan").backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
