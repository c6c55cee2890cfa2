"""Input and output shapes of every generator and discriminator, and images that they refuse."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from torch import nn

from models.networks import (
    DISCRIMINATORS,
    GENERATORS,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    ResnetGenerator,
    create_discriminator,
    create_generator,
)
from options import common
from util.errors import UserError


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_registries_hold_the_names_that_the_options_offer() -> None:
    assert sorted(GENERATORS) == sorted(common.GENERATORS)
    assert sorted(DISCRIMINATORS) == sorted(common.DISCRIMINATORS)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize(("name", "multiple", "height", "width"), [
    ("resnet_9blocks", 4, 20, 32), ("resnet_6blocks", 4, 32, 20),
    ("unet_128", 128, 128, 256), ("unet_256", 256, 512, 256),
])
def test_generators_keep_the_size_of_images_that_are_not_square(
    name: str, multiple: int, height: int, width: int, norm: str,
) -> None:
    for input_nc, output_nc in ((1, 3), (3, 1)):
        network = create_generator(name, input_nc=input_nc, output_nc=output_nc, ngf=2, norm=norm)
        assert network.multiple == multiple
        output = network(torch.randn(2, input_nc, height, width))
        assert output.shape == (2, output_nc, height, width)
        assert output.abs().max() <= 1


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("input_nc", [1, 3])
def test_discriminators_judge_images_that_are_not_square(input_nc: int, norm: str) -> None:
    images = torch.randn(2, input_nc, 64, 97)
    for name, shape in {"basic": (6, 10), "n_layers": (14, 22), "pixel": (64, 97)}.items():
        network = create_discriminator(name, input_nc=input_nc, ndf=4, n_layers=2, norm=norm)
        assert network(images).shape == (2, 1, *shape)
    multi = create_discriminator("multi", input_nc=input_nc, ndf=4, n_layers=2, norm=norm)
    assert [scores.shape for scores in multi(images)] == [(2, 1, 14, 22), (2, 1, 6, 10)]


def test_full_size_networks_have_the_published_number_of_parameters() -> None:
    assert parameter_count(create_generator("resnet_9blocks")) == 11_378_179
    assert parameter_count(create_discriminator("basic")) == 2_764_737
    assert parameter_count(create_generator("unet_256", norm="batch")) == 54_413_955


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("antialias", [True, False])
def test_smallest_images_work_and_smaller_ones_are_refused(norm: str, antialias: bool) -> None:
    generator = ResnetGenerator(ngf=2, blocks=1, norm=norm, antialias=antialias, antialias_up=antialias)
    assert generator(torch.randn(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(UserError, match="at least 8x8"):
        generator(torch.randn(1, 3, 8, 4))
    for n_layers in (1, 3):
        for build in (PatchDiscriminator, MultiScaleDiscriminator):
            network = build(ndf=2, n_layers=n_layers, norm=norm, antialias=antialias)
            network(torch.randn(1, 3, network.least_size, network.least_size))
            with pytest.raises(UserError, match=f"at least {network.least_size}x"):
                network(torch.randn(1, 3, network.least_size, network.least_size - 1))


def test_generators_refuse_sides_that_they_would_change() -> None:
    with pytest.raises(UserError, match=r"multiples of 4, but got 20x30"):
        create_generator("resnet_6blocks", ngf=1)(torch.zeros(1, 3, 20, 30))
    with pytest.raises(UserError, match=r"multiples of 128, but got 128x160"):
        create_generator("unet_128", ngf=1)(torch.zeros(1, 3, 128, 160))


@pytest.mark.parametrize("network", [
    create_generator("resnet_6blocks", ngf=2), create_generator("resnet_6blocks", ngf=2, antialias_up=False),
    create_generator("unet_128", ngf=2), create_discriminator("basic", ndf=4), create_discriminator("pixel", ndf=4),
], ids=["resnet", "resnet-transposed", "unet", "patch", "pixel"])
def test_a_bias_that_instance_norm_would_remove_changes_nothing_and_gets_no_gradient(network: nn.Module) -> None:
    network.double()
    images = torch.rand(2, 3, 128, 128, dtype=torch.float64)
    before = network(images)
    before.sum().backward()
    idle = [parameter for parameter in network.parameters() if parameter.grad is None]
    assert idle
    for bias in idle:
        nn.init.normal_(bias)
    assert torch.equal(network(images), before)
    for module in network.modules():  # the published formula adds them
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            plain = nn.Conv2d if isinstance(module, nn.Conv2d) else nn.ConvTranspose2d
            module.forward = MethodType(plain.forward, module)  # type: ignore[method-assign]
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-10)
