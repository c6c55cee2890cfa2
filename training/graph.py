"""The training step as CUDA graphs, each captured once and replayed by a single launch instead of a thousand.

A graph repeats kernels on the addresses that they had. So all that a step reads or changes must keep its place: batches
are copied into tensors of the graph, learning rates are tensors that the optimizers' own numbers are written into, and
the model, the optimizers and the image pools are changed in place. What the host decides stays as it was at the
capture. So there is a graph for each choice of `Model.choose` and each shape of batch.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from models import Model
from models.image_pool import ImagePool, PreviousImages
from options import DataFlags, Options, SpeedFlags, TrainFlags, has_crop
from util.distributed import World
from util.errors import UserError

from .meter import stacked

WARM_UP = 3
"""Steps of a kind before its capture: cuDNN searches algorithms, and optimizers create their state."""
MOST = 16
"""Graphs; each holds the gradients and the pictures of its step."""

Batches: TypeAlias = Sequence[Mapping[str, Any]]
Taken: TypeAlias = tuple[dict[str, Tensor], Tensor]
"""The losses of a step by name, and whether it was left out; scalars."""


def cuda_graphs(
    take: Callable[[Batches, Sequence[Hashable]], Taken], model: Model, device: torch.device, options: Options,
    world: World,
) -> StepGraphs | None:
    """Build graphs of the step ``take``, as ``--cuda_graph`` asks; None: every step is to launch its own kernels.

    Raises:
        UserError: ``--cuda_graph on`` where nothing can be captured.
    """
    flag, reason = options[TrainFlags].cuda_graph, obstacle(device, options, world)
    if flag == "on" and reason:
        raise UserError(f"--cuda_graph on: {reason}; use --cuda_graph auto")
    return None if reason or flag == "off" else StepGraphs(take, model, CudaRecorder(device), required=flag == "on")


def obstacle(device: torch.device, options: Options, world: World) -> str | None:
    """Say why the steps of a training cannot be captured; None: they can be."""
    if device.type != "cuda":
        return f"graphs need a CUDA device, and this training is on {device}"
    if options[SpeedFlags].compile:
        return "a step with --compile is not captured"
    if world.size > 1:
        return "processes that train together average gradients, which is not captured"
    if not has_crop(options[DataFlags].preprocess):
        return f"a graph is for images of one size, which --preprocess {options[DataFlags].preprocess} does not give"
    return None


class Recorder(Protocol):
    """Runs and captures functions of a device."""

    def renew(self) -> None:
        """Forget earlier captures: nothing repeats them any more."""

    def run(self, function: Callable[[], Taken]) -> Taken:
        """Call a function in the way in which it will be captured."""

    def capture(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record a function without effect on the device; return its result, and a function that repeats it.

        Raises:
            RuntimeError: it does what cannot be repeated, such as reading a number from the device.
        """


class CudaRecorder:
    """Captures CUDA graphs that share their memory, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def renew(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()  # torch takes no new graphs into the pool of graphs that are gone

    def run(self, function: Callable[[], Taken]) -> Taken:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = function()
        current.wait_stream(self._stream)
        return result

    def capture(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        graph, random = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # eager steps have kept the memory that the graph needs
        with torch.cuda.stream(self._stream):
            # Threads that load images may use CUDA meanwhile.
            graph.capture_begin(self._pool, capture_error_mode="thread_local")
            try:
                result = function()
                graph.capture_end()
            except BaseException:
                self._abandon(graph, random)
                raise
        return result, graph.replay

    def _abandon(self, graph: torch.cuda.CUDAGraph, random: Tensor) -> None:
        """Leave a capture that has failed, so that eager steps have all memory and draw the next random numbers.

        torch leaves neither its pool of memory nor, in early versions, the capturing state of the generator.
        """
        device = torch.cuda.current_device()
        with suppress(RuntimeError):  # it says once more that the capture has failed
            graph.capture_end()
        if hasattr(torch._C, "_cuda_endAllocateToPool"):  # early versions lack it
            with suppress(RuntimeError):  # the pool is closed, because the failure has nothing to do with CUDA
                torch._C._cuda_endAllocateToPool(device, self._pool)
                torch._C._cuda_releasePool(device, self._pool)
        generator = torch.Generator(torch.device("cuda", device))
        generator.set_state(random)
        torch.cuda.default_generators[device].graphsafe_set_state(generator.graphsafe_get_state())


@dataclass
class Captured:
    """A captured step."""

    replay: Callable[[], None]
    batches: list[dict[str, Tensor]]  # its inputs
    names: tuple[str, ...]  # of its losses
    numbers: Tensor  # the losses, and whether the step was left out
    images: dict[str, Tensor]  # of the model
    gradients: dict[nn.Parameter, Tensor | None]


class StepGraphs:
    """Takes steps: those of the most frequent shape by graphs, once the model is warmed up, the others eagerly.

    Args:
        take: takes a step on micro-batches with their choices, and changes tensors in place.
        model: the model that ``take`` trains.
        recorder: captures.
        required: raise `UserError` if a step cannot be captured. Otherwise warn, and take all steps eagerly.

    Attributes:
        graphs: the captured steps, by choices and shapes.
        warn: shows a sentence to the user.
    """

    def __init__(
        self, take: Callable[[Batches, Sequence[Hashable]], Taken], model: Model, recorder: Recorder, *,
        required: bool = True,
    ) -> None:
        self._take, self._model, self._recorder, self._required = take, model, recorder, required
        self.warn: Callable[[str], None] = warnings.warn
        self._most = MOST
        self._begin()

    def _begin(self) -> None:
        """Begin without graphs, at the state that the model has now."""
        self.graphs: dict[Hashable, Captured] = {}
        self._recorder.renew()
        self._attached: Captured | None = None  # whose images and gradients the model has
        self._seen = Counter[Hashable]()  # steps, by choices and shapes
        self._shapes = Counter[Hashable]()
        self._kept = self._replaceable()
        self._groups = [group for optimizer in self._model.optimizers.values() for group in optimizer.param_groups]
        self._rates = [torch.zeros((), device=self._model.device) for _ in self._groups]
        self._written = [0.0 for _ in self._groups]

    def _replaceable(self) -> list[object]:
        """List some of what steps change in place, but a loaded state replaces."""
        return [*(next(iter(optimizer.state.values()), None) for optimizer in self._model.optimizers.values()),
                *(pool.rows for pool in self._pools())]

    def _pools(self) -> list[ImagePool | PreviousImages]:
        return [item for item in self._model.memory.values() if isinstance(item, ImagePool | PreviousImages)]

    def __call__(self, batches: Batches, choices: Sequence[Hashable]) -> Taken:
        """Take a step; arguments and result are those of ``take``."""
        if any(now is not kept for now, kept in zip(self._replaceable(), self._kept, strict=True)):
            self._begin()
        self._write_rates()
        shapes = tuple((name, value.shape, value.dtype) for batch in batches for name, value in tensors(batch).items())
        kind = (tuple(choices), shapes)
        self._seen[kind] += 1
        self._shapes[shapes] += 1
        if kind not in self.graphs and self._is_due(kind, shapes):
            self._add(kind, batches, choices)
        if kind in self.graphs:
            return self._repeat(self.graphs[kind], batches)
        self._attached = None
        with self._rates_in_place():
            return self._recorder.run(lambda: self._take(batches, choices))

    def _is_due(self, kind: Hashable, shapes: Hashable) -> bool:
        """Check whether to capture a step of a kind; not the last batch of an epoch, if it is smaller."""
        steady = all(pool.steady for pool in self._pools())
        most = 2 * self._shapes[shapes] > self._shapes.total()
        return steady and most and self._seen[kind] > WARM_UP and len(self.graphs) < self._most

    def _add(self, kind: Hashable, batches: Batches, choices: Sequence[Hashable]) -> None:
        """Capture steps of a kind, or warn that there will be no more graphs.

        Raises:
            UserError: the step cannot be captured, and must be.
        """
        try:
            self.graphs[kind] = self._captured(batches, choices)
        except RuntimeError as error:
            self.graphs.clear()  # their random numbers would repeat: a failed capture replaces the generator's state
            self._attached = None
            reason = str(error).partition("\n")[0]
            if self._required:
                raise UserError(f"--cuda_graph on: the step cannot be captured ({reason}); use --cuda_graph off"
                                ) from error
            self._most = 0
            self.warn(f"the step cannot be captured as a CUDA graph ({reason}); the training goes on without")
        if len(self.graphs) == MOST:
            self.warn(f"there are {MOST} CUDA graphs, one for each random choice that changes the operations of a "
                      "step; steps with other choices launch their kernels one by one")

    def _write_rates(self) -> None:
        """Write the learning rates of the optimizers, which schedules set, into their tensors."""
        for number, (group, rate) in enumerate(zip(self._groups, self._rates, strict=True)):
            if group["lr"] != self._written[number]:
                self._written[number] = group["lr"]
                rate.fill_(group["lr"])

    @contextmanager
    def _rates_in_place(self, *, capturable: bool = False) -> Iterator[None]:
        """Give the optimizers their learning rates as tensors, within the block."""
        for group, rate in zip(self._groups, self._rates, strict=True):
            group.update(lr=rate, capturable=capturable)
        try:
            yield
        finally:
            for group, written in zip(self._groups, self._written, strict=True):
                group.update(lr=written, capturable=False)

    def _captured(self, batches: Batches, choices: Sequence[Hashable]) -> Captured:
        """Capture a step on batches of these shapes."""
        inputs = [{name: value.clone() for name, value in tensors(batch).items()} for batch in batches]
        names: tuple[str, ...] = ()

        def take() -> Tensor:
            nonlocal names
            losses, left_out = self._take(inputs, choices)
            names = tuple(losses)
            return stacked((*losses.values(), left_out))

        with self._rates_in_place(capturable=True):
            numbers, replay = self._recorder.capture(take)
        gradients = {parameter: parameter.grad for group in self._groups for parameter in group["params"]}
        return Captured(replay, inputs, names, numbers, self._model.images, gradients)

    def _repeat(self, captured: Captured, batches: Batches) -> Taken:
        """Replay a captured step on batches."""
        for inputs, batch in zip(captured.batches, batches, strict=True):
            torch._foreach_copy_(list(inputs.values()), [batch[name] for name in inputs])
        captured.replay()
        if self._attached is not captured:
            self._attached, self._model.images = captured, captured.images
            for parameter, gradient in captured.gradients.items():
                parameter.grad = gradient
        *losses, left_out = captured.numbers.clone().unbind()  # the next replay overwrites the original
        return dict(zip(captured.names, losses, strict=True)), left_out


def tensors(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a batch, without the paths of its images."""
    return {name: value for name, value in batch.items() if isinstance(value, Tensor)}
