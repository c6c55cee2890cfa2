"""A CUDA graph for CPUs: records the operations of a function on tensors, and repeats them on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class CpuRecorder:
    """Captures as CUDA does: a capture has no effect, and what the host has decided or read stays as it was then.

    Reading a number from a tensor is refused, as CUDA refuses it.
    """

    def renew(self) -> None:
        pass

    def run(self, function: Callable[[], Any]) -> Any:
        return function()

    def capture(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        random, tape = torch.get_rng_state(), Tape()
        try:
            with tape:
                result = function()
        finally:
            torch.set_rng_state(random)
            tape.undo()
        return result, tape.replay


class Tape(TorchDispatchMode):
    """The operations of a block, below autograd and autocast."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[tuple[int, Tensor]]]] = []
        self.made: set[int] = set()  # storages
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # earlier ones: all of it, and its content before the block

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host reads a tensor, which no graph can repeat")
        kwargs = kwargs or {}
        given = {place(of): of for of in tree_flatten((args, kwargs))[0] if isinstance(of, Tensor)}
        for tensor in given.values():
            self._keep(tensor)  # whether it is changed: not all operations declare what they change
        result = func(*args, **kwargs)
        flat = tree_flatten(result)[0]
        made = [(number, of) for number, of in enumerate(flat) if isinstance(of, Tensor) and place(of) not in given]
        self.made |= {place(of) for _, of in made}
        self.calls.append((func, args, kwargs, made))
        return result

    def _keep(self, tensor: Tensor) -> None:
        if place(tensor) not in self.made | self.before.keys():
            whole = torch.as_strided(tensor.detach(), (tensor.untyped_storage().nbytes() // tensor.element_size(),),
                                     (1,), 0)
            self.before[place(tensor)] = whole, whole.clone()

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, earlier in self.before.values():
            tensor.copy_(earlier)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self.calls:
            flat = tree_flatten(func(*args, **kwargs))[0]
            for number, tensor in made:
                if flat[number].numel():
                    tensor.detach().copy_(flat[number])


def place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
