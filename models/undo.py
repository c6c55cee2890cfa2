"""What a step changed before its fault was found, put back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class Undo:
    """Copies of tensors, made before a step changes them. The host never waits for a GPU here."""

    def __init__(self) -> None:
        self._copies: dict[str, list[Tensor]] = {}  # kept from step to step: their memory is used again
        self._kept: dict[str, list[Tensor]] = {}

    def keep(self, name: str, tensors: Iterable[Tensor], *, new: bool = False) -> None:
        """Remember the values of ``tensors``, unless something was kept under this name since `settle`.

        ``new`` ones have only just come to be, and are zero in the place of what they hold already.
        """
        current = [tensor.detach() for tensor in tensors]
        if name in self._kept or not current:
            return
        copies = self._copies.get(name, [])
        if [copy.shape for copy in copies] != [tensor.shape for tensor in current]:
            copies = self._copies[name] = [torch.empty_like(tensor) for tensor in current]
        if new:
            torch._foreach_zero_(copies)
        else:
            torch._foreach_copy_(copies, current)
        self._kept[name] = current

    def settle(self, faulty: Tensor) -> None:
        """Put the kept values back if ``faulty`` (a scalar, 0 or 1) is 1, and forget them in any case."""
        for name, current in self._kept.items():
            put_back(current, self._copies[name], faulty)
        self._copies = {name: copies for name, copies in self._copies.items() if name in self._kept}
        self._kept = {}


@torch.no_grad()
def put_back(tensors: Sequence[Tensor], copies: Sequence[Tensor], faulty: Tensor) -> None:
    """``copies`` to ``tensors`` where the scalar ``faulty`` is 1; decided where the tensors are."""
    if faulty.device.type == "cpu" and not faulty.item():
        return
    for tensor, copy in zip(tensors, copies, strict=True):
        torch.where(faulty > 0, copy, tensor, out=tensor)
