"""From a loss to a step: several batches and several processes make one gradient, and fp16 losses are scaled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Descent:
    """Takes gradients and steps; ``share`` and ``is_last`` say which part of a step the current batch is.

    Args:
        scaler: scales losses, so that gradients in fp16 do not vanish; left out, it does nothing.
        reducers: for each optimizer, what averages its gradients over processes; empty in one process.
    """

    def __init__(
        self, scaler: torch.amp.GradScaler | None = None, reducers: Mapping[str, DistributedDataParallel] | None = None
    ) -> None:
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.reducers = reducers or {}
        self.share = 1.0  # of the current batch in the images of this step
        self.is_last = True
        self._begun: set[str] = set()  # optimizers that hold gradients of this step's earlier batches

    def minimize(self, name: str, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Add the gradients of ``loss``; with the step's last batch, go down along them."""
        if name not in self._begun:
            optimizer.zero_grad(set_to_none=True)
            self._begun.add(name)
        reducer = self.reducers.get(name)
        loss = self.scaler.scale(loss * self.share)
        if reducer is None:
            loss.backward()
        else:
            with nullcontext() if self.is_last else reducer.no_sync():
                reducer(loss).backward()
        if self.is_last:
            self.scaler.step(optimizer)
            self._begun.remove(name)

    def finish(self) -> None:
        """Adapt the scale, after the step's last batch."""
        self.scaler.update()


def reducer_of(optimizer: torch.optim.Optimizer) -> DistributedDataParallel:
    """Average an optimizer's gradients over all processes, while the backward pass still runs.

    Models call their networks as they are, several times before one backward pass, some for another network's
    loss; so it is not the networks that DistributedDataParallel wraps but their parameters. All it needs to know
    is when a backward pass is about to begin: when the loss is passed through.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return DistributedDataParallel(_PassThrough(parameters), gradient_as_bucket_view=True)


class _PassThrough(nn.Module):
    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)

    def forward(self, loss: Tensor) -> Tensor:
        return loss
