"""The networks reproduce the published implementation: state-dict keys, outputs, and gradients."""

from __future__ import annotations

from typing import Any

import golden_files as golden
import pytest
import torch
from torch import Tensor, nn

from models.networks import (
    MultiScaleDiscriminator,
    PatchDiscriminator,
    ResnetGenerator,
    StyleGAN2Discriminator,
    StyleGAN2Generator,
)
from models.networks.blocks import Downsample, Upsample


def build(meta: dict[str, Any]) -> nn.Module:
    if meta["kind"] == "stylegan2_generator":
        return StyleGAN2Generator(ngf=meta["ngf"], size=meta["crop_size"], blocks=meta["n_blocks"],
                                  downsamplings=meta["num_downsampling"])
    if meta["kind"] == "stylegan2_discriminator":
        return StyleGAN2Discriminator(ndf=meta["ndf"], size=meta["crop_size"])
    shared = {"norm": meta["norm"]}
    if meta["kind"] == "resnet_generator":
        return ResnetGenerator(ngf=meta["ngf"], blocks=meta["n_blocks"], antialias=meta["antialias"],
                               antialias_up=meta["antialias_up"], dropout=meta["dropout"], **shared)
    if meta["kind"] == "two_scale_discriminator":
        return MultiScaleDiscriminator(ndf=meta["ndf"], n_layers=meta["n_layers"], **shared)
    return PatchDiscriminator(ndf=meta["ndf"], n_layers=meta["n_layers"], antialias=meta["antialias"], **shared)


def load(network: nn.Module, state: dict[str, Tensor], norm: str) -> None:
    if norm == "none":  # the published networks lack these biases, which is the same as their being 0
        missing = {key: torch.zeros_like(value) for key, value in network.state_dict().items() if key not in state}
        assert missing
        assert all(key.endswith(".bias") for key in missing)
        state = state | missing
    network.load_state_dict(state, strict=True)


def cotangent(output: Tensor) -> Tensor:
    angles = 0.37 * torch.arange(output.numel(), dtype=torch.float64)
    return angles.cos().float().view_as(output)


@pytest.mark.parametrize("name", [
    *(f"resnetG_{i}" for i in range(6)), *(f"nlayerD_{i}" for i in range(4)), "multiD_0",
    "stylegan2G_nd1", "stylegan2D",
])
def test_published_state_dict_gives_published_outputs_and_gradients(name: str) -> None:
    arrays = golden.load(f"full/{name}.npz")
    meta = arrays["meta"]
    network = build(meta)
    load(network, golden.part(arrays, "sd/"), meta.get("norm", ""))
    network.train(meta.get("train_mode", True))
    images = arrays["x"].requires_grad_()

    outputs = network(images)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    expected = [arrays["out"]] if "out" in arrays else [arrays["out0"], arrays["out1"]]
    assert len(outputs) == len(expected)
    for output, value in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, value, rtol=1e-4, atol=1e-5)

    torch.stack([(output * cotangent(output)).sum() for output in outputs]).sum().backward()
    scale = arrays["grad_x"].abs().max()
    torch.testing.assert_close(images.grad, arrays["grad_x"], rtol=0, atol=1e-3 * scale.item())
    norms = golden.part(arrays, "gradnorm/")
    largest = max(norms.values())
    parameters = dict(network.named_parameters())
    assert set(norms) <= set(parameters)
    norms.pop("decoder.convs.3.noise.weight", None)  # the gradient is the noise's
    for key, value in norms.items():
        # biases before an instance normalisation have no gradient; the published ones are rounding noise
        gradient = parameters[key].grad
        norm = 0.0 if gradient is None else gradient.norm().item()
        assert norm == pytest.approx(value, rel=1e-3, abs=1e-5 * largest), key


@pytest.mark.parametrize("name", [
    "resnet9_antialias", "resnet9_stride", "patchgan_antialias", "patchgan_stride",
])
def test_published_checkpoint_maps_input_to_output(name: str) -> None:
    arrays = golden.load(f"net_{name}.npz")
    antialias = not arrays["no_antialias"]
    network: nn.Module
    if "ngf" in arrays:
        network = ResnetGenerator(ngf=int(arrays["ngf"]), antialias=antialias, antialias_up=antialias)
    else:
        network = PatchDiscriminator(ndf=int(arrays["ndf"]), antialias=antialias)
    network.load_state_dict(golden.part(arrays, "state."), strict=True)
    torch.testing.assert_close(network(arrays["input"]), arrays["output"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "layer"), [
    ("blurdown_7x10", Downsample), ("blurdown_8x8", Downsample), ("blurup_7x10", Upsample), ("blurup_8x8", Upsample),
])
def test_blur_resampling_reproduces_the_published_filters(name: str, layer: type[nn.Module]) -> None:
    arrays = golden.load(f"full/{name}.npz")
    module = layer(arrays["meta"]["channels"])
    torch.testing.assert_close(module.filt, arrays["filt"], rtol=0, atol=0)
    torch.testing.assert_close(module(arrays["x"]), arrays["out"], rtol=1e-5, atol=1e-6)
