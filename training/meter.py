"""Mean losses between two reports, without waiting for the device."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from util.distributed import ALONE, World


class LossMeter:
    """Sums losses on their own device; the host waits for the device only in `means`."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}  # of losses that come together, and last the number of steps
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}  # 1 and 0 on each device

    def add(self, losses: Mapping[str, Tensor], left_out: Tensor | int = 0) -> None:
        """Add one step's losses; one that has several elements counts with their mean.

        A name may be absent in some steps: its mean is over the steps that have it.

        Args:
            losses: by name.
            left_out: the scalar 1 for a step that was left out, whose losses are then not added.
        """
        device = next(iter(losses.values())).device
        if device not in self._constants:
            self._constants[device] = torch.ones((), device=device), torch.zeros((), device=device)
        one, zero = self._constants[device]
        names, row = tuple(losses), stacked([*losses.values(), one])  # one tensor: each operation launches one kernel
        row = row if isinstance(left_out, int) else row.where(left_out == 0, zero)
        earlier = self._earlier(names)
        self._sums[names] = row if earlier is None else row + earlier.to(row.device)

    def _earlier(self, names: tuple[str, ...]) -> Tensor | None:
        """Compute the sums of losses that have come together, or that are the first after `load_state_dict`."""
        single = [self._sums[(name,)] for name in names if (name,) in self._sums]
        if names in self._sums or len(single) < len(names) or len({float(row[1]) for row in single}) > 1:
            return self._sums.get(names)
        for name in names:
            del self._sums[(name,)]
        return torch.cat([torch.stack([row[0] for row in single]), single[0][1:]])

    def means(self) -> dict[str, float]:
        """Compute the means since the last call, by name in order of appearance; NaN where every step was left out."""
        sums, counts = self._totals()
        self._sums.clear()
        return {name: total / counts[name] if counts[name] else math.nan for name, total in sums.items()}

    def _totals(self) -> tuple[dict[str, float], dict[str, float]]:
        """Compute the sums of the losses and their numbers of steps, by name."""
        sums, counts = dict[str, float](), dict[str, float]()
        for names, row in self._sums.items():
            *values, count = row.tolist()
            for name, value in zip(names, values, strict=True):
                sums[name], counts[name] = sums.get(name, 0.0) + value, counts.get(name, 0.0) + count
        return sums, counts

    def state_dict(self, world: World = ALONE) -> dict[str, Any]:
        """Compute the sums since the last report, averaged over all processes. All must call it."""
        sums, counts = self._totals()
        return {"sums": world.mean(sums), "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._sums = {(name,): torch.tensor([total, state["counts"][name]]) for name, total in state["sums"].items()}


def stacked(values: Iterable[Tensor]) -> Tensor:
    """Stack the means of some tensors to one tensor, float32: [N], on the device of the first one."""
    means = [value.detach().float() for value in values]
    means = [value.mean() if value.dim() else value for value in means]
    return torch.stack([value.to(means[0].device) for value in means])
