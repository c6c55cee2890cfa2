"""Adversarial objectives and the gradient penalty."""

from __future__ import annotations

import golden_files as golden
import pytest
import torch
from torch import Tensor, nn

from models.losses.gan import GAN_MODES, gan_loss, gradient_penalty, image_gradients, r1_penalty
from models.networks import MultiScaleDiscriminator, PatchDiscriminator
from options import train


def close(actual: Tensor, expected: float, *, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=rtol, atol=atol)


@pytest.mark.parametrize("mode", GAN_MODES)
def test_objectives_are_the_published_ones(mode: str) -> None:
    arrays = golden.load("gan_losses.npz")
    for name, real, for_discriminator in (("D_real", True, True), ("D_fake", False, True), ("G", True, False)):
        loss = gan_loss(arrays["prediction"], real, mode=mode, for_discriminator=for_discriminator)
        close(loss, arrays[f"{mode}.{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", GAN_MODES)
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("for_discriminator", [False, True])
def test_objectives_over_scales_and_their_gradients_are_the_published_ones(
    mode: str, real: bool, for_discriminator: bool,
) -> None:
    arrays = golden.load("full/ganloss.npz")
    for kind in ("single", "list"):
        first, second = arrays["pred1"].clone().requires_grad_(), arrays["pred2"].clone().requires_grad_()
        prediction = first if kind == "single" else [first, second]
        loss = gan_loss(prediction, real, mode=mode, for_discriminator=for_discriminator)
        loss.backward()
        expected = f"{mode}/real{real:d}/dis{for_discriminator:d}/{kind}"
        close(loss, arrays[f"{expected}/loss"], rtol=1e-4, atol=1e-5)
        for scores, key in ((first, "grad1"), (second, "grad2")):
            if f"{expected}/{key}" in arrays:
                torch.testing.assert_close(scores.grad, arrays[f"{expected}/{key}"], rtol=1e-3, atol=1e-7)


def test_gan_modes_are_those_that_the_options_offer() -> None:
    assert sorted(GAN_MODES) == sorted(train.GAN_MODES)
    with pytest.raises(ValueError, match=r"mode 'dcgan' is not one of lsgan, vanilla"):
        gan_loss(torch.zeros(1), True, mode="dcgan", for_discriminator=True)


@pytest.mark.parametrize("mode", ["mixed", "real", "fake"])
def test_gradient_penalty_and_its_second_derivatives_are_the_published_ones(mode: str) -> None:
    arrays = golden.load(f"full/gradpen_{mode}.npz")
    network = PatchDiscriminator(**arrays["meta"]["D"])
    network.load_state_dict(golden.part(arrays, "sd/"))
    real, fake, alpha = arrays["real"], arrays["fake"], arrays["alpha"]

    share = {"mixed": alpha.view(2, 1, 1, 1), "real": 1.0, "fake": 0.0}[mode]
    slopes = image_gradients(network, share * real + (1 - share) * fake)
    torch.testing.assert_close(slopes, arrays["gradients"], rtol=0, atol=1e-3 * slopes.abs().max().item())

    penalty = gradient_penalty(network, real, fake, mode=mode, alpha=alpha)
    close(penalty, arrays["gp"], rtol=1e-4, atol=1e-5)
    penalty.backward()
    parameters = dict(network.named_parameters())
    expected = golden.part(arrays, "grad/")
    largest = max(value.abs().max().item() for value in expected.values())
    assert expected
    for key, value in expected.items():
        found = parameters[key].grad
        if found is None:  # a bias that the normalisation removes: the published gradient is rounding noise
            assert value.abs().max() < 1e-3 * largest, key
        else:
            torch.testing.assert_close(found, value, rtol=0, atol=1e-3 * value.abs().max().item(), msg=key)


def test_r1_penalty_and_its_derivative_of_a_parabola() -> None:
    """D(x) = w / 2 * |x|^2 has the slope w * x, so that R1 is gamma / 2 * w^2 * E|x|^2."""
    class Parabola(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(3.0))

        def forward(self, images: Tensor) -> list[Tensor]:
            halves = (images[:, :, :2], images[:, :, 2:])  # two scales, whose scores add up
            return [self.w / 2 * half.square().sum((1, 2, 3)) for half in halves]

    network, real = Parabola(), torch.randn(5, 3, 4, 6, requires_grad=True)
    square = real.detach().square().sum((1, 2, 3)).mean().item()
    penalty = r1_penalty(network, real, gamma=0.5)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.25 * 9 * square, rel=1e-5)
    assert network.w.grad.item() == pytest.approx(0.25 * 2 * 3 * square, rel=1e-5)
    assert real.grad is None


def test_gradient_penalty_of_equal_seeds_is_equal_and_reaches_no_image() -> None:
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(ndf=4, n_layers=1)
    real = torch.randn(2, 3, 32, 40, requires_grad=True)
    fake = torch.randn(2, 3, 32, 40, requires_grad=True)
    first, again, other = (
        gradient_penalty(network, real, fake, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first.backward()
    assert real.grad is None
    assert fake.grad is None
    assert network.model_1[0].weight.grad.abs().sum() > 0


def test_gradient_penalty_of_a_flat_discriminator_has_finite_gradients() -> None:
    network = nn.Conv2d(3, 1, 1)
    nn.init.zeros_(network.weight)
    penalty = gradient_penalty(network, torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    penalty.backward()
    assert penalty.item() == pytest.approx(10)
    assert network.weight.grad.isfinite().all()
