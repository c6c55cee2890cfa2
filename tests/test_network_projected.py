"""The projected discriminator: what it computes, what it learns and saves, and what it refuses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from steps import batch, build_model
from tiny import LOSSES, METHODS, NETWORKS, SIZES, train_options, train_step
from torch import Tensor

from models.building import discriminator_notes
from models.networks import ProjectedDiscriminator, VGG16Features, create_discriminator
from util.errors import UserError

LAYERS = ("relu1_2", "relu2_1", "relu2_2", "relu3_1")  # strides 1, 2, 2, 4


def build(**options: object) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    arguments = {"ndf": 2, "layers": LAYERS, "weights": "random", "size": 32} | options
    return create_discriminator("projected", **arguments)


def images(height: int = 32, width: int = 48, channels: int = 3) -> Tensor:
    return 2 * torch.rand(2, channels, height, width, dtype=torch.float64) - 1


def test_scores_are_those_of_the_formulation() -> None:
    network, shown = build().double(), images()
    for layer in network.heads.modules():
        if isinstance(layer, torch.nn.Conv2d):
            _ = [layer.weight for _ in range(200)]  # in training, each look takes a step of the power iteration
    network.eval()
    maps = [F.conv2d(features, mix.weight, mix.bias) for features, mix in zip(
        VGG16Features(LAYERS, "random").double()(shown), network.mix_channels, strict=True)]
    for number in (2, 1, 0):
        larger = F.interpolate(maps[number + 1], maps[number].shape[2:], mode="bilinear")
        mix = network.mix_scales[number]
        maps[number] = maps[number] + F.conv2d(larger, mix.weight, mix.bias)
    for scores, features, head, halvings in zip(network(shown), maps, network.heads, (3, 2, 2, 1), strict=True):
        x = features
        *convolutions, last = [layer for layer in head if isinstance(layer, torch.nn.Conv2d)]
        assert len(convolutions) == halvings
        for layer in convolutions:
            half = F.conv2d(x, unit_norm(layer), layer.bias, stride=2, padding=1)
            centred = half - half.mean((2, 3), keepdim=True)
            deviation = (half.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
            x = torch.where(centred > 0, centred, 0.2 * centred) / deviation
        torch.testing.assert_close(scores, F.conv2d(x, unit_norm(last)), rtol=1e-4, atol=1e-6)
        assert scores.shape == (2, 1, 1, 3)


def unit_norm(layer: torch.nn.Conv2d) -> Tensor:
    weight = layer.parametrizations.weight.original
    return weight / torch.linalg.matrix_norm(weight.flatten(1), ord=2)


def test_only_the_heads_learn_and_neither_they_nor_the_mixing_depend_on_a_file(tmp_path: Path) -> None:
    model = build_model(tmp_path, "--seed 1", defaults=(NETWORKS, SIZES, METHODS["FSeSim against projected features"]))
    network = model.networks["D"]
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"heads"}
    fixed = {name: value.clone() for name, value in network.named_buffers() if not name.startswith("heads")}
    assert any(name.startswith("features") for name in fixed)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    train_step(model, [batch(count=2)])
    assert all(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert all(torch.equal(value, network.get_buffer(name)) for name, value in fixed.items())
    state = network.state_dict()
    assert {name.split(".")[0] for name in state} == {"heads", "mix_channels", "mix_scales"}
    torch.manual_seed(5)
    other = build_model(tmp_path, "--seed 2", defaults=(NETWORKS, SIZES, METHODS["FSeSim against projected features"]))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other.networks["D"].load_state_dict(torch.load(file))
    for discriminator in (network, other.networks["D"]):
        discriminator.eval()
    shown = images(16, 16).float()
    for first, second in zip(network(shown), other.networks["D"](shown), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_gradients_reach_images_of_one_channel_and_of_three(norm: str) -> None:
    for channels in (1, 3):
        shown = images(32, 32, channels).float().requires_grad_()
        torch.stack([scores.sum() for scores in build(input_nc=channels, norm=norm)(shown)]).sum().backward()
        assert shown.grad is not None
        assert shown.grad.abs().sum() > 0


def test_other_networks_are_judged_too() -> None:
    network = build(feature_net="torchvision/resnet18", layers=("layer1", "layer2"), size=64)
    assert [scores.shape for scores in network(images(64, 64).float())] == [(2, 1, 1, 1), (2, 1, 1, 1)]
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"heads"}


def test_the_default_features_are_bundled_and_give_scores_at_four_scales() -> None:
    network = create_discriminator("projected", ndf=1)
    assert network.least_size == 64
    assert [scores.shape for scores in network(images(64, 96).float())] == [(2, 1, 1, 3)] * 4


@pytest.mark.parametrize("options", [
    {"layers": LAYERS[:3], "weights": "bundled"},
    {"feature_net": "torchvision/resnet18", "layers": ("layer1", "layer2")},
])
def test_mixed_features_have_one_scale_whatever_the_network_gives(options: dict[str, object]) -> None:
    network = build(**options, ndf=64)
    shown = F.interpolate(images(8, 8).float(), (32, 32), mode="bicubic")
    for mix, features in zip(network.mix_channels, network.features(shown), strict=True):
        assert 1 < mix(features).square().mean().sqrt() < 2


def test_a_user_is_warned_of_scores_in_the_same_features(tmp_path: Path) -> None:
    flags = "--netD projected --D_layers relu1_2"
    (note,) = discriminator_notes(train_options(tmp_path, flags))
    assert "features of vgg16" in note
    assert "--eval_freq and evaluate.py metrics use VGG16" in note
    (note,) = discriminator_notes(train_options(tmp_path, f"{flags} --D_feature_net timm/tf_efficientnet_lite0"))
    assert "FID and KID" in note
    assert discriminator_notes(train_options(tmp_path)) == []


@pytest.mark.parametrize(("flags", "message"), [
    ("--model pix2pix", r"--netD projected judges single pictures of 1 or 3 channels, not of 6"),
    ("--D_layers relu2_1,relu1_2", "--D_layers relu2_1,relu1_2: name them from the first to the last"),
    ("--D_layers relu9_1", "--D_layers: VGG16 has no layer 'relu9_1'"),
    ("--D_layers relu1_1,relu1_1", "--D_layers relu1_1,relu1_1 names a layer twice"),
    ("--D_feature_net torchvision/resnet18 --D_layers layer1",
     "--D_weights bundled are those of VGG16: --D_feature_net torchvision/resnet18 needs imagenet"),
    ("--D_feature_net torchvision/resnet18 --D_layers layr1", "--D_layers: torchvision/resnet18 has no layer 'layr1'"),
    ("", "--crop_size 16 is too small for --netD projected, which needs 64 pixels"),
])
def test_what_cannot_work_is_refused_in_one_sentence(tmp_path: Path, flags: str, message: str) -> None:
    losses = "" if "pix2pix" in flags else LOSSES
    with pytest.raises(UserError, match=message) as caught:
        build_model(tmp_path, f"--netD projected {flags}", defaults=(NETWORKS, SIZES, losses))
    assert "\n" not in str(caught.value)


def test_its_flags_are_refused_beside_another_discriminator(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--D_layers is for --netD projected, not for --netD n_layers: add --netD "):
        train_options(tmp_path, "--D_weights random --D_layers relu1_2")
