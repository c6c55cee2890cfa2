"""Monitor of a training's numbers: steps that are not finite, losses that leap, a discriminator that overpowers G."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from util.distributed import ALONE, World
from util.errors import UserError
from util.files import replacing
from util.state_dicts import on_cpu

from .meter import stacked
from .random_states import random_states

LAG = 2  # steps after which a GPU's numbers are read: they have arrived by then, and the host need not wait
IN_A_ROW = 10  # faulty steps after which the training ends
FILES = 3  # faulty steps that are kept; a file is as large as the networks
SHOWN = 8  # images in a message


@dataclass
class Step:
    """A step whose numbers may not have arrived yet."""

    seen: int
    names: tuple[str, ...]
    numbers: Tensor  # the losses, their scale, and whether the step was left out
    ready: torch.cuda.Event | None
    batches: Sequence[Mapping[str, Any]]
    random: dict[str, Tensor]  # states before the step


class Monitor:
    """Reads the losses of every step without waiting for the device, and warns or stops.

    All processes of a job read the same steps at the same time, so that they decide alike.

    Args:
        folder: folder for ``nonfinite_SEEN.pth``, the files of faulty steps, readable with ``weights_only=True``.
        networks: networks to keep in these files, beside the batches and the random states.
        extra: further content of these files, such as the options.
        stop: raise `UserError` at a faulty step. Otherwise warn, and raise after `IN_A_ROW` of them in a row.
        warn: shows a sentence to the user; called in the first process only.
        world: the processes that train together.
    """

    def __init__(
        self, folder: Path, networks: Mapping[str, nn.Module], extra: Mapping[str, Any], *, stop: bool,
        warn: Callable[[str], None], world: World = ALONE,
    ) -> None:
        self.folder, self.networks, self.extra, self.stop, self.world = folder, networks, extra, stop, world
        self.symptoms = Symptoms()
        self.faults = self.in_a_row = 0
        self._warn, self._shown = warn, set[str]()
        self._steps: deque[Step] = deque()
        self._random: dict[str, Tensor] = {}

    def before(self, device: torch.device) -> None:
        """Note the random states before a step on ``device``."""
        self._random = random_states(device)

    def after(
        self, seen: int, batches: Sequence[Mapping[str, Any]], losses: Mapping[str, Tensor], scale: Tensor,
        left_out: Tensor,
    ) -> None:
        """Queue the numbers of a step, and examine the steps whose numbers have arrived.

        Args:
            seen: images seen with this step.
            batches: the step's batches.
            losses: scalars by name.
            scale: factor of the losses before their gradients are taken, a scalar.
            left_out: the scalar 1 if the step was left out, else 0.

        Raises:
            UserError: a step was faulty, and the training should end.
        """
        numbers = stacked((*losses.values(), scale, left_out))
        ready = None
        if numbers.device.type == "cuda":
            numbers, ready = numbers.to("cpu", non_blocking=True), torch.cuda.Event()
            ready.record()
        self.queue(Step(seen, tuple(losses), numbers, ready, batches, self._random))

    def queue(self, step: Step) -> None:
        """Queue a step; examine those that are `LAG` steps old, or all on a CPU."""
        self._steps.append(step)
        while len(self._steps) > (LAG if step.ready else 0):
            self._examine(self._steps.popleft())

    def settle(self) -> None:
        """Examine every queued step. To be called before weights are saved.

        Raises:
            UserError: as `after`.
        """
        while self._steps:
            self._examine(self._steps.popleft())

    def _examine(self, step: Step) -> None:
        if step.ready:
            step.ready.synchronize()
        *values, scale, left_out = step.numbers.tolist()
        losses = dict(zip(step.names, values, strict=True))
        if left_out:
            self._handle(step, losses)
            return
        self.in_a_row = 0
        for text in self.symptoms.see(losses, scale):
            if self.world.is_first and text not in self._shown:
                self._shown.add(text)
                self._warn(text)

    def _handle(self, step: Step, losses: Mapping[str, float]) -> None:
        """Keep a faulty step in a file; warn, or raise if the training should end."""
        self.faults, self.in_a_row = self.faults + 1, self.in_a_row + 1
        end = self.stop or self.in_a_row >= IN_A_ROW
        bad = [name for name, value in losses.items() if not torch.tensor(value).isfinite()]
        kept = f"; {self._keep(step, losses)} holds the step" if end or self.faults <= FILES else ""
        of_all = self.world.gather((bad, paths_of(step.batches)))
        text = self.world.same(f"the step to image {step.seen} has {fault_of(of_all)}") + kept
        if self.stop:
            raise UserError(f"{text}; lower --lr, leave out --amp, or go on with --on_nan skip, which leaves out such "
                            "steps")
        if end:
            raise UserError(f"{text}, the {IN_A_ROW}th in a row: the weights before them are still good; lower --lr or "
                            "leave out --amp, and go on with --continue_train")
        if self.world.is_first:
            self._warn(f"{text}; it was left out, --on_nan skip")

    def _keep(self, step: Step, losses: Mapping[str, float]) -> str:
        """Write the file of a step; returns its path, or why there is none."""
        of_rank = f"_rank{self.world.rank}" if self.world.rank else ""
        path = self.folder / f"nonfinite_{step.seen}{of_rank}.pth"
        content = {
            **self.extra, "seen": step.seen, "losses": dict(losses), "batches": [dict(batch) for batch in step.batches],
            "random": step.random, "networks": {name: net.state_dict() for name, net in self.networks.items()},
        }
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                torch.save(on_cpu(content), file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            return f"{path} could not be written ({error}), so no file"
        return str(path)


COLLAPSED = ("--amp fp16: the scale of the losses has fallen below 1, so that gradients overflow whatever it is and "
             "many steps are left out; use --amp bf16 or no")


class Symptoms:
    """Detects losses that leap and discriminators that overpower the generator, from running means."""

    SPIKE = 10.0  # times the long mean
    SHORT, LONG = 1 / 10, 1 / 500  # weights of the newest value in the two means
    WON = 0.01  # least squares and cross-entropies of an undecided discriminator are 0.25 and 0.69

    def __init__(self) -> None:
        self.steps = 0
        self.short: dict[str, float] = {}
        self.long: dict[str, float] = {}

    def see(self, losses: Mapping[str, float], scale: float = 1.0) -> list[str]:
        """Take the finite losses of a step, and the scale of losses in fp16.

        Returns:
            Sentences for the user; a symptom that lasts gives the same sentence at every step.
        """
        if ("G_first" in losses) != ("G_first" in self.long):  # losses before and after --identity_first do not compare
            self.steps, self.short, self.long = 0, {}, {}
        self.steps += 1
        for name, value in losses.items():
            size = abs(value)
            for means, least in ((self.short, self.SHORT), (self.long, self.LONG)):
                weight = max(least, 1 / self.steps)  # at first a plain mean
                means[name] = means.get(name, size) * (1 - weight) + size * weight
        collapsed = [COLLAPSED] if scale < 1 else []
        if self.steps * self.LONG < 1:
            return collapsed
        return [*collapsed, *self._spikes(), *self._winners()]

    def _spikes(self) -> list[str]:
        total = self.short.get("G", 0.0)
        if total <= self.SPIKE * self.long.get("G", 0.0):
            return []
        return ["the generator's loss G has leapt to more than ten times its mean; if it stays there, lower --lr, or "
                "go on from an earlier --epoch"]

    def _winners(self) -> list[str]:
        names = [name.removesuffix("_real") for name in self.long if name.endswith("_real")]
        return [
            f"the discriminator {name} has won: {name}_real and {name}_fake have stayed near 0, so that the generator "
            "hardly learns from it; try a lower --lr, a smaller --ndf or --n_layers_D, --gan_mode lsgan, or a larger "
            "--pool_size"
            for name in names if max(self.long[f"{name}_real"], self.long.get(f"{name}_fake", 1.0)) < self.WON
        ]


def fault_of(processes: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Describe a fault, from the losses of each process that are not finite, and its images."""
    # If all losses are finite a gradient is not, and every image of the step contributes to it.
    faults = [process for process in processes if process[0]]
    names = sorted({name for of, _ in faults for name in of})
    images = [path for _, paths in faults or processes for path in paths]
    what = f"{', '.join(names)} not finite" if names else "a gradient not finite, though all losses are"
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    return f"{what} (images {', '.join(images[:SHOWN])}{more})"


def paths_of(batches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the paths of the images in batches."""
    return [path for batch in batches for name, paths in batch.items() if name.endswith("_paths") for path in paths]
