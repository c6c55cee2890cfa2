"""The four initialisations."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny import train_options
from torch import nn

from models.building import build_discriminator
from models.networks import create_discriminator, create_generator, initialize
from models.networks.blocks import InstanceNorm
from options.common import NetworkFlags
from options.flag import flags_of

FAN = 128 * 9  # inputs and outputs of the convolution below


def initialized(init_type: str, gain: float) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 128, 3)
    initialize(layer, init_type, gain)
    return layer


@pytest.mark.parametrize(("init_type", "gain", "deviation"), [
    ("normal", 0.02, 0.02),
    ("normal", 0.1, 0.1),
    ("xavier", 0.02, 0.02 * math.sqrt(2 / (FAN + FAN))),
    ("xavier", 1.0, math.sqrt(2 / (FAN + FAN))),
    ("kaiming", 0.02, math.sqrt(2 / FAN)),
])
def test_weights_have_the_deviation_that_the_initialisation_promises(
    init_type: str, gain: float, deviation: float,
) -> None:
    layer = initialized(init_type, gain)
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(layer.weight.mean().item()) < 0.02 * deviation
    assert torch.count_nonzero(layer.bias) == 0


def test_orthogonal_rows_have_the_gain_as_length() -> None:
    rows = initialized("orthogonal", 0.5).weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(128), rtol=0, atol=1e-5)


def test_batch_normalisation_starts_near_one_and_linear_layers_are_reached() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm2d(1000))
    initialize(module, "normal", 0.02)
    assert module[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert module[1].weight.mean().item() == pytest.approx(1.0, abs=0.005)
    assert module[1].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.count_nonzero(module[1].bias) == 0


@pytest.mark.parametrize("network", [
    create_generator("resnet_6blocks", ngf=2), create_generator("unet_128", ngf=2),
    create_discriminator("multi", ndf=4),
], ids=["resnet", "unet", "multi"])
def test_transposed_and_plain_convolutions_of_a_network_are_all_reached(network: nn.Module) -> None:
    filters = {name: value.clone() for name, value in network.named_buffers()}
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    initialize(network)
    assert not any((parameter == 7.0).any() for parameter in network.parameters())
    assert all(torch.equal(value, filters[name]) for name, value in network.named_buffers())


def test_every_choice_of_the_flag_is_an_initialisation_and_others_are_refused() -> None:
    (flag,) = (flag for flag in flags_of(NetworkFlags) if flag.name == "init_type")
    for choice in flag.choices:
        initialize(nn.Conv2d(3, 3, 3), choice)
    with pytest.raises(ValueError, match=r"init_type 'zero' is not one of normal, xavier, kaiming, orthogonal"):
        initialize(nn.Conv2d(3, 3, 3), "zero")


@pytest.mark.parametrize("name", ["basic", "n_layers", "pixel", "multi"])
def test_spectral_normalisation_is_of_every_convolution_and_replaces_the_other(name: str, tmp_path: Path) -> None:
    options = train_options(tmp_path, f"--netD {name} --normD spectral --load_size 48 --crop_size 48")
    discriminator = build_discriminator(options)
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) >= 3
    for layer in convolutions:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, rel=0.1)
    assert not any(isinstance(layer, InstanceNorm) for layer in discriminator.modules())


def test_the_discriminator_has_the_normalisation_of_the_generator_or_its_own(tmp_path: Path) -> None:
    def norms(flags: str) -> set[str]:
        discriminator = build_discriminator(train_options(tmp_path, f"{flags} --load_size 48 --crop_size 48"))
        return {type(layer).__name__ for layer in discriminator.modules() if "Norm" in type(layer).__name__}

    assert norms("--norm batch") == {"BatchNorm"}
    assert norms("--norm batch --normD instance") == {"InstanceNorm"}
    assert norms("--norm batch --normD none") == set()
