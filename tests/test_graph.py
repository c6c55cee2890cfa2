"""Steps as graphs: a replayed step is the eager step, to the bit, whatever changes between steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from recorder import CpuRecorder
from steps import Batch, batch, build_model
from tiny import LOSSES, METHODS, NETWORKS, SIZES, train_options
from torch import Tensor

from models import MODELS
from options import RunFlags
from training import graph
from training.graph import StepGraphs
from training.step import TrainingStep, build_step
from util.distributed import World
from util.errors import UserError

LR = "--lr 0.0009765625"  # a rate that float32 has: those of graphs are tensors
KINDS = {
    "differentiable augmentation": "--diff_augment color,translation,cutout",
    "spectral normalisation": "--normD spectral",
    "moving averages, batch normalisation and dropout": "--ema 0.5 --norm batch --no_dropout false",
    "gradient penalties": "--lambda_R1 1 --lambda_gradient 10 --gan_mode wgangp",
    "all terms": "--lambda_identity 1 --lambda_spatial_idt 1 --lambda_perceptual 1 --lambda_style 1 --loss_mode info",
    "features that learn": "--learned_attn --augment --vgg_lr_scale 0.1",
    "queries by entropy": "--query_by entropy",
    "half precision": "--amp bf16",
    "scaled half precision": "--amp fp16",
    "frozen layers": "--freeze G.model.[14]",
}
QUICK = ("LSeSim", "FastCUT", "moving averages, batch normalisation and dropout", "scaled half precision")
"""Those that each run of the tests tries."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture after one step."""
    monkeypatch.setattr(graph, "WARM_UP", 1)


class Training:
    """A model that takes steps, by graphs if ``captured``."""

    def __init__(self, root: Path, flags: str, *, captured: bool, required: bool = True) -> None:
        defaults = (NETWORKS, SIZES) if "--model" in flags else (NETWORKS, LOSSES, SIZES)
        pool = "" if any(f"--model {name}" in flags for name in ("pix2pix", "sb")) else "--pool_size 2"
        self.model: Any = build_model(root, f"{pool} {LR} {flags}", defaults=defaults)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3, enabled="fp16" in flags)
        self.step = TrainingStep(self.model, scaler, stop_at_fault=True)
        if captured:
            self.step.graphs = StepGraphs(self.step.take, self.model, CpuRecorder(), required=required)
        self.random = torch.get_rng_state()

    @property
    def graphs(self) -> dict[Any, Any]:
        assert self.step.graphs
        return self.step.graphs.graphs

    def take(self, batches: Sequence[Batch], rate: float = 1.0) -> dict[str, Tensor]:
        """Take a step at a multiple of the learning rate; return the losses and all that the step leaves behind."""
        torch.set_rng_state(self.random)
        for optimizer in self.model.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.0009765625
        losses = self.step(batches)
        self.random = torch.get_rng_state()
        return {**losses, **dict(self.state())}

    def state(self) -> dict[str, Tensor]:
        model, found = self.model, {"left out": self.step.left_out, "scale": self.step.scale(), "random": self.random}
        found |= {f"picture {name}": image for name, image in model.visuals().items()}
        for name, network in model.networks.items():
            found |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
            found |= {f"gradient {name}.{key}": value.grad for key, value in network.named_parameters()
                      if value.grad is not None}
        for name, optimizer in model.optimizers.items():
            found |= {f"optimizer {name}.{number}.{key}": value
                      for number, values in optimizer.state_dict()["state"].items() for key, value in values.items()}
        for name, item in model.memory.items():
            images = item.state_dict().get("images", [])
            found |= {f"memory {name}.{number}": image for number, image in enumerate(images)}
        return {name: value.clone() for name, value in found.items()}


def assert_same(captured: dict[str, Tensor], eager: dict[str, Tensor], when: str) -> None:
    assert captured.keys() == eager.keys(), when
    for name, value in eager.items():
        assert torch.equal(captured[name].nan_to_num(7.0), value.nan_to_num(7.0)), f"{name}, {when}"


def assert_same_steps(captured: Training, eager: Training, steps: int) -> None:
    for number in range(steps):
        assert_same(captured.take([batch(number)]), eager.take([batch(number)]), f"step {number}")


def pair(root: Path, flags: str) -> tuple[Training, Training]:
    return Training(root, flags, captured=True), Training(root, flags, captured=False)


@pytest.mark.parametrize("flags", [
    pytest.param(flags, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for name, flags in (METHODS | KINDS).items()])
def test_a_replayed_step_is_the_eager_step(tmp_path: Path, flags: str) -> None:
    captured, eager = pair(tmp_path, flags)
    for number in range(7):
        images = batch(number, 1 if number == 4 else 2)  # the last batch of an epoch is smaller
        images["A"] *= math.nan if number == 5 else 1
        rate = 2.0 ** -max(0, number - 2)
        assert_same(captured.take([images], rate), eager.take([images], rate), f"step {number}")
    assert captured.graphs
    assert captured.step.left_out == 1


@pytest.mark.parametrize("method", ["LSeSim", pytest.param("CUT", marks=pytest.mark.slow)])
def test_masks_are_inputs_of_a_graph(tmp_path: Path, method: str) -> None:
    captured, eager = pair(tmp_path, METHODS[method])
    for number in range(4):
        images = batch(number, 2)
        images["A_mask"] = images["A"][:, :1] > 0
        assert_same(captured.take([images]), eager.take([images]), f"step {number}")
    assert captured.graphs


def test_micro_batches_are_one_graph(tmp_path: Path) -> None:
    captured, eager = pair(tmp_path, "--learned_attn")
    for number in range(6):
        images = [batch(number, 2), batch(number + 9, 1)]
        assert_same(captured.take(images), eager.take(images), f"step {number}")
    assert len(captured.graphs) == 1


def test_losses_are_not_those_of_the_next_step(tmp_path: Path) -> None:
    training = Training(tmp_path, "--model pix2pix", captured=True)
    earlier = [training.step([batch(number)]) for number in range(5)]
    assert training.graphs
    assert len({losses["G"].item() for losses in earlier}) == 5


def test_smaller_batches_are_never_captured(tmp_path: Path) -> None:
    training = Training(tmp_path, "--model pix2pix", captured=True)
    for number in range(12):
        training.step([batch(number, 1 if number % 3 == 2 else 2)])
    ((_, shapes),) = training.graphs
    assert ("A", (2, 3, 16, 16), torch.float32) in shapes


def test_a_loaded_state_is_trained_and_not_the_one_of_the_capture(tmp_path: Path) -> None:
    captured, eager = pair(tmp_path, "")
    for number in range(10):
        assert_same(captured.take([batch(number)]), eager.take([batch(number)]), f"step {number}")
        if number == 6:
            assert captured.graphs
            for training in (captured, eager):
                for item in (*training.model.optimizers.values(), *training.model.memory.values()):
                    item.load_state_dict(item.state_dict())
    assert captured.graphs


def test_more_choices_than_graphs_are_told_and_taken_eagerly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST", 1)
    captured, eager = pair(tmp_path, METHODS["FastCUT"])
    with pytest.warns(UserWarning, match="there are 1 CUDA graphs"):
        assert_same_steps(captured, eager, 8)
    assert len(captured.graphs) == 1


def read_a_number(training: Training) -> None:
    """Let the host read a number in each step of a training."""
    terms = training.model.generator_terms

    def reading(*features: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = terms(*features)
        return {name: value * (2 if value.item() > 0 else 3) for name, value in found.items()}

    training.model.generator_terms = reading


def test_a_step_that_cannot_be_captured_is_refused_if_it_must_be(tmp_path: Path) -> None:
    training = Training(tmp_path, "", captured=True)
    read_a_number(training)
    for number in range(4):
        training.step([batch(number)])
    with pytest.raises(UserError, match=r"--cuda_graph on: the step cannot be captured \(the host reads"):
        training.step([batch()])


@pytest.mark.parametrize("flags", ["", "--learned_attn --augment --amp fp16"])
def test_a_step_that_cannot_be_captured_is_taken_eagerly_if_it_need_not_be(tmp_path: Path, flags: str) -> None:
    captured, eager = (Training(tmp_path, flags, captured=given, required=False) for given in (True, False))
    for training in (captured, eager):
        read_a_number(training)
    with pytest.warns(UserWarning, match="the training goes on without") as told:
        assert_same_steps(captured, eager, 7)
    assert len(told) == 1


@pytest.mark.parametrize(("flags", "device", "size", "reason"), [
    ("", "cpu", 1, "graphs need a CUDA device, and this training is on cpu"),
    ("--preprocess none", "cuda", 1, "a graph is for images of one size, which --preprocess none does not give"),
    ("--compile", "cuda", 1, "a step with --compile is not captured"),
    ("", "cuda", 2, "processes that train together average gradients, which is not captured"),
])
def test_what_cannot_be_captured_is_refused_or_left_eager(
    tmp_path: Path, flags: str, device: str, size: int, reason: str
) -> None:
    def built(flag: str) -> TrainingStep:
        options = train_options(tmp_path, f"{flags} --cuda_graph {flag}")
        model = MODELS[options[RunFlags].model](options, training=True)
        return build_step(model, torch.device(device), options, World(size=size))

    with pytest.raises(UserError, match=f"^--cuda_graph on: {reason}; use --cuda_graph auto$"):
        built("on")
    assert built("auto").graphs is built("off").graphs is None
