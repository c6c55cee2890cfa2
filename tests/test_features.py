"""Features of networks of torchvision and timm, and models whose structure loss looks at them."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from steps import batch, build_model, checked_steps, weights
from tiny import NETWORKS, train_options
from torch import Tensor, nn

from models.networks.features import FeatureNetwork, create_features, feature_shapes
from models.networks.vgg import VGG16Features
from util.errors import UserError

TIMM = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="the package timm is not installed")
RESNET = ("torchvision/resnet18", ["layer1", "layer2"])
CONVNEXT = ("timm/test_convnext", ["stages.0", "stages.1"])  # a small one of timm's own tests, as the next
VIT = ("timm/test_vit", ["blocks.1", "blocks.3"])
REGISTERS = ("timm/vit_small_patch14_reg4_dinov2.lvd142m", ["blocks.0"])
EVERY = pytest.mark.parametrize(("name", "layers"), [RESNET, pytest.param(*CONVNEXT, marks=TIMM),
                                                     pytest.param(*VIT, marks=TIMM)])


@cache
def network_of(name: str, *layers: str) -> FeatureNetwork:
    """Build a frozen network with random weights, for tests that only look at it."""
    return FeatureNetwork(name, layers, "random")


def images(count: int = 2, channels: int = 3, size: tuple[int, int] = (64, 96), seed: int = 0) -> Tensor:
    return 2 * torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed)) - 1


# --- the networks


@pytest.mark.parametrize(("name", "layers", "shapes"), [
    (*RESNET, [(64, 16, 24), (128, 8, 12)]),
    ("torchvision/resnet18", ["layer2", "layer1"], [(128, 8, 12), (64, 16, 24)]),
    pytest.param("torchvision/convnext_tiny", ["features.1"], [(96, 16, 24)], marks=pytest.mark.slow),
    pytest.param("torchvision/swin_t", ["features.1"], [(96, 16, 24)], marks=pytest.mark.slow),
    pytest.param(*CONVNEXT, [(24, 16, 24), (32, 8, 12)], marks=TIMM),
    pytest.param("timm/vit_tiny_patch16_224", ["blocks.3", "blocks.1"], [(192, 4, 6), (192, 4, 6)],
                 marks=[TIMM, pytest.mark.slow]),
    pytest.param(*REGISTERS, [(384, 5, 7)], marks=[TIMM, pytest.mark.slow]),
    ("vgg16", ["relu1_2", "4"], [(64, 64, 96), (256, 16, 24)]),
])
def test_maps_come_in_the_layers_order_with_known_shapes(
    name: str, layers: list[str], shapes: list[tuple[int, int, int]]
) -> None:
    network = create_features(name, layers, "random")
    assert isinstance(network, VGG16Features if name == "vgg16" else FeatureNetwork)
    assert network.channels == [channels for channels, _, _ in shapes]
    assert feature_shapes(name, layers, 64, 96) == shapes
    maps = network(images())
    assert [tuple(features.shape) for features in maps] == [(2, *shape) for shape in shapes]
    if layers == sorted(layers, reverse=True) and len(layers) > 1:
        forwards = create_features(name, layers[::-1], "random")(images())[::-1]
        for one, other in zip(maps, forwards, strict=True):
            torch.testing.assert_close(one, other)


@EVERY
def test_images_get_gradients_and_frozen_weights_do_not(name: str, layers: list[str]) -> None:
    network = network_of(name, *layers).train()
    assert not any(module.training for module in network.modules())
    x = images().requires_grad_()
    torch.stack([features.square().mean() for features in network(x)]).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in network.parameters())


@EVERY
def test_nothing_beyond_the_deepest_layer_is_kept(name: str, layers: list[str]) -> None:
    """Of a network that learns, every weight gets a gradient, which several processes rely on."""
    network = FeatureNetwork(name, layers, "random", frozen=False).train()
    assert not any(module.training for module in network.modules())
    torch.stack([features.square().mean() for features in network(images())]).sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []


def test_images_are_normalised_as_the_network_was_trained() -> None:
    seen: list[Tensor] = []
    network = FeatureNetwork(*RESNET, "random")
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    expected = [(0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor(expected))


@TIMM
@pytest.mark.parametrize(("name", "layers", "patch"), [
    (*VIT, 16), pytest.param(*REGISTERS, 14, marks=pytest.mark.slow)])
def test_a_token_is_where_its_patch_is(name: str, layers: list[str], patch: int) -> None:
    """Class and register tokens are gone, and rows and columns are not exchanged."""
    network, x = network_of(name, *layers), images(1, size=(3 * patch, 5 * patch))
    (before, *_) = network(x)
    for row, column in ((0, 0), (0, 4), (2, 1)):
        changed = x.clone()
        changed[..., row * patch:(row + 1) * patch, column * patch:(column + 1) * patch] *= -1
        difference = (network(changed)[0] - before).square().sum(1)[0]
        assert divmod(int(difference.argmax()), 5) == (row, column)


@TIMM
@pytest.mark.slow
def test_sides_between_two_patches_are_enlarged() -> None:
    network, x = network_of(REGISTERS[0], *REGISTERS[1]), images(1, size=(60, 71))
    enlarged = nn.functional.interpolate(x, (70, 84), mode="bilinear")
    torch.testing.assert_close(network(x)[0], network(enlarged)[0], atol=1e-5, rtol=1e-4)
    assert feature_shapes(*REGISTERS, 60, 71) == [(384, 5, 6)]


@pytest.mark.parametrize("library", ["torchvision", pytest.param("timm", marks=TIMM)])
def test_weights_of_a_file(tmp_path: Path, library: str) -> None:
    """The library's own state dict of the whole network, of which the later layers are not needed."""
    name, layers = f"{library}/resnet18", ["layer1"]
    module = __import__("torchvision.models" if library == "torchvision" else "timm", fromlist=["resnet18"])
    torch.manual_seed(5)
    whole = (module.resnet18() if library == "torchvision" else module.create_model("resnet18")).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    network, x = FeatureNetwork(name, layers, str(tmp_path / "whole.pth")), images()
    y = (x * 0.5 + 0.5 - network.mean) / network.std
    stem = whole.relu if library == "torchvision" else whole.act1
    expected = whole.layer1(whole.maxpool(stem(whole.bn1(whole.conv1(y)))))
    torch.testing.assert_close(network(x)[0], expected)

    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match=r"wrong.pth has a tensor \(1,\) for 'conv1.weight' instead of \(64, 3, 7, 7\)"):
        FeatureNetwork(name, layers, str(tmp_path / "wrong.pth"))
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match=r"empty.pth has nothing for 'conv1.weight'"):
        FeatureNetwork(name, layers, str(tmp_path / "empty.pth"))
    with pytest.raises(UserError, match=r"there is no file .*nowhere.pth"):
        FeatureNetwork(name, layers, str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("library", ["torchvision", pytest.param("timm", marks=TIMM)])
def test_pretrained_weights_that_cannot_be_had_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network\nand more")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict" if library == "torchvision"
                        else "timm.models._builder.load_pretrained", fail)
    with pytest.raises(UserError, match=r"cannot get the weights of resnet18 \(no network\): use a file or random"):
        FeatureNetwork(f"{library}/resnet18", ["layer1"], "imagenet")


@pytest.mark.parametrize(("name", "layer", "message"), [
    ("resnet18", "layer1", "--feature_net resnet18 is neither vgg16 nor torchvision/NAME nor timm/NAME"),
    ("keras/resnet18", "layer1", "neither"),
    ("torchvision/", "layer1", "neither"),
    ("torchvision/resnet17", "layer1", "torchvision has no classifier 'resnet17': choose another, such as .*resnet18"),
    ("torchvision/resnet18", "layer7", "--attn_layers: torchvision/resnet18 has no layer 'layer7': .*layer4"),
    ("torchvision/resnet18", "fc", r"'fc' gives no map of features but \(1, 1000\)"),
    ("torchvision/vit_b_16", "conv_proj", r"takes no images of 64x64 pixels \(Wrong image"),
    pytest.param("timm/resnet17", "layer1", "timm has no network 'resnet17': .*resnet18", marks=TIMM),
    pytest.param("timm/test_vit", "block.3", "has no layer 'block.3': .*blocks.3", marks=TIMM),
    pytest.param("timm/hiera_tiny_224", "blocks.0", "takes no images of 64x64 pixels", marks=TIMM),
])
def test_what_cannot_be_is_one_sentence(name: str, layer: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        feature_shapes(name, [layer], 64, 64)
    assert "\n" not in str(caught.value)


def test_timm_is_needed_for_its_own_networks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="--feature_net timm/resnet18 needs the package timm: pip install timm"):
        feature_shapes("timm/resnet18", ["layer1"], 64, 64)
    old = ModuleType("timm")
    old.__version__ = "1.0.9"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", old)
    with pytest.raises(UserError, match=r"needs timm 1\.0\.22 or later, not 1\.0\.9"):
        feature_shapes("timm/resnet18", ["layer1"], 64, 64)
    assert FeatureNetwork(*RESNET, "random").channels == [64, 128]


# --- in models


LOSS = "--vgg_weights random --patch_nums 8 --patch_size 4"
SIZES = "--load_size 36 --crop_size 32"


def defaults(name: str, layers: list[str], loss: str = LOSS) -> tuple[str, ...]:
    return NETWORKS, SIZES, loss, f"--feature_net {name} --attn_layers {','.join(layers)}"


@pytest.mark.parametrize("flags", [
    pytest.param("--use_norm --input_nc 1 --output_nc 1", marks=pytest.mark.slow),
    "--learned_attn --amp bf16 --vgg_lr_scale 1"])
@EVERY
def test_a_step_of_sc(tmp_path: Path, name: str, layers: list[str], flags: str) -> None:
    model = build_model(tmp_path, f"--model sc {flags}", defaults=defaults(name, layers))
    features = model.networks["VGG"] if "VGG" in model.networks else model.constants["VGG"]
    assert isinstance(features, FeatureNetwork)
    frozen, depth = weights(features), 1 if "input_nc 1" in flags else 3
    assert checked_steps(model, batch(channels=(depth, depth), size_a=(32, 32), size_b=(32, 32)))["G_spatial"] > 0
    assert all(map(torch.equal, frozen, weights(features))) == ("vgg_lr_scale" not in flags)


@pytest.mark.parametrize(("flags", "loss", "message"), [
    ("", "", "--feature_net torchvision/resnet18 is not bundled: add --vgg_weights imagenet"),
    ("--lambda_perceptual 1", LOSS, "--lambda_perceptual compares features of VGG16: it does not go with --feature_net "
     "torchvision/resnet18"),
    ("--lambda_style 1", LOSS, "--lambda_style compares features of VGG16"),
    ("--attn_layers 4,7", LOSS, "--attn_layers: torchvision/resnet18 has no layer '4': choose another, .*layer1"),
    ("--attn_layers layer1,layer1", LOSS, "names a layer twice"),
    ("--attn_layers layer4 --loss_mode l1", LOSS, "--loss_mode l1 needs at least four keys"),
    ("--feature_net resnet18", "", "--feature_net resnet18 is neither vgg16 nor torchvision/NAME nor timm/NAME"),
    ("--feature_net torchvision/resnet81", LOSS, "torchvision has no classifier 'resnet81'"),
])
def test_contradicting_flags_are_refused_before_anything_is_built(
    tmp_path: Path, flags: str, loss: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_options(tmp_path, flags, defaults=defaults(*RESNET, loss))
