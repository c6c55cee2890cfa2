"""The StyleGAN2 networks: what they take and give, beyond the published vectors in test_networks_golden.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.losses.gan import r1_penalty
from models.networks import (
    StyleGAN2Generator,
    TileStyleGAN2Discriminator,
    create_discriminator,
    create_generator,
)
from models.networks.discriminators import judge
from models.networks.equalized import EqualConv2d, MinibatchDeviation
from models.translation import translate_any_size
from util.errors import UserError


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def widths(network: nn.Module) -> list[int]:
    return [module.weight.shape[0] for module in network.modules() if isinstance(module, EqualConv2d)]


# --- size -----------------------------------------------------------------------------------------------------------


def residual(inputs: int, outputs: int) -> int:
    """Return a block's parameters: two 3x3 convolutions with biases, a 1x1 shortcut without if the width changes."""
    shortcut = inputs * outputs if inputs != outputs else 0
    return 9 * inputs * inputs + inputs + 9 * inputs * outputs + outputs + shortcut


def test_networks_of_the_single_image_model_have_the_parameters_of_their_layers() -> None:
    """Its defaults: 128-pixel patches, ngf and ndf 8, two halvings: 32, 64 and 128 channels, 16 to 256 in D."""
    ends = residual(32, 64) + residual(64, 128) + (3 * 32 + 32) + (32 * 3 + 3)
    up = 9 * 128 * 64 + 64 + 9 * 64 * 32 + 32 + 2  # and two strengths of noise
    generator = create_generator("stylegan2", ngf=8, size=128, downsamplings=2)
    assert parameter_count(generator) == ends + up + 6 * residual(128, 128) == 2_012_261
    small = create_generator("smallstylegan2", ngf=8, size=128, downsamplings=2)
    assert parameter_count(small) == ends + up - 2 + 2 * residual(128, 128)
    blocks = sum(residual(width, 2 * width) for width in (16, 32, 64, 128))
    last = 9 * 256 * 384 + 384 + 64 * 384 * 384 + 384 + 384 + 1
    discriminator = create_discriminator("stylegan2", ndf=8, size=128)
    assert parameter_count(discriminator) == 3 * 16 + 16 + blocks + last == 10_954_897
    tiles = create_discriminator("tilestylegan2", ndf=8, size=128, tile_size=64)
    assert parameter_count(tiles) == 3 * 32 + 32 + blocks - residual(16, 32) + last + 9 * 384


@pytest.mark.parametrize(("size", "first"), [(64, 16), (128, 8), (100, 8), (256, 4), (1024, 1), (4096, 1), (32, 32)])
def test_width_follows_from_the_nearest_power_of_two(size: int, first: int) -> None:
    assert widths(StyleGAN2Generator(ngf=2, size=size))[0] == first


@pytest.mark.parametrize("name", ["stylegan2", "smallstylegan2"])
@pytest.mark.parametrize("downsamplings", [0, 1, 2, 3])
def test_generators_keep_the_size_of_images_that_are_not_square(name: str, downsamplings: int) -> None:
    for input_nc, output_nc in ((1, 3), (3, 1)):
        network = create_generator(name, input_nc=input_nc, output_nc=output_nc, ngf=1, size=64,
                                   downsamplings=downsamplings)
        assert network.multiple == network.least_size == 2**downsamplings
        output = network(torch.randn(2, input_nc, 24, 40))
        assert output.shape == (2, output_nc, 24, 40)
        assert output.abs().max() <= 1
        assert network(torch.randn(1, input_nc, network.least_size, network.least_size)).isfinite().all()
    if downsamplings == 2:
        with pytest.raises(UserError, match="multiples of 4, but got 24x38"):
            network(torch.zeros(1, 3, 24, 38))
    assert translate_any_size(network, torch.zeros(1, 3, 21, 13)).shape == (1, 1, 21, 13)


@pytest.mark.parametrize("size", [4, 8, 20, 64, 100])
@pytest.mark.parametrize("input_nc", [1, 3])
def test_the_discriminator_gives_one_score_an_image_of_any_one_size(size: int, input_nc: int) -> None:
    network = create_discriminator("stylegan2", input_nc=input_nc, ndf=1, size=size)
    assert network.least_size == size
    assert network(torch.randn(3, input_nc, size, size)).shape == (3, 1)
    with pytest.raises(UserError, match=f"built for images of {size}x{size} pixels, but got {size}x{size + 4}"):
        network(torch.randn(3, input_nc, size, size + 4))


# --- tiles ----------------------------------------------------------------------------------------------------------


def test_tiles_are_judged_where_they_are() -> None:
    network = TileStyleGAN2Discriminator(input_nc=1, ndf=1, size=16)
    network.deviation = nn.Sequential(MinibatchDeviation(), KeepLast())  # so that each tile's score is its own
    images = torch.randn(2, 1, 32, 48)
    scores = network(images)
    assert scores.shape == (2, 1, 2, 3)
    torch.testing.assert_close(scores[1, 0, 1, 2], network(images[1:, :, 16:, 32:])[0, 0, 0, 0])
    torch.testing.assert_close(scores[0, 0, 0, 1], network(images[:1, :, :16, 16:32])[0, 0, 0, 0])
    with pytest.raises(UserError, match="multiples of 16, but got 32x40"):
        network(images[..., :40])


class KeepLast(nn.Module):
    """Features whose deviation is forgotten."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], dim=1)


@pytest.mark.parametrize(("count", "group"), [(1, 1), (3, 1), (2, 2), (6, 2), (4, 4), (8, 4)])
def test_deviation_is_that_of_each_group_averaged_over_its_features(count: int, group: int) -> None:
    x = torch.randn(count, 3, 2, 5)
    output = MinibatchDeviation()(x)
    assert torch.equal(output[:, :3], x)
    for i in range(count):
        first = i - i % group
        deviation = x[first:first + group].std(0, unbiased=False).mean()
        torch.testing.assert_close(output[i, 3], deviation.expand(2, 5), rtol=1e-4, atol=2e-4)


def test_equal_images_have_no_deviation_but_finite_gradients_of_any_order() -> None:
    network = TileStyleGAN2Discriminator(ndf=1, size=8)
    r1_penalty(network, torch.ones(4, 3, 8, 8)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("name", "passes"), [("stylegan2", 1), ("tilestylegan2", 2)])
def test_real_and_generated_images_are_no_group(name: str, passes: int) -> None:
    network = create_discriminator(name, ndf=1, size=16, tile_size=16).to("meta")  # no CPU, which has two in any case
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    images = torch.empty(2, 3, 16, 16, device="meta")
    assert [len(scores) for scores in judge(network, images, images)] == [2, 2]
    assert len(calls) == passes


# --- layers ---------------------------------------------------------------------------------------------------------


def test_noise_is_added_in_training_alone_and_never_in_the_small_generator() -> None:
    images = torch.randn(2, 3, 16, 16)
    for name, noisy in (("stylegan2", True), ("smallstylegan2", False)):
        network = create_generator(name, ngf=1, size=64)
        network.load_state_dict({key: torch.ones(1) if "noise" in key else value
                                 for key, value in network.state_dict().items()})
        assert "decoder.convs.3.noise.weight" in network.state_dict() or name == "smallstylegan2"
        assert torch.equal(network(images), network(images)) is not noisy
        assert any("noise" in key for key, _ in network.named_parameters()) is noisy
        network.eval()
        assert torch.equal(network(images), network(images))


def test_far_pixels_play_no_part() -> None:
    """So the whole picture can be translated in tiles."""
    network = create_generator("stylegan2", ngf=1, size=64).eval().double()
    images = torch.randn(1, 3, 64, 128, dtype=torch.float64)
    torch.testing.assert_close(network(images[..., :96])[..., :48], network(images)[..., :48], rtol=0, atol=1e-12)
