"""Generators of UNSB's own code load, and compute what that code computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_published_checkpoints import State, blur, place, weights
from tiny import save_noise, translate_options
from torch import Tensor

from models.networks.bridge import BridgeGenerator
from test import translate
from util.errors import UserError
from util.state_dicts import load_into

NGF, WIDTH = 4, 16


def linear(state: State, key: str, inputs: int, outputs: int) -> None:
    state |= {f"{key}.weight": torch.randn(outputs, inputs) / 4, f"{key}.bias": torch.randn(outputs) / 4}


def unsb(blocks: int = 9) -> State:
    """Return the generator of UNSB, written down number by number."""
    state: State = {}
    for number, shape in ((1, (NGF, 3, 7, 7)), (4, (2 * NGF, NGF, 3, 3)), (8, (WIDTH, 2 * NGF, 3, 3))):
        weights(state, f"model.{number}", *shape, bias=True)
        if number > 1:
            state[f"model.{number + 3}.filt"] = blur([1, 2, 1], shape[0], 1)
    for number in range(blocks):
        for part, index in (("conv_block", 1), ("conv_fin", 2)):
            weights(state, f"model_res.{number}.{part}.{index}", WIDTH, WIDTH, 3, 3, bias=True)
        for part, outputs in (("adaptive.style_net", 2 * WIDTH), ("Dense_time", WIDTH), ("style", 2 * WIDTH)):
            linear(state, f"model_res.{number}.{part}", WIDTH, outputs)
    for number, inner in ((0, WIDTH), (4, 2 * NGF)):
        state[f"model_upsample.{number}.filt"] = blur([1, 3, 3, 1], inner, 4)
        weights(state, f"model_upsample.{number + 1}", inner // 2, inner, 3, 3, bias=True)
    weights(state, "model_upsample.9", 3, NGF, 7, 7, bias=True)
    for number in (1, 3, 5, 7):
        linear(state, f"z_transform.{number}", WIDTH, WIDTH)
    linear(state, "time_embed.0", NGF, WIDTH)
    linear(state, "time_embed.2", WIDTH, WIDTH)
    return state


def published(state: State, images: Tensor, latent: Tensor) -> Tensor:
    """Pass images through the layers in the order of the published code; the time has no effect there."""
    def convolve(x: Tensor, key: str, pad: int) -> Tensor:
        x = F.pad(x, (pad,) * 4, mode="reflect") if pad != 1 or "conv" in key else F.pad(x, (1,) * 4)
        return F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"])

    z = latent * (latent.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for number in (1, 3, 5, 7):
        z = F.leaky_relu(F.linear(z, state[f"z_transform.{number}.weight"], state[f"z_transform.{number}.bias"]), 0.2)
    x = F.instance_norm(convolve(images, "model.1", 3)).relu()
    for number in (4, 8):
        x = F.instance_norm(convolve(x, f"model.{number}", 1)).relu()
        x = F.conv2d(F.pad(x, (1,) * 4, mode="reflect"), state[f"model.{number + 3}.filt"], stride=2, groups=x.shape[1])
    for number in range(9):
        key = f"model_res.{number}"
        style = F.linear(z, state[f"{key}.adaptive.style_net.weight"], state[f"{key}.adaptive.style_net.bias"])
        scale, shift = style[:, :, None, None].chunk(2, dim=1)
        inner = (scale * F.instance_norm(x) + shift).relu()  # the first convolution is lost
        x = x + F.instance_norm(convolve(inner, f"{key}.conv_fin.2", 1))
    for number in (0, 4):
        kernel = state[f"model_upsample.{number}.filt"]
        x = F.conv_transpose2d(F.pad(x, (1,) * 4, mode="replicate"), kernel, stride=2, padding=2, groups=x.shape[1])
        x = x[:, :, 1:-1, 1:-1]
        x = F.instance_norm(convolve(x, f"model_upsample.{number + 1}", 1)).relu()
    return convolve(x, "model_upsample.9", 3).tanh()


@pytest.mark.parametrize("time", [0, 3])
def test_the_generator_computes_what_its_own_code_computes(time: int) -> None:
    torch.manual_seed(0)
    state = {key: value.double() for key, value in unsb().items()}
    generator = BridgeGenerator(ngf=NGF).double()
    load_into(generator, state, Path("file"))
    images, latent = torch.rand(2, 3, 16, 20).double() * 2 - 1, torch.randn(2, WIDTH).double()
    made = generator(images, torch.tensor([time]), latent)
    torch.testing.assert_close(made, published(state, images, latent), rtol=1e-9, atol=1e-9)


def test_a_generator_of_ours_stays_as_it_is() -> None:
    generator = BridgeGenerator(ngf=NGF)
    own = {key: value.clone() for key, value in generator.state_dict().items()}
    load_into(generator, own, Path("file"))
    assert all(torch.equal(value, own[key]) for key, value in generator.state_dict().items())


def test_test_py_translates_with_it(tmp_path: Path) -> None:
    place(tmp_path, unsb())
    save_noise(tmp_path / "images/0.png", 0)
    flags = f"--name run --model sb --dataset_mode single --ngf {NGF}"
    translate(translate_options(tmp_path / "images", tmp_path, flags))
    assert Image.open(next((tmp_path / "results").glob("*/*/images/fake_B/0.png"))).size == (24, 20)
    with pytest.raises(UserError, match=r"latest_net_G.pth"):
        translate(translate_options(tmp_path / "images", tmp_path, f"{flags} --netG resnet_6blocks"))
