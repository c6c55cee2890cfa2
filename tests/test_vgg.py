"""The VGG16 feature extractor and where its weights come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor, nn

from models.networks import vgg as of_programs
from spatial_correlative import VGG16Features, vgg
from spatial_correlative.vgg import layer_channels, layer_strides
from util.errors import UserError


def photograph(name: str, height: int = 96, width: int = 120) -> Tensor:
    """Return the top left of one of scikit-image's photographs: [1, 3, height, width] in [-1, 1]."""
    image = torch.from_numpy(getattr(data, name)()[:height, :width].copy())
    return image.permute(2, 0, 1)[None] / 127.5 - 1


@pytest.fixture
def photos() -> Tensor:
    return torch.cat([photograph("chelsea"), photograph("coffee")])


def torchvision_state(depth: int = 13) -> dict[str, Tensor]:
    torch.manual_seed(1)
    network = vgg._convolutions(depth)
    return {f"features.{key}": value for key, value in network.state_dict().items()}


def test_names_and_numbers_mean_the_same_layers() -> None:
    names = ["relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2",
             "relu4_3", "relu5_1", "relu5_2", "relu5_3"]
    assert [vgg.layer_index(name) for name in names] == list(range(13))
    assert [vgg.layer_index(str(number)) for number in range(13)] == list(range(13))
    assert layer_channels(["4", "relu4_1", "9", "relu1_1"]) == [256, 512, 512, 64]
    assert layer_strides(["0", "relu2_2", "relu3_1", "9", "12"]) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("layer", ["13", "-1", "relu3_4", "conv1_1", "", "1.0", "²"])
def test_unknown_layers_are_refused(layer: str) -> None:
    with pytest.raises(ValueError, match="VGG16 has no layer"):
        VGG16Features([layer], "random")


@pytest.mark.parametrize("layers", [["relu1_1"], ["4"], ["relu4_1", "relu3_1"], ["4", "7", "9"], ["12"]])
def test_no_layer_beyond_the_deepest_exists_and_each_runs_once(layers: list[str]) -> None:
    network = VGG16Features(layers, "random")
    calls: list[int] = []
    for module in network.features:
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_: calls.append(1))
    features = network(torch.zeros(1, 3, 64, 48))
    assert len(calls) == 1 + max(vgg.layer_index(layer) for layer in layers)
    assert isinstance(network.features[-1], nn.ReLU)
    expected = [(1, channels, 64 // stride, 48 // stride)
                for channels, stride in zip(layer_channels(layers), layer_strides(layers), strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected


def test_features_come_in_the_order_asked_and_one_pass_serves_several_losses(photos: Tensor) -> None:
    union = VGG16Features(["9", "relu1_2", "4", "relu1_2"])
    features = union(photos)
    assert torch.equal(features[1], features[3])
    assert torch.equal(features[0], VGG16Features(["relu4_3"])(photos)[0])
    (alone,) = union(photos, ["4"])
    assert torch.equal(alone, features[2])


def test_a_shallow_request_stops_early_and_a_deeper_one_than_built_is_refused(photos: Tensor) -> None:
    network = VGG16Features(["relu1_1", "relu3_1"])
    network.features[-1].register_forward_hook(lambda *_: pytest.fail("the deepest layer ran"))
    network(photos, ["0"])
    with pytest.raises(ValueError, match="end at relu3_1, before relu4_1"):
        network(photos, ["7"])


def test_features_are_those_of_plain_convolutions_on_imagenet_normalised_images(photos: Tensor) -> None:
    state = {key: value.float() for key, value in load_file(vgg.BUNDLED).items()}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((photos + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    for number in (0, 2):
        x = nn.functional.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1)
        x = x.relu()
    torch.testing.assert_close(VGG16Features(["relu1_2"])(photos)[0], x, rtol=1e-4, atol=1e-4)


def test_keys_and_features_are_torchvisions(photos: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    from torchvision.models.vgg import cfgs, make_layers

    reference = make_layers(cfgs["D"]).eval()  # torchvision.models.vgg16().features, without the large classifier
    state = {f"features.{key}": value for key, value in reference.state_dict().items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(4096)}, tmp_path / "vgg16.pth")
    network = VGG16Features(["relu5_3", "relu3_1"], str(tmp_path / "vgg16.pth"))
    assert set(network.state_dict()) == set(state)
    mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (vgg.IMAGENET_MEAN, vgg.IMAGENET_STD))
    x = (photos * 0.5 + 0.5 - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(network(photos)[0], reference[:30](x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(photos)[1], reference[:12](x), rtol=1e-4, atol=1e-5)


def test_one_channel_images_are_repeated(photos: Tensor) -> None:
    network = VGG16Features(["4"])
    grey = photos.mean(1, keepdim=True)
    torch.testing.assert_close(network(grey)[0], network(grey.repeat(1, 3, 1, 1))[0])


def test_images_that_it_cannot_take_are_refused() -> None:
    network = VGG16Features(["relu3_1"], "random")
    assert network(torch.zeros(1, 3, 4, 5))[0].shape == (1, 256, 1, 1)
    with pytest.raises(ValueError, match="at least 4x4"):
        network(torch.zeros(1, 3, 3, 64))
    with pytest.raises(ValueError, match="1 or 3 channels, but got 4"):
        network(torch.zeros(1, 4, 64, 64))
    with pytest.raises(ValueError, match=r"images \[B, 3, H, W\], not of shape \[3, 64, 64\]"):
        network(torch.zeros(3, 64, 64))


def test_frozen_weights_stay_and_gradients_reach_the_images(photos: Tensor) -> None:
    network = VGG16Features(["4"]).train()
    assert not network.training
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    images = photos.requires_grad_()
    network(images)[0].sum().backward()
    assert images.grad.abs().sum() > 0


def test_random_weights_are_the_same_every_time_and_draw_from_no_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = VGG16Features(["4"], "random"), VGG16Features(["4"], "random")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.features[0].weight.std() > 0


def test_bundled_weights_end_at_relu4_3() -> None:
    assert {parameter.dtype for parameter in VGG16Features(["9"]).parameters()} == {torch.float32}
    with pytest.raises(ValueError, match=r"weights 'bundled' have no 'features.24.weight', which relu5_1 needs.*"
                                         r"use 'imagenet'"):
        VGG16Features(["4", "relu5_1"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_read_from_a_file_and_cast_to_float32(suffix: str, tmp_path: Path) -> None:
    state = {key: value.half() for key, value in torchvision_state(5).items()}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    network = VGG16Features(["4"], str(path))
    assert all(torch.equal(value, state[key].float()) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"have no 'features.12.weight', which relu3_2 needs"):
        VGG16Features(["5"], str(path))


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*absent.pth"):
        VGG16Features(["4"], str(tmp_path / "absent.pth"))
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ValueError, match=f"{name} is no readable state dict"):
            VGG16Features(["4"], str(tmp_path / name))
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list"):
        VGG16Features(["4"], str(tmp_path / "list.pth"))
    torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "grey.pth")
    with pytest.raises(ValueError, match=r"'features.0.weight' of shape \(64, 1, 3, 3\) instead of"):
        VGG16Features(["0"], str(tmp_path / "grey.pth"))


def serve(state: dict[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch, *, broken: bool = False) -> None:
    """Put ``state`` where the download looks for it, named by its hash, and the cache into ``folder``."""
    source = folder / "server"
    source.mkdir()
    torch.save(state, source / "vgg16.pth")
    digest = hashlib.sha256((source / "vgg16.pth").read_bytes()).hexdigest()[:8]
    target = source / f"vgg16-{'0' * 8 if broken else digest}.pth"
    (source / "vgg16.pth").rename(target)
    monkeypatch.setattr(vgg, "IMAGENET_URL", target.as_uri())
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder / "cache"))


def test_imagenet_weights_are_downloaded_once_and_reach_every_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = torchvision_state()
    serve(state, tmp_path, monkeypatch)
    network = VGG16Features(["relu5_3"], "imagenet")
    assert torch.equal(network.features[28].weight, state["features.28.weight"])
    for file in (tmp_path / "server").iterdir():
        file.unlink()
    assert torch.equal(VGG16Features(["0"], "imagenet").features[0].weight, state["features.0.weight"])


def test_a_failed_download_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve({}, tmp_path, monkeypatch)
    for file in (tmp_path / "server").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"cannot get the weights imagenet .* put that file into .*cache/checkpoints"):
        VGG16Features(["4"], "imagenet")


def test_a_download_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(torchvision_state(1), tmp_path, monkeypatch, broken=True)
    with pytest.raises(ValueError, match="invalid hash value"):
        VGG16Features(["0"], "imagenet")


def test_the_published_url_names_its_hash_for_the_check() -> None:
    models = pytest.importorskip("torchvision").models
    assert models.VGG16_Weights.IMAGENET1K_V1.url == vgg.IMAGENET_URL


def test_the_programs_name_the_flags(tmp_path: Path) -> None:
    assert issubclass(of_programs.VGG16Features, VGG16Features)
    network = of_programs.VGG16Features(["relu3_1"], "random")
    for images in (torch.zeros(1, 3, 3, 64), torch.zeros(1, 4, 64, 64)):
        with pytest.raises(UserError, match=r"VGG16 .*, but got .*: change --crop_size, .*--input_nc"):
            network(images)
    with pytest.raises(UserError, match=r"--vgg_weights: the VGG16 weights 'bundled' have no 'features.24.weight'"):
        of_programs.VGG16Features(["relu5_1"])
    for call in (of_programs.VGG16Features, of_programs.layer_channels, of_programs.layer_strides):
        with pytest.raises(UserError, match=r"^VGG16 has no layer 'relu9_1'"):
            call(["relu9_1"])
    with pytest.raises(UserError, match=r"^VGG16 has no layer 'relu9_1'"):
        of_programs.layer_index("relu9_1")
    with pytest.raises(UserError, match=r"^--vgg_weights: there is no file"):
        of_programs.read_weights(tmp_path / "absent.pth")


@pytest.mark.parametrize("layers", [("relu1_2", "relu3_1"), ("relu2_2",), ("relu2_1", "relu1_1", "relu2_1")])
def test_features_of_two_batches_in_one_pass_are_those_of_two(layers: tuple[str, ...]) -> None:
    network = of_programs.VGG16Features(layers, "random").double()
    images, beside = torch.rand(2, 2, 3, 16, 20, dtype=torch.float64).mul(2).sub(1).unbind()
    images.requires_grad_()
    found = network(images, beside=beside)
    wanted = network(images)
    with torch.no_grad():
        assert all(map(torch.allclose, found, [*wanted, *network(beside)]))
    assert [of.requires_grad for of in found] == [True] * len(layers) + [False] * len(layers)
    ours, theirs = (torch.autograd.grad(sum(of.square().sum() for of in list(features)[: len(layers)]), images)[0]
                    for features in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_one_pass_needs_no_gradient_of_its_deepest_layer() -> None:
    network = of_programs.VGG16Features(("relu1_2", "relu2_2"), "random")
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    shallow, *_ = network(images, beside=torch.rand(1, 3, 16, 16))
    (found,) = torch.autograd.grad(shallow.sum(), images)
    (wanted,) = torch.autograd.grad(network(images)[0].sum(), images)
    torch.testing.assert_close(found, wanted)
