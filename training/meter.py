"""Mean losses between two reports, without waiting for the device."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from util.distributed import ALONE, World


class LossMeter:
    """Sums losses on their own device; the host waits for the device only in `means`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor | float] = {}

    def add(self, losses: Mapping[str, Tensor], left_out: Tensor | int = 0) -> None:
        """Add one step's losses; one that has several elements counts with their mean.

        A name may be absent in some steps: its mean is over the steps that have it.

        Args:
            losses: by name.
            left_out: the scalar 1 for a step that was left out, whose losses are then not added.
        """
        for name, loss in losses.items():
            # mean() gives a tensor of our own: a loss of a captured graph is overwritten by the next replay.
            value = loss.detach().float().mean()
            value = value if isinstance(left_out, int) else value.where(left_out == 0, 0)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + (1 - left_out)

    def means(self) -> dict[str, float]:
        """The means since the last call, by name in order of appearance; NaN where every step was left out."""
        means = {name: float(total) / count if (count := float(self._counts[name])) else math.nan
                 for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means

    def state_dict(self, world: World = ALONE) -> dict[str, Any]:
        """The sums since the last report, averaged over all processes. All must call it."""
        sums = {name: float(total) for name, total in self._sums.items()}
        return {"sums": world.mean(sums), "counts": {name: float(count) for name, count in self._counts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; a sum becomes a tensor on the losses' device when one is added to it."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
