"""The benchmarks: that they compare the same mathematics, count right, and run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import LOSSES, NETWORKS, train_options, train_step
from torch import Tensor, nn

from benchmarks import losses, step
from benchmarks.measure import count_flops, peak_memory
from benchmarks.plain import PlainStep
from models import MODELS
from options import Options
from util.errors import UserError

CPU = torch.device("cpu")


def in_float64(options: Options) -> tuple[Any, PlainStep]:
    """Build our model and the plain step with the same weights, none of which an optimizer will move."""
    ours, plain = MODELS["sc"](options, training=True), PlainStep(options, CPU)
    plain.generator.load_state_dict(ours.networks["G"].state_dict())
    plain.discriminator.load_state_dict(ours.networks["D"].state_dict())
    plain.heads.load_state_dict(ours.structure.loss.heads.state_dict())
    for network in (*ours.networks.values(), *ours.constants.values(), plain.generator, plain.discriminator,
                    plain.heads, plain.vgg):
        network.double()
    for optimizer in (*ours.optimizers.values(), *plain.optimizers.values()):
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    return ours, plain


@pytest.mark.parametrize(("method", "window", "norm"), [  # windows below and above the maps' sides, 16 and 8
    ("FSeSim", 64, "--use_norm"), ("LSeSim", 4, "")])
def test_the_plain_step_has_the_same_gradients(method: str, window: int, norm: str) -> None:
    options = train_options(Path(), f"{' '.join(step.METHODS[method])} --patch_size {window} {norm} --batch_size 2")
    ours, plain = in_float64(options)
    positions = {side: torch.randperm(side * side)[:8] for side in (16, 8)}
    ours.structure.loss.sample = lambda features: [positions[layer.shape[2]] for layer in features]
    plain.sample = lambda features, count: positions[features.shape[2]][:count]
    batch = {name: images.double() for name, images in step.synthetic_batch(options, CPU).items()}
    our_losses, plain_losses = train_step(ours, [batch]), plain.train_step(batch)
    assert float(our_losses["G"]) == pytest.approx(plain_losses["G"], rel=1e-9)
    pairs = {"G": plain.generator, "D": plain.discriminator}
    if method == "LSeSim":
        pairs["F"] = plain.heads
        assert all(parameter.grad is not None for parameter in plain.vgg.features[:5].parameters())
    for name, network in pairs.items():
        gradient, expected = gradients(ours.networks[name], network)
        assert expected.norm() > 0
        assert (gradient - expected).norm() < 1e-9 * expected.norm(), f"gradients of {name} differ"


def gradients(ours: nn.Module, plain: nn.Module) -> list[Tensor]:
    """Return the gradients of our parameters that have one, and those of the same plain parameters, one vector each."""
    both = zip(ours.parameters(), plain.parameters(), strict=True)
    pairs = [(of.grad.flatten(), beside.grad.flatten()) for of, beside in both
             if of.grad is not None and beside.grad is not None]
    return [torch.cat(of) for of in zip(*pairs, strict=True)]


@pytest.mark.parametrize("flag", ["--lambda_identity 1", "--patch_nums inf", "--loss_mode l1", "--lambda_style 1"])
def test_the_plain_step_refuses_losses_that_it_has_not(flag: str) -> None:
    with pytest.raises(UserError, match="the plain step"):
        PlainStep(train_options(Path(), flag), CPU)


def test_operations_of_a_convolution_and_its_gradients_are_counted() -> None:
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    images = torch.randn(2, 3, 16, 12)
    forward = 2 * (2 * 8 * 16 * 12) * (3 * 9)  # a multiplication and an addition for each weight of each output
    assert count_flops(lambda: convolution(images)) == forward
    assert count_flops(lambda: convolution(images).sum().backward()) == 2 * forward, "no gradient of the images"
    images.requires_grad_()
    assert count_flops(lambda: convolution(images).sum().backward()) == 3 * forward


def build_memory(mebibytes: int) -> Callable[[], object]:
    return lambda: torch.ones(mebibytes, 2**18)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_candidate_alone() -> None:
    ballast = torch.ones(300, 2**18)  # of this process, not of the candidate's
    assert 95 < peak_memory(build_memory, 100, device=CPU) / 2**20 < 200  # imports may have left some memory free
    assert len(ballast) == 300


def numbers(row: Mapping[str, object]) -> list[float]:
    return [value for value in row.values() if isinstance(value, int | float)]


@pytest.mark.slow
def test_the_step_benchmark_fills_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = " ".join((NETWORKS, LOSSES)).replace("--patch_size 4", "").split()
    step.main(["--device", "cpu", "--size", "16", "--rows", "LSeSim-p32-bf16", "--rounds", "1", "--threads", "1",
               "--json", str(tmp_path / "step.json"), *flags])
    report = json.loads((tmp_path / "step.json").read_text())
    assert [row["row"] for row in report["rows"]] == ["LSeSim-p32-bf16"]
    assert all(math.isfinite(number) and number > 0 for row in (*report["rows"], report["rates"])
               for number in numbers(row))
    assert report["rows"][0]["plain GFLOP"] > report["rows"][0]["GFLOP"]
    assert "LSeSim-p32-bf16" in capsys.readouterr().out


@pytest.mark.slow
def test_the_step_benchmark_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    flags = " ".join((NETWORKS, LOSSES)).replace("--patch_size 4", "").split()
    step.main(["--device", "cpu", "--size", "16", "--rows", "FSeSim-p64-float32", "--profile", *flags])
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 + 10
    assert any("conv" in line for line in lines)


def test_rows_are_chosen_by_name() -> None:
    assert {case.speed for case in step.choose_cases("*", [1], CPU)} == set(step.ON_CPU)
    assert {case.speed for case in step.choose_cases("*", [1], torch.device("cuda"))} == set(step.SPEEDS)
    assert [case.batch for case in step.choose_cases("FSeSim-p64-tf32", [1, 8], CPU)] == [1, 8]
    with pytest.raises(UserError, match="fits no row"):
        step.choose_cases("FSeSim-p16-*", [1], CPU)


@pytest.mark.slow
def test_the_losses_benchmark_fills_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses.main(["--device", "cpu", "--channels", "8", "--side", "16", "--window", "8", "--queries", "9", "--rounds",
                 "1", "--batch_size", "2", "--size", "64", "--json", str(tmp_path / "losses.json")])
    report = json.loads((tmp_path / "losses.json").read_text())
    rows = [*report["similarity"], *report["accuracy"]]
    assert all(math.isfinite(number) and number > 0 for row in rows for number in numbers(row))
    by_precision = {row["precision"]: row for row in report["accuracy"] if row["loss"] == "structure"}
    # Rounding decides for a few entries whether they are among the strongest, so gradients differ more than losses.
    assert by_precision["float32"]["gradient error"] < 2e-2 < by_precision["bf16 networks"]["gradient error"]
    assert by_precision["bf16 networks"]["own gradient error"] < 1e-4, "the loss itself is computed in float32"
    assert "bf16 throughout" in capsys.readouterr().out
