"""Published generators of CycleGAN, CUT and F-LSeSim load; their architecture is read from the file only."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import cli
import golden_files as golden
import pytest
import torch
from tiny import save_noise, translate_options
from torch import Tensor

from models import MODELS
from models.networks import create_generator
from models.networks.recognition import recognize_generator
from options import DataFlags, NetworkFlags
from util.errors import UserError
from util.state_dicts import load_networks

State = dict[str, Tensor]
NGF = 2


def weights(state: State, key: str, *shape: int, bias: bool) -> None:
    """Add the entries of a convolution, plain or transposed, to a state dict."""
    state[f"{key}.weight"] = torch.randn(*shape) / 4
    if bias:
        state[f"{key}.bias"] = torch.zeros(shape[0])


def batch_norm(state: State, key: str, channels: int) -> None:
    state |= {f"{key}.weight": torch.rand(channels) + 0.5, f"{key}.bias": torch.zeros(channels),
              f"{key}.running_mean": torch.zeros(channels), f"{key}.running_var": torch.ones(channels),
              f"{key}.num_batches_tracked": torch.tensor(7)}


def blur(taps: list[float], channels: int, gain: float) -> Tensor:
    row = torch.tensor(taps)
    return (gain * torch.outer(row, row) / row.sum() ** 2).repeat(channels, 1, 1, 1)


def cyclegan(blocks: int = 9, norm: str = "instance", dropout: bool = False, channels: tuple[int, int] = (3, 3),
             ngf: int = NGF) -> State:
    """Return the residual generator of pytorch-CycleGAN-and-pix2pix, written down number by number."""
    state: State = {}
    bias, second = norm == "instance", 6 if dropout else 5
    convolutions = {1: (ngf, channels[0], 7, 7), 4: (2 * ngf, ngf, 3, 3), 7: (4 * ngf, 2 * ngf, 3, 3)}
    for number, shape in convolutions.items():
        weights(state, f"model.{number}", *shape, bias=bias)
        if norm == "batch":
            batch_norm(state, f"model.{number + 1}", shape[0])
    for number in range(10, 10 + blocks):
        for place in (1, second):
            weights(state, f"model.{number}.conv_block.{place}", 4 * ngf, 4 * ngf, 3, 3, bias=bias)
            if norm == "batch":
                batch_norm(state, f"model.{number}.conv_block.{place + 1}", 4 * ngf)
    for number, inner in ((10 + blocks, 4 * ngf), (13 + blocks, 2 * ngf)):
        state[f"model.{number}.weight"] = torch.randn(inner, inner // 2, 3, 3) / 4
        if bias:
            state[f"model.{number}.bias"] = torch.zeros(inner // 2)
        if norm == "batch":
            batch_norm(state, f"model.{number + 1}", inner // 2)
    weights(state, f"model.{17 + blocks}", channels[1], ngf, 7, 7, bias=True)
    return state


def cut(blocks: int = 9, ngf: int = NGF) -> State:
    """Return the residual generator of CUT and F-LSeSim, with blur-pooling and instance normalisation."""
    state: State = {}
    for number, shape in ((1, (ngf, 3, 7, 7)), (4, (2 * ngf, ngf, 3, 3)), (8, (4 * ngf, 2 * ngf, 3, 3))):
        weights(state, f"model.{number}", *shape, bias=True)
        if number > 1:
            state[f"model.{number + 3}.filt"] = blur([1, 2, 1], shape[0], 1)
    for number in range(12, 12 + blocks):
        for place in (1, 5):
            weights(state, f"model.{number}.conv_block.{place}", 4 * ngf, 4 * ngf, 3, 3, bias=True)
    for number, inner in ((12 + blocks, 4 * ngf), (16 + blocks, 2 * ngf)):
        state[f"model.{number}.filt"] = blur([1, 3, 3, 1], inner, 4)
        weights(state, f"model.{number + 1}", inner // 2, inner, 3, 3, bias=True)
    weights(state, f"model.{21 + blocks}", 3, ngf, 7, 7, bias=True)
    return state


def pix2pix(halvings: int = 8, ngf: int = NGF) -> State:
    """Return the U-Net of pix2pix, with batch normalisation: each level lies one ``.model.3`` deeper."""
    outer = [ngf, 2 * ngf, 4 * ngf] + [8 * ngf] * (halvings - 3)
    state: State = {"model.model.0.weight": torch.randn(ngf, 3, 4, 4) / 4}
    place = "model.model.1.model"
    for level in range(1, halvings):
        inner, innermost = outer[level], level == halvings - 1
        state[f"{place}.1.weight"] = torch.randn(inner, outer[level - 1], 4, 4) / 4
        if not innermost:
            batch_norm(state, f"{place}.2", inner)
        up = 3 if innermost else 5
        state[f"{place}.{up}.weight"] = torch.randn(inner if innermost else 2 * inner, outer[level - 1], 4, 4) / 4
        batch_norm(state, f"{place}.{up + 1}", outer[level - 1])
        place += ".3.model"
    state |= {"model.model.3.weight": torch.randn(2 * ngf, 3, 4, 4) / 4, "model.model.3.bias": torch.zeros(3)}
    return state


PLAIN = {"ngf": NGF, "input_nc": 3, "output_nc": 3, "no_dropout": True}
STRIDED = PLAIN | {"no_antialias": True, "no_antialias_up": True}
LAYOUTS: dict[str, tuple[State, dict[str, Any]]] = {
    "CycleGAN": (cyclegan(), STRIDED | {"netG": "resnet_9blocks", "norm": "instance"}),
    "CycleGAN, 6 blocks": (cyclegan(6, ngf=3), STRIDED | {"netG": "resnet_6blocks", "ngf": 3}),
    "CycleGAN, batch": (cyclegan(norm="batch"), STRIDED | {"norm": "batch"}),
    "CycleGAN, none": (cyclegan(norm="none"), STRIDED | {"norm": "none"}),
    "CycleGAN, dropout": (cyclegan(6, dropout=True), STRIDED | {"netG": "resnet_6blocks", "no_dropout": False}),
    "CycleGAN, batch, dropout": (cyclegan(norm="batch", dropout=True),
                                 STRIDED | {"norm": "batch", "no_dropout": False}),
    "CycleGAN, grey to colour": (cyclegan(channels=(1, 3)), STRIDED | {"input_nc": 1}),
    "CycleGAN, colour to grey": (cyclegan(channels=(3, 1)), STRIDED | {"output_nc": 1}),
    "CUT": (cut(), PLAIN | {"netG": "resnet_9blocks", "no_antialias": False, "no_antialias_up": False}),
    "CUT, 6 blocks": (cut(6), PLAIN | {"netG": "resnet_6blocks", "no_antialias": False, "no_antialias_up": False}),
    "pix2pix": (pix2pix(), PLAIN | {"netG": "unet_256", "norm": "batch"}),
    "pix2pix, 128": (pix2pix(7), PLAIN | {"netG": "unet_128", "norm": "batch"}),
}


def place(root: Path, state: State, name: str = "G", **options: Any) -> Path:
    """Return the file where the published code looks for it."""
    path = root / "checkpoints" / "run" / f"latest_net_{name}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(OrderedDict(state), path, **options)
    return path


def values(root: Path, flags: str = "") -> dict[str, Any]:
    image = save_noise(root / "images" / "0.png", 0)
    return translate_options(image, root, f"--name run {flags}").as_dict()


def translate(root: Path, flags: str = "") -> Tensor:
    """Translate a fixed picture with the generator of the checkpoint, in evaluation mode."""
    image = save_noise(root / "images" / "0.png", 0)
    options = translate_options(image, root, f"--name run {flags}")
    model = MODELS["test"](options, training=False)
    load_networks(root / "checkpoints" / "run", "latest", model.networks)
    model.networks["G"].eval()
    pixels = torch.rand(1, options[DataFlags].input_nc, 16, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        return model.translate(pixels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_architecture_is_read_from_the_file_alone(tmp_path: Path, layout: str) -> None:
    state, expected = LAYOUTS[layout]
    place(tmp_path, state)
    found = values(tmp_path)
    assert {name: found[name] for name in expected} == expected
    made = translate(tmp_path)
    assert made.isfinite().all()
    assert made.std() > 0


@pytest.mark.parametrize(("netG", "flags"), [
    ("stylegan2", {"ngf": 8, "size": 128, "downsamplings": 2}), ("stylegan2", {"ngf": 10, "size": 64}),
    ("stylegan2", {"ngf": 40, "size": 32, "downsamplings": 2}), ("smallstylegan2", {"ngf": 1, "size": 256}),
    ("smallstylegan2", {"ngf": 2, "size": 16, "downsamplings": 0}), ("unet_256", {"norm": "none", "ngf": 1}),
    ("resnet_6blocks", {"norm": "instance", "antialias": False}),
    ("resnet_6blocks", {"norm": "batch", "antialias_up": False, "dropout": True}),
])
def test_own_generators_are_recognised(tmp_path: Path, netG: str, flags: dict[str, Any]) -> None:
    state = create_generator(netG, **flags).state_dict()
    place(tmp_path, state)
    assert values(tmp_path)["netG"] == netG
    translate(tmp_path)  # all shapes fit


@pytest.mark.parametrize(("name", "strided"), [("resnet9_antialias", False), ("resnet9_stride", True)])
def test_published_weights_are_recognised_and_give_the_published_output(
    tmp_path: Path, name: str, strided: bool,
) -> None:
    arrays = golden.load(f"net_{name}.npz")
    place(tmp_path, golden.part(arrays, "state."))
    image = save_noise(tmp_path / "images" / "0.png", 0)
    options = translate_options(image, tmp_path, "--name run")
    assert options[NetworkFlags].no_antialias is options[NetworkFlags].no_antialias_up is strided
    model = MODELS["test"](options, training=False)
    load_networks(tmp_path / "checkpoints" / "run", "latest", model.networks)
    torch.testing.assert_close(model.translate(arrays["input"]), arrays["output"], rtol=1e-4, atol=1e-4)


def test_wrapped_old_and_plain_files_are_the_same_generator(tmp_path: Path) -> None:
    state = cyclegan()
    place(tmp_path, state)
    expected = translate(tmp_path)
    statistics = {f"model.{number}.{name}": torch.ones(NGF) for number in (2, 5)
                  for name in ("running_mean", "running_var")}
    for other in ({f"module.{key}": value for key, value in state.items()}, state | statistics):
        place(tmp_path, other, _use_new_zipfile_serialization=False)
        assert torch.equal(translate(tmp_path), expected)


def test_batch_normalisation_of_old_files_need_not_count(tmp_path: Path) -> None:
    state = cyclegan(norm="batch")
    place(tmp_path, state)
    expected = translate(tmp_path)
    place(tmp_path, {key: value for key, value in state.items() if "num_batches" not in key})
    assert torch.equal(translate(tmp_path), expected)


def test_an_options_file_counts_more_than_the_weights(tmp_path: Path) -> None:
    path = place(tmp_path, cyclegan())
    (path.parent / "train_opt.json").write_text('{"ngf": 5, "netG": "resnet_6blocks"}')
    assert {name: values(tmp_path)[name] for name in ("ngf", "netG", "no_antialias")} == {
        "ngf": 5, "netG": "resnet_6blocks", "no_antialias": False}


def test_typed_flags_win_where_the_file_leaves_a_choice(tmp_path: Path) -> None:
    place(tmp_path, create_generator("resnet_6blocks", ngf=NGF, norm="none").state_dict())
    assert values(tmp_path)["norm"] == "instance"
    assert values(tmp_path, "--norm none")["norm"] == "none"
    place(tmp_path, create_generator("stylegan2", ngf=10, size=64).state_dict())
    found = values(tmp_path, "--ngf 10 --load_size 64 --crop_size 64")
    assert (found["ngf"], found["stylegan2_size"]) == (10, 64)


@pytest.mark.parametrize(("flags", "value"), [
    ("--ngf 64", "--ngf 2"), ("--netG resnet_6blocks", "--netG resnet_9blocks"), ("--input_nc 1", "--input_nc 3"),
    ("--no_antialias false", "--no_antialias True"), ("--no_dropout false", "--no_dropout True"),
])
def test_a_contradiction_is_one_sentence(tmp_path: Path, flags: str, value: str) -> None:
    place(tmp_path, cyclegan())
    name, _ = flags.split()
    with pytest.raises(UserError, match=f"{name} .* contradicts .*latest_net_G.pth.*{value}: leave"):
        values(tmp_path, flags)
    assert values(tmp_path, value)["ngf"] == NGF


def test_a_generator_that_there_is_not_is_one_sentence(tmp_path: Path) -> None:
    place(tmp_path, cyclegan(blocks=4))
    with pytest.raises(UserError, match=r"latest_net_G.pth is a generator of 4 residual blocks; --netG"):
        values(tmp_path)


@pytest.mark.parametrize(("name", "flags"), [
    ("G", ""), ("G", "--model cut --dataset_mode single"), ("G", "--model sc --dataset_mode single"),
    ("G_A", "--model test --model_suffix _A"), ("G_B", "--model_suffix _B"), ("G_ema", "--use_ema"),
    ("G_A", "--model cycle_gan --dataset_mode single"),
])
def test_test_py_translates_with_a_placed_checkpoint_and_says_what_it_is(
    tmp_path: Path, name: str, flags: str,
) -> None:
    place(tmp_path, cyclegan(), name)
    save_noise(tmp_path / "images" / "0.png", 0)
    outcome = cli.run("test.py", "--dataroot", tmp_path / "images", "--name", "run", *cli.TINY_TEST,
                      "--checkpoints_dir", tmp_path / "checkpoints", "--results_dir", tmp_path / "results",
                      *flags.split())
    assert (outcome.code, outcome.err) == (0, "")
    assert f"There is no train_opt.json beside {tmp_path / 'checkpoints' / 'run'}" in outcome.out
    assert "Its weights say: --netG resnet_9blocks --ngf 2 --input_nc 3" in outcome.out
    half = flags.partition("--model_suffix ")[2]
    assert (tmp_path / "results" / "run" / f"test_latest{half}" / "images" / "fake_B" / "0.png").is_file()


@pytest.mark.parametrize("half", ["_A", "_B"])
def test_generators_of_dclgan_load(tmp_path: Path, half: str) -> None:
    """They are two generators of CUT, in files with the names of CycleGAN's."""
    place(tmp_path, cut(), f"G{half}")
    image = save_noise(tmp_path / "images" / "0.png", 0)
    options = translate_options(image, tmp_path, f"--name run --model_suffix {half}")
    assert options[NetworkFlags].no_antialias is False
    model = MODELS["test"](options, training=False)
    load_networks(tmp_path / "checkpoints" / "run", "latest", model.networks)
    assert model.translate(torch.zeros(1, 3, 16, 20)).isfinite().all()


@pytest.mark.parametrize("own", [False, True])
def test_halves_of_a_cyclegan_are_found(tmp_path: Path, own: bool) -> None:
    place(tmp_path, cyclegan(), "G_A")
    if own:  # of a training of ours
        (tmp_path / "checkpoints" / "run" / "train_opt.json").write_text('{"ngf": 2}')
    save_noise(tmp_path / "images" / "0.png", 0)
    outcome = cli.run("test.py", "--dataroot", tmp_path / "images", "--name", "run", *cli.TINY_TEST,
                      "--checkpoints_dir", tmp_path / "checkpoints")
    assert outcome.code == 2
    assert "has no generator G, but halves" in outcome.err
    assert "--model_suffix _A" in outcome.err


def test_what_is_no_generator_says_nothing(tmp_path: Path) -> None:
    for state in ({}, {"model.1.weight": torch.zeros(2)}, {"model.model.0.weight": torch.zeros(2, 3, 4, 4)},
                  {"encoder.convs.1.0.weight": torch.zeros(2, 3, 1, 1)}, {"model.1.weight": torch.zeros(2, 3, 7, 7)}):
        place(tmp_path, state)
        assert values(tmp_path)["netG"] == NetworkFlags.netG


@pytest.mark.parametrize("odd", [{"model.30.weight": torch.zeros(())}, {f"model.{'9' * 5000}.weight": torch.zeros(1)}])
def test_what_else_a_file_holds_does_not_mislead_recognition(odd: State) -> None:
    found = recognize_generator({**cyclegan(), **odd}, Path("file"))
    assert found is not None
    assert found.certain["output_nc"] == 3


@pytest.mark.filterwarnings("ignore")  # torch's, about nested tensors
def test_nested_tensors_are_no_weights_of_any_generator(tmp_path: Path) -> None:
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    assert recognize_generator({"model.1.weight": nested}, tmp_path / "latest_net_G.pth") is None
