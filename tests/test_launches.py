"""Operations of a step: batched losses equal those of one image after the other, and a step has few operations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import null_device
import pytest
import torch
from cli import ROOT
from steps import batch, build_model
from tiny import LOSSES, NETWORKS, train_step
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models.networks.blocks import InstanceNorm, ReflectionPad, Upsample, is_channels_last
from models.structure import Pair
from spatial_correlative import contrastive_loss, self_similarity

LSESIM = "--model sc --learned_attn --augment"
SIZES = "--load_size 32 --crop_size 32"  # larger than the window in the first layer


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("augmented", [True, False])
@pytest.mark.parametrize("layers", ["relu2_1,relu2_2", "relu1_2,relu2_1,relu2_2"])
def test_heads_learn_as_if_each_image_and_layer_were_compared_alone(
    tmp_path: Path, layers: str, augmented: bool, count: int
) -> None:
    model = build_model(tmp_path, f"{LSESIM} --attn_layers {layers}", defaults=(NETWORKS, LOSSES, SIZES), double=True)
    images = list(batch(count=count, size_a=(32, 32), size_b=(32, 32), dtype=torch.float64).values())
    a, b, a_aug, b_aug = images
    pair = Pair(a, b.flip(3), b, a_aug, b_aug) if augmented else Pair(a, b.flip(3), b)
    structure = model.structure
    seen = structure.features(pair)
    heads = list(structure.loss.heads)
    parameters = list(structure.loss.requires_grad_().parameters())

    torch.manual_seed(5)
    loss = structure.contrast([seen]).loss
    torch.manual_seed(5)
    names = list(seen["source"])
    positions = structure.loss.sample([seen["source"][name] for name in names])

    def compare(*three: str) -> Tensor:
        losses = []
        for name, head, at in zip(names, heads, positions, strict=True):
            maps = (self_similarity(head(seen[image][name].detach()), at, patch_size=4) for image in three)
            losses.append(contrastive_loss(*maps))
        return sum(losses) / len(losses)

    expected = compare("source", "target", "other")
    if augmented:
        expected = (expected + compare("source", "source_aug", "other_aug")) / 2
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(of, parameters) for of in (loss, expected))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12 + 1e-12 * wanted.abs().max().item())


class Operations(TorchDispatchMode):
    """Counts operations that are no views: about what a GPU would launch."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not any(of.alias_info is not None and not of.alias_info.is_write
                              for of in func._schema.returns) and "empty" not in func.__name__
        return func(*args, **(kwargs or {}))


def operations(root: Path, flags: str) -> int:
    model = build_model(root, f"{flags} --netG resnet_9blocks --channels_last false")
    train_step(model, [batch()])
    with Operations() as counted:
        train_step(model, [batch()])
    return counted.count


@pytest.mark.parametrize(("flags", "most"), [
    ("--model sc", 500), (LSESIM, 700), (f"{LSESIM} --attn_layers 4,7,9", 830)])
def test_a_step_has_few_operations(tmp_path: Path, flags: str, most: int) -> None:
    assert operations(tmp_path, flags) <= most


MOST = {"FSeSim-p64": 545, "LSeSim-p64": 900, "LSeSim-p32": 850, "cycle_gan": 1500, "cut": 1100}
"""Launches of a step with one image, at most. The published FSeSim has 1,090 and LSeSim 2,108 (p64, float32)."""


@pytest.mark.slow
@pytest.mark.skipif(bool(null_device.obstacle()), reason=null_device.obstacle())
def test_a_step_has_few_launches_on_a_gpu_at_any_batch(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.launches", "--batch_size", "1", "8", "--methods", *MOST, "--json",
         tmp_path / "launches.json"], cwd=ROOT, env=null_device.build(tmp_path), capture_output=True, text=True,
        check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "launches.json").read_text(encoding="utf-8"))["rows"]
    found = {(row["step"], row["batch"], row["amp"]): row["launches"] for row in rows}
    assert len(found) == 4 * len(MOST)
    for (name, count, precision), launches in found.items():
        assert launches <= (MOST[name] if count == 1 else 1.05 * found[name, 1, precision]), (name, count, precision)


def norms_and_relus() -> Iterator[nn.Module]:
    for _ in range(2):
        yield from (ReflectionPad(1), nn.Conv2d(4, 4, 3), InstanceNorm(4), nn.ReLU(True))


def test_a_relu_in_place_after_a_norm_copies_no_gradient() -> None:
    x = torch.rand(1, 4, 8, 8, requires_grad=True)
    output = nn.Sequential(*norms_and_relus())(x)
    nodes, copies = [output.grad_fn], 0
    while nodes:
        node = nodes.pop()
        copies += "CopySlices" in node.name()
        nodes += [of for of, _ in node.next_functions if of is not None]
    assert not copies


@pytest.mark.parametrize("module", [ReflectionPad(2), Upsample(4)])
def test_channels_last_stay_where_a_gpu_pads_them_as_a_volume(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(2, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    module.double()
    expected = module(x)
    monkeypatch.setattr("models.networks.blocks.on_gpu", lambda of: True)
    found = module(x.requires_grad_())
    assert torch.equal(found, expected)
    assert is_channels_last(found)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    monkeypatch.undo()
    (wanted,) = torch.autograd.grad(module(x).square().sum(), x)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)
