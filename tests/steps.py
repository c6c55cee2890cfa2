"""Models, batches, and checks of training steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import LOSSES, NETWORKS, SIZES, train_options, train_step
from torch import Tensor, nn

from models import MODELS
from models.precision import prepare
from options import RunFlags, SpeedFlags

Batch = dict[str, Tensor]


def build_model(
    root: Path, flags: str = "", *, defaults: Sequence[str] = (NETWORKS, LOSSES, SIZES), double: bool = False
) -> Any:
    """Build a model for training on the CPU from seed 0; in float64 if ``double``."""
    options = train_options(root, flags, defaults=defaults)
    torch.manual_seed(0)
    model = MODELS[options[RunFlags].model](options, training=True)
    if double:
        for network in (*model.networks.values(), *model.constants.values()):
            network.double()
    prepare(model, torch.device("cpu"), options[SpeedFlags])
    return model


def batch(
    seed: int = 0, count: int = 1, *, channels: tuple[int, int] = (3, 3), size_a: tuple[int, int] = (16, 16),
    size_b: tuple[int, int] = (16, 16), dtype: torch.dtype = torch.float32,
) -> Batch:
    """Return noise in [-1, 1]: A, B and their jittered copies, [count, channels of the domain, size of the domain]."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"A": (count, channels[0], *size_a), "B": (count, channels[1], *size_b)}
    return {name: 2 * torch.rand(shapes[name[0]], generator=generator, dtype=dtype) - 1
            for name in ("A", "B", "A_aug", "B_aug")}


def weights(network: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in network.parameters()]


def checked_steps(model: Any, *batches: Batch) -> dict[str, Tensor]:
    """Take a step on each batch, check that every network has learned, and return the last losses."""
    before = {name: weights(network) for name, network in model.networks.items()}
    for images in batches:
        losses = train_step(model, [images])
    assert_learned(model, before, losses)
    return losses


def assert_learned(model: Any, before: Mapping[str, list[Tensor]], losses: Mapping[str, Tensor]) -> None:
    """Check that losses are finite numbers, that G is the sum of its terms, and that every network has learned."""
    for name, loss in losses.items():
        assert loss.shape == (), name
        assert math.isfinite(loss.item()), name
        assert not loss.requires_grad, name
    assert losses["G"].item() == pytest.approx(sum(v.item() for k, v in losses.items() if k.startswith("G_")), rel=1e-5)
    for name, network in model.networks.items():
        after = weights(network)
        assert any(not torch.equal(a, b) for a, b in zip(before[name], after, strict=True)), f"{name} has not learned"
        assert all(value.isfinite().all() for value in after), name


class Descent:
    """Steps of a plain formulation: of its ``optimizers``, along the gradients of its ``networks``."""

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]

    def descend(self, loss: Tensor, *names: str) -> None:
        for name in names:
            parameters = list(self.networks[name].parameters())
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        for name in names:
            self.optimizers[name].step()


def assert_same_steps(
    model: Any, plain: Any, images: Batch, *, steps: int, rel: float = 1e-6, rtol: float = 1e-5, atol: float = 1e-9,
    compare_weights: bool = False,
) -> None:
    """Compare the losses and gradients of some steps with those of a plain formulation.

    Args:
        model: the model.
        plain: a function of a batch that takes a step and returns its losses, with ``networks``.
        images: the batch.
        steps: number of steps.
        rel: relative tolerance of the losses.
        rtol, atol: tolerances of the gradients.
        compare_weights: compare the weights after each step too; otherwise the model gets those of ``plain``. Adam
            blows up the rounding of gradients that are zero, such as those of heads' last biases.
    """
    for seed in range(steps):
        torch.manual_seed(seed)
        losses = train_step(model, [images])
        torch.manual_seed(seed)
        expected = plain(images)
        assert losses.keys() == expected.keys()
        for name, loss in expected.items():
            assert losses[name].item() == pytest.approx(loss.item(), rel=rel), f"{name}, step {seed}"
        for name, network in plain.networks.items():
            for theirs, ours in zip(network.parameters(), model.networks[name].parameters(), strict=True):
                found = torch.zeros_like(ours) if ours.grad is None else ours.grad  # of biases before a normalisation
                torch.testing.assert_close(found, theirs.grad, rtol=rtol, atol=atol)
                if compare_weights:
                    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
                else:
                    ours.data.copy_(theirs)
