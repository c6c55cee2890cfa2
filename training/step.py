"""The training step: gradients of every objective, and optimizer steps along them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from models import Model
from models.objective import Objective
from options import NetworkFlags, Options, SpeedFlags, TrainFlags
from util.distributed import ALONE, World
from util.errors import UserError
from util.state_dicts import AVERAGE

from .averages import update_averages
from .graph import StepGraphs, Taken, cuda_graphs

IDENTITY = "identity"
"""The choice for a micro-batch that only teaches the generators to return their input."""


def build_step(model: Model, device: torch.device, options: Options, world: World = ALONE) -> TrainingStep:
    """Build the training step of a model that is prepared for ``device``, as the options describe it.

    Raises:
        UserError: ``--on_nan skip`` with batch normalisation; ``--freeze`` matches no parameter, all of them, or all
            that ``--identity_first`` teaches; or ``--cuda_graph on`` where nothing can be captured.
    """
    flags, networks = options[TrainFlags], options[NetworkFlags]
    if flags.on_nan == "skip" and "batch" in (networks.norm, networks.normD):
        raise UserError("--on_nan skip does not go with batch normalisation (--norm, --normD), whose running "
                        "statistics a faulty step would spoil: use --norm instance or --on_nan stop")
    scaler = torch.amp.GradScaler(device.type, enabled=options[SpeedFlags].amp == "fp16")
    if scaler.is_enabled():
        model.memory["scaler"] = scaler
    frozen = frozen_parameters(model, flags.freeze)
    if flags.identity_first and frozen.issuperset(
            parameter for name in model.autoencoders for parameter in model.networks[name].parameters()):
        raise UserError(f"--identity_first teaches the generators, all of which --freeze {flags.freeze} keeps as they "
                        "are: leave one of the two out")
    step = TrainingStep(model, scaler, world, stop_at_fault=flags.on_nan == "stop", frozen=frozen)
    step.graphs = cuda_graphs(step.take, model, device, options, world)
    return step


def frozen_parameters(model: Model, pattern: str) -> set[nn.Parameter]:
    """Find the parameters whose names, ``NETWORK.PARAMETER``, begin with a match of a regular expression.

    Raises:
        UserError: there is none, or no other.
    """
    if not pattern:
        return set()
    names = {f"{network}.{name}": parameter for network, module in model.networks.items()
             if not network.endswith(AVERAGE) for name, parameter in module.named_parameters()}
    found = {parameter for name, parameter in names.items() if re.match(pattern, name)}
    if not found:
        firsts = {name.partition(".")[0]: name for name in reversed(names)}
        raise UserError(f"--freeze {pattern} matches no parameter: their names are such as "
                        f"{', '.join(reversed(firsts.values()))}")
    if len(found) == len(names):
        raise UserError(f"--freeze {pattern} matches all {len(names)} parameters, and leaves nothing to train")
    return found


class TrainingStep:
    """Trains a model on a batch, or on several micro-batches whose gradients add up.

    Micro-batches are equivalent to one large batch, except that

    - what a method draws at random is drawn for each of them;
    - batch statistics (``--norm batch``, ``--netD tilestylegan2``) are theirs;
    - of networks optimised one after the other, the later ones see the step of the earlier ones in the last one only.

    A loss or gradient that is not finite leaves out the step of its optimizer, in all processes. That is decided on the
    device, without waiting for it. A gradient that overflows in fp16 is no fault: the scaler lowers its scale.

    All that a step keeps for the next one is changed in place, so that ``graphs`` can repeat it.

    Args:
        model: with its networks on their device.
        scaler: scales losses so that fp16 gradients do not vanish. By default it does nothing.
        world: the processes that train together.
        stop_at_fault: leave out every optimizer step after a faulty one, until the host has noticed it.
        frozen: parameters that get no gradient and no step. They stay in their optimizers, so that a resumed training
            may freeze others.

    Attributes:
        left_out: 1 if an optimizer's step was left out of the last step, else 0; a scalar on the model's device.
        graphs: captures `take` as CUDA graphs and replays them; None: every step calls `take`.
    """

    def __init__(
        self, model: Model, scaler: torch.amp.GradScaler | None = None, world: World = ALONE, *,
        stop_at_fault: bool = False, frozen: Collection[nn.Parameter] = (),
    ) -> None:
        self.model, self.world, self.stop_at_fault, self.frozen = model, world, stop_at_fault, frozenset(frozen)
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.graphs: StepGraphs | None = None
        self.left_out = torch.zeros((), device=model.device)
        self._stopped = torch.zeros((), device=model.device)  # NaN after a fault at which to stop; so are all faults
        self._earlier = self._stopped  # the same within a step
        self._faults: dict[str, Tensor] = {}  # of this step, by optimizer
        self._losses: dict[str, Tensor] = {}
        self._share, self._is_last = 1.0, True
        self._parameters = {name: [parameter for group in optimizer.param_groups for parameter in group["params"]
                                   if parameter not in self.frozen]
                            for name, optimizer in model.optimizers.items()}
        for network in model.networks.values():
            network.requires_grad_(False)
        for parameter in self._parameters["G"]:
            parameter.requires_grad_(True)

    def __call__(self, batches: Sequence[Mapping[str, Any]], *, identity: bool = False) -> dict[str, Tensor]:
        """Train on micro-batches, on the model's device.

        Args:
            batches: of the data set.
            identity: only teach the generators to return their input.

        Returns:
            Detached scalar losses by name, averaged over the images; ``G`` is the generator's whole objective.
        """
        choices = [IDENTITY if identity else self.model.choose() for _ in batches]
        losses, self.left_out = (self.graphs or self.take)(batches, choices)
        return losses

    def take(self, batches: Sequence[Mapping[str, Any]], choices: Sequence[Hashable]) -> Taken:
        """Take a step on micro-batches with the choices of `Model.choose` or `IDENTITY`.

        Returns:
            The losses, and ``left_out``.
        """
        self._losses, self._faults, self._earlier = {}, {}, self._stopped
        if self.scaler.is_enabled():
            self.scaler._per_optimizer_states.clear()  # those of a step that has failed, such as a capture
        counts = [len(batch["A"]) for batch in batches]
        for number, (batch, choice, count) in enumerate(zip(batches, choices, counts, strict=True), 1):
            self._share, self._is_last = count / sum(counts), number == len(batches)
            self.model.set_input(batch)
            self.model.choice = choice
            train = self.model.learn_identity if choice == IDENTITY else self.model.optimize_parameters
            train(self.minimize)
        self.scaler.update()
        update_averages(self.model)
        if self.stop_at_fault:
            self._stopped.copy_(self._earlier)
        return self._losses, torch.stack(list(self._faults.values())).sum().isnan().float()

    def scale(self) -> Tensor:
        """Return the factor of the losses in fp16, else 1; a scalar on the model's device."""
        return self.scaler.scale(torch.ones_like(self.left_out))

    def minimize(self, name: str, objective: Callable[[], Objective]) -> None:
        """Add the gradient of an objective; on the last micro-batch, take a step of the optimizer ``name``."""
        optimizer, parameters = self.model.optimizers[name], self._parameters[name]
        if name not in self._faults:
            optimizer.zero_grad(set_to_none=True)
        for parameter in parameters:
            parameter.requires_grad_(True)
        loss, terms = objective()
        fault = 0 * loss.detach()
        if name in self._faults:
            fault = fault + self._faults[name]
        if self.stop_at_fault:
            fault = fault + self._earlier
        if parameters:
            self.scaler.scale(loss).backward(fault + self._share)
        for parameter in parameters:
            parameter.requires_grad_(name == "G")
        for term, value in terms.items():
            part = value.detach() if self._share == 1 else value.detach() * self._share
            self._losses[term] = self._losses[term] + part if term in self._losses else part
        if self._is_last:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            self.world.average([*gradients, fault])
            fault = self._step(optimizer, gradients, fault)
        self._faults[name] = fault
        if self.stop_at_fault:
            self._earlier = fault

    def _step(self, optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor], fault: Tensor) -> Tensor:
        """Take an optimizer step unless it is faulty, or nothing has a gradient; returns the fault."""
        if not gradients:
            return fault
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            return fault
        # Adam squares the gradients: the norm overflows where its moments would.
        fault = fault.add(get_total_norm(gradients), alpha=0)
        if fault.device.type in ("cpu", "cuda"):
            optimizer.found_inf = fault.isnan().float()  # type: ignore[attr-defined]  # fused steps read it
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        elif not fault.isnan():
            optimizer.step()
        return fault
