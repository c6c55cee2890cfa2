"""The spatially-correlative losses reproduce the published implementation's numbers, gradients too."""

from __future__ import annotations

import golden_files as golden
import pytest
import torch
from torch import Tensor

from spatial_correlative import (
    SpatialCorrelativeLoss,
    contrastive_loss,
    self_similarity,
    similarity_head,
    structure_distance,
)

SMALL = {"rtol": 1e-5, "atol": 1e-5}  # what the values of the small set agree to, and
FULL = {"rtol": 1e-4, "atol": 1e-5}  # those of the full set
SMALL_GRADIENTS = {"rtol": 1e-4, "atol": 1e-4}


def close(actual: Tensor, expected: Tensor | float, *, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected).to(actual), rtol=rtol, atol=atol)


def gradient_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare relative to the largest gradient; biases before a mean removal have gradient 0 up to rounding."""
    scale = expected.abs().max().clamp(min=3e-4).item()
    assert (actual - expected).abs().max() <= tolerance * scale


def query_positions(data: dict) -> Tensor | None:
    return data["patch_ids"].long() if data["patch_ids"].numel() else None


@pytest.mark.parametrize("name", golden.names("selfsim_*.npz"))
def test_self_similarity_equals_the_reference(name: str) -> None:
    data = golden.load(name)
    features = data["features"].requires_grad_()
    similarity = self_similarity(features, query_positions(data), patch_size=int(data["patch_size"]),
                                 normalize=bool(data["normalize"]))
    close(similarity, data["similarity"], **SMALL)
    (similarity * data["cotangent"]).sum().backward()
    close(features.grad, data["features_grad"], **SMALL_GRADIENTS)


@pytest.mark.parametrize("name", golden.names("full/patchsim_*.npz"))
def test_self_similarity_equals_the_full_reference(name: str) -> None:
    data = golden.load(name)
    features = data["x"].requires_grad_()
    similarity = self_similarity(features, query_positions(data), patch_size=data["meta"]["patch_size"],
                                 normalize=data["meta"]["norm"])
    close(similarity, data["out"], **FULL)
    cotangent = torch.cos(0.37 * torch.arange(similarity.numel(), dtype=torch.float64)).float()
    (similarity.flatten() * cotangent).sum().backward()
    gradient_close(features.grad, data["grad_x"], 1e-3)


@pytest.mark.parametrize("name", golden.names("loss_*.npz"))
def test_losses_equal_the_reference(name: str) -> None:
    data = golden.load(name)
    images = {key: data[key].requires_grad_() for key in ("source", "target", "other") if data[key].numel()}
    heads = golden.part(data, "head.")
    loss = SpatialCorrelativeLoss(
        patch_size=int(data["patch_size"]), mode=data["mode"], normalize=bool(data["normalize"]),
        temperature=float(data["temperature"]), head_channels=[data["source"].shape[1]] if heads else None)
    if heads:
        loss.heads[0].load_state_dict(heads)
    features = [[image] for image in images.values()]
    positions = [query_positions(data)]
    value = loss.contrast(*features, positions) if "other" in images else loss(*features, positions)
    close(value, data["loss"], **SMALL)
    value.backward()
    for key, image in images.items():
        close(image.grad, data[f"{key}_grad"], **SMALL_GRADIENTS)
    for key, parameter in (loss.heads[0].named_parameters() if heads else ()):
        close(parameter.grad, data[f"head_grad.{key}"], **SMALL_GRADIENTS)


@pytest.mark.parametrize("name", golden.names("full/spatial_*.npz"))
def test_losses_equal_the_full_reference(name: str) -> None:
    data = golden.load(name)
    meta = data["meta"]
    keys = ["f_src", "f_tgt", "f_other"][: 3 if meta["with_other"] else 2]
    images = [data[key].requires_grad_() for key in keys]
    head = similarity_head(images[0].shape[1]) if meta["use_conv"] else torch.nn.Identity()
    head.load_state_dict(golden.part(data, "sd/conv_0."))
    maps = [self_similarity(head(image), query_positions(data), patch_size=meta["patch_size"],
                            normalize=meta["norm"]) for image in images]
    value = (contrastive_loss(*maps, temperature=meta["T"]) if meta["with_other"]
             else structure_distance(*maps, mode=meta["loss_mode"], normalize=meta["norm"]))
    close(value, data["loss"], **FULL)
    value.backward()
    for key, image in zip(keys, images, strict=True):
        gradient_close(image.grad, data[f"grad_{key.removeprefix('f_')}"], 1e-3)
    for key, parameter in head.named_parameters():
        gradient_close(parameter.grad, data[f"grad/conv_0.{key}"], 1e-3)
