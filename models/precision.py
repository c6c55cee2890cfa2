"""Prepare a model's networks for a device: precision, memory layout, compilation.

Models are written as if there were one process on one device in float32; `prepare` changes what happens beneath.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from options import SpeedFlags
from util.errors import UserError

from .base import Model
from .networks.blocks import Downsample, UnbiasedConv2d, UnbiasedConvTranspose2d, Upsample

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
Output = TypeVar("Output", Tensor, list[Tensor])


def prepare(model: Model, device: torch.device, flags: SpeedFlags) -> None:
    """Move a model to ``device`` and compute its networks as the flags say.

    Half precision is only for the networks' forward passes. Each is a separate autocast region, which returns
    float32. So losses, self-similarity and learned heads see float32 whatever the flags say, and a network that is
    optimised in mid-step is never computed from an older copy of its weights. On a GPU see `set_precision`.

    Raises:
        UserError: ``--compile`` where nothing can compile.
    """
    if flags.compile:
        require_compiler(device)
    if device.type == "cuda":
        set_precision(flags)
        torch.backends.cudnn.benchmark = bool(model.optimizers)  # training has one size of images, testing many
    model.to(device)
    model.images_last = flags.channels_last and device.type == "cuda"
    for name, network in {**model.networks, **model.constants}.items():
        if flags.channels_last:
            store_channels_last(network)
        if name in model.learned_losses:
            continue
        if flags.amp in PRECISIONS:
            # A method, so that a copy of the network runs its own weights.
            forward = in_half_precision(type(network).forward, device.type, PRECISIONS[flags.amp])
            network.forward = MethodType(forward, network)
        if flags.compile:
            network.compile(**isolated())
    if flags.compile and model.optimizers:
        model.compile_losses(**isolated())


def isolated() -> dict[str, bool]:
    """Return options of torch.compile, so that a compiled function counts only its own recompilations.

    Otherwise all networks share a limit of 8. Early versions of torch have no such option.
    """
    return {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}


def set_precision(flags: SpeedFlags) -> None:
    """Let float32 convolutions use TF32, except with ``--no_tf32``; matrix products are always float32.

    The products of self-similarity and contrastive losses, and those of their backward passes, are matrix products:
    in TF32 gradients would be wrong by about 5e-3. Nearly all that networks compute is convolutions. The exceptions,
    a few linear layers and the transformers of ``--feature_net``, are float32 as well, or half with ``--amp``.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = not flags.no_tf32


def store_channels_last(network: nn.Module) -> None:
    """Store tensors of four axes channels last, in place; ``Module.to`` would fail for stylegan2's of five axes."""
    for weight in (*network.parameters(), *network.buffers()):
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def in_half_precision(forward: Callable[..., Output], device: str, dtype: torch.dtype) -> Callable[..., Output]:
    """Return the same method of a network under autocast, its results in float32."""

    @wraps(forward)
    def computed(network: nn.Module, *args: Any, **keywords: Any) -> Output:
        with torch.autocast(device, dtype), half_weights(network, dtype):
            output = forward(network, *args, **keywords)
        return output.float() if isinstance(output, Tensor) else in_float32(output)

    return computed


def in_float32(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Convert the outputs in half precision together; those without gradient get none."""
    found = list(outputs)
    for learns in (True, False):
        places = [n for n, of in enumerate(outputs) if of.dtype != torch.float32 and of.requires_grad == learns]
        converted = _Converted.apply(torch.float32, *(outputs[n] for n in places)) if places else ()
        for number, output in zip(places, converted, strict=True):
            found[number] = output
    return found


@contextmanager
def half_weights(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Replace the float32 weights of convolutions and linear layers by copies in half precision, inside the block.

    Autocast would make the same copies one after the other. These are made together, and so are their gradients: on a
    GPU that is one kernel each instead of one for each weight. The filters of blurs are among them there.
    """
    places = [] if torch.compiler.is_compiling() else list(_places(network))
    if places:
        halves = _Converted.apply(dtype, *(weight for _, _, weight in places))
        for (tensors, name, weight), half in zip(places, halves, strict=True):
            tensors[name] = half if weight.requires_grad else half.detach()
    try:
        yield
    finally:
        for tensors, name, weight in places:
            tensors[name] = weight


def _places(network: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Yield the dictionary, the name and the value of each tensor that `half_weights` replaces."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            for name, weight in module._parameters.items():
                unused = name == "bias" and isinstance(module, UnbiasedConv2d | UnbiasedConvTranspose2d)
                if weight is not None and weight.dtype == torch.float32 and not unused:
                    yield module._parameters, name, weight
        elif isinstance(module, Downsample | Upsample) and module.filt.is_cuda:  # a CPU blurs in float32
            yield module._buffers, "filt", module.filt


class _Converted(torch.autograd.Function):
    """Copies of tensors in another precision; their gradients in the tensors' own."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = tensors[0].dtype
        return tuple(_converted(tensors, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [of for of in gradients if of is not None]
        converted = iter(_Converted.apply(ctx.dtype, *given) if given else ())
        return None, *(None if of is None else next(converted) for of in gradients)


def _converted(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copy to another type in the same memory layout."""
    copies = [torch.empty_like(of, dtype=dtype) for of in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies


def require_compiler(device: torch.device) -> None:
    """Refuse ``--compile`` where torch.compile would fail in the first step.

    Raises:
        UserError: there is no C++ compiler for a CPU or no Triton for a GPU, or torch 2.6 is to compile for a CPU.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError("--compile needs Triton on a GPU: pip install triton, or leave the flag out")
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl")
    if device.type != "cuda" and not any(map(shutil.which, compilers)):
        raise UserError("--compile needs a C++ compiler (g++, say): install one, or leave the flag out")
    if device.type == "cpu" and torch.__version__.startswith("2.6."):  # an assertion in the gradient of index_select
        raise UserError("--compile fails on a CPU with torch 2.6: install torch 2.7 or later, or leave the flag out")
