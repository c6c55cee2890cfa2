"""From a loss to a step: batches and processes make one gradient, fp16 losses are scaled, faulty steps left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from util.distributed import ALONE, World

from .undo import Undo


class Descent:
    """Takes gradients and steps; ``share`` and ``is_last`` say which part of a step the current batch is.

    A loss or gradient that is not finite leaves the whole step out: what it would have changed, and what it had changed
    before, stays what it was. All of that is decided on the device, without the host, and the same in all processes,
    since the gradients that they share spread it. What fp16's scale makes infinite is no such fault: there the losses
    alone are looked at, and the scaler leaves out what it must.

    Args:
        scaler: scales losses, so that gradients in fp16 do not vanish; left out, it does nothing.
        reducers: for each optimizer, what averages its gradients over processes; empty in one process.
        world: the processes that train together.

    Attributes:
        stop_at_fault: leave out every step after a faulty one too, so that the weights stay those before it.
        left_out: 1 if the last step was left out, else 0; a scalar on the model's device.
    """

    def __init__(
        self, scaler: torch.amp.GradScaler | None = None, reducers: Mapping[str, DistributedDataParallel] | None = None,
        world: World = ALONE,
    ) -> None:
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.reducers = reducers or {}
        self.world = world
        self.share = 1.0  # of the current batch in the images of this step
        self.is_last = True
        self.stop_at_fault = False
        self.left_out = torch.zeros(())
        self._fault = torch.zeros(())  # NaN from the first fault of a step on
        self._begun: set[str] = set()  # optimizers that hold gradients of this step's earlier batches
        self._steps: list[str] = []  # names of the optimizers that have stepped in this step, in their order
        self._steps_before: list[str] = []  # in the step before
        self._undo = Undo()

    def begin(self, networks: Iterable[nn.Module]) -> None:
        """Before the step's first batch; of ``networks`` the buffers change in the forward pass."""
        self._undo.keep("", (buffer for network in networks for buffer in network.buffers()))

    def minimize(self, name: str, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Add the gradients of ``loss``; with the step's last batch, go down along them."""
        if name not in self._begun:
            optimizer.zero_grad(set_to_none=True)
            self._begun.add(name)
        reducer = self.reducers.get(name)
        self._fault = self._fault + 0 * loss.detach()
        # By 1, or by NaN: what is not finite here becomes so in all gradients, and by their mean in all processes.
        loss = self.scaler.scale(loss * self.share * (1 + self._fault))
        if reducer is None:
            loss.backward()
        else:
            with nullcontext() if self.is_last else reducer.no_sync():
                reducer(loss).backward()
        if self.is_last:
            self._step(name, optimizer)
            self._begun.remove(name)

    def finish(self) -> None:
        """After the step's last batch: adapt the scale, and take back what a faulty step has done."""
        self.scaler.update()
        if self.scaler.is_enabled() and self.reducers:  # where gradients do not tell the other processes' faults
            self._fault = self.world.sum(self._fault)
        self.left_out = self._fault.isnan().float()
        self._undo.settle(self.left_out)
        self._steps_before, self._steps = self._steps, []
        if not self.stop_at_fault:
            self._fault = torch.zeros_like(self._fault)

    def scale(self) -> Tensor:
        """By what the losses are multiplied, a scalar on the model's device."""
        return self.scaler.scale(torch.ones_like(self.left_out))

    def _step(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        """Step, unless this step is faulty."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        moments = moments_of(optimizer)
        # After the last network of a step there is nothing that could fail and undo it; and it does not step itself,
        # where fused steps are known to read what tells them so.
        is_last = self._steps_before[-1:] == [name] and self._steps_before.count(name) == 1
        undoable = not is_last or self._fault.device.type not in ("cpu", "cuda")
        if undoable:
            self._undo.keep(name, [*parameters, *moments])
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
        else:
            # In squares, as Adam takes them: what overflows there would spoil its moments.
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
            self._fault = self._fault + 0 * norm
            optimizer.found_inf = self._fault.isnan().float()  # type: ignore[attr-defined]  # read by fused steps
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        if undoable and not moments:
            self._undo.keep(f"{name}'s moments", moments_of(optimizer), new=True)
        self._steps.append(name)


def moments_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What an optimizer keeps from step to step; nothing before its first one."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


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
