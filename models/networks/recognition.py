"""Recognise the generator of a state dict by its keys and shapes: published checkpoints come without options.

Flags of the architecture leave their traces. A residual generator of CycleGAN, CUT and F-LSeSim is one sequence: its
convolutions are numbered by what stands between them (blur-pooling adds a layer, and a buffer ``filt``), a residual
block has one number, and dropout moves the block's second convolution from place 5 to 6. U-Nets nest: each halving is
one ``model.3`` deeper. Convolutions have a bias unless batch normalisation, or in published code none, follows.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from util.errors import UserError
from util.state_dicts import is_plain, unwrapped

from .stylegan2 import channel_counts

Shapes = Mapping[str, tuple[int, ...]]
WEIGHTS = r"model\.(\d{1,4})\.weight"


class Recognition(NamedTuple):
    """Flags that describe a generator."""

    certain: Mapping[str, Any]
    """Flags with only one fitting value."""
    likely: Mapping[str, Any]
    """Flags with several fitting values, of which these are the most likely."""


def recognize_generator(state: Mapping[str, Any], path: Path) -> Recognition | None:
    """Return the flags of the generator that a state dict belongs to; None if it is none of `GENERATORS`.

    Dropout leaves no trace in a U-Net; it is not said to be there.

    Args:
        state: tensors by their published keys.
        path: where they come from.

    Raises:
        UserError: it is a generator with a number of layers that no ``--netG`` has.
    """
    shapes = {key: tuple(value.shape) for key, value in unwrapped(state).items() if is_plain(value)}
    for first, recognize in FIRST.items():
        if len(shapes.get(first, ())) == 4:
            return recognize(shapes, path)
    return None


def _resnet(shapes: Shapes, path: Path) -> Recognition | None:
    blocks = _numbers(shapes, r"model\.(\d{1,4})\.conv_block\..*")
    if not blocks:
        return None
    ngf, input_nc = shapes["model.1.weight"][:2]
    last = [number for number in _numbers(shapes, WEIGHTS) if len(shapes[f"model.{number}.weight"]) == 4][-1]
    certain = {
        "netG": _named({6: "resnet_6blocks", 9: "resnet_9blocks"}, len(blocks), "residual blocks", path),
        "ngf": ngf, "input_nc": input_nc,
        "output_nc": shapes[f"model.{last}.weight"][0],
        "no_dropout": len(shapes.get(f"model.{blocks[0]}.conv_block.6.weight", ())) != 4,  # batch norms have one too
        "no_antialias": "model.7.filt" not in shapes,
        "no_antialias_up": f"model.{blocks[-1] + 1}.filt" not in shapes,
    }
    return _with_norm(certain, batch="model.2.weight" in shapes, bias="model.1.bias" in shapes)


def _unet(shapes: Shapes, path: Path) -> Recognition | None:
    halvings = 1 + sum(re.fullmatch(r"model\.model\.1\.model(\.3\.model)*\.1\.weight", key) is not None
                       for key in shapes)
    if len(shapes.get("model.model.3.weight", ())) != 4:
        return None
    ngf, input_nc = shapes["model.model.0.weight"][:2]
    certain = {"netG": _named({7: "unet_128", 8: "unet_256"}, halvings, "halvings", path), "ngf": ngf,
               "input_nc": input_nc, "output_nc": shapes["model.model.3.weight"][1]}
    return _with_norm(certain, batch="model.model.1.model.2.weight" in shapes, bias="model.model.0.bias" in shapes)


def _with_norm(certain: dict[str, Any], *, batch: bool, bias: bool) -> Recognition:
    if bias and not batch:
        return Recognition(certain, {"norm": "instance"})  # this repository's norm none has the same keys
    return Recognition({**certain, "norm": "batch" if batch else "none"}, {})


def _stylegan2(shapes: Shapes, path: Path) -> Recognition | None:
    """Guess ngf and the size from the widths: of the sizes that fit, the first, 128, is the published default."""
    layers = _numbers(shapes, r"encoder\.convs\.(\d{1,4})\..*")
    halving = _numbers(shapes, r"encoder\.convs\.(\d{1,4})\.skip\.1\.weight")
    last = _numbers(shapes, r"decoder\.convs\.(\d{1,4})\.0\.weight")
    if not last:
        return None
    blocks = 2 * (len(layers) - 1 - len(halving))
    width, input_nc = shapes["encoder.convs.1.0.weight"][:2]
    certain = {"netG": _named({2: "smallstylegan2", 6: "stylegan2"}, blocks, "residual blocks", path),
               "input_nc": input_nc, "output_nc": shapes[f"decoder.convs.{last[-1]}.0.weight"][0],
               "stylegan2_G_num_downsampling": len(halving)}
    widths = [width, *(shapes[f"encoder.convs.{number}.skip.1.weight"][0] for number in halving)]
    for size in (128, 256, 512, 1024, 64, 32):
        ngf = max(round(width * size / 512), 1)
        if channel_counts(size, len(halving), ngf / 32, most=512) == widths:
            return Recognition(certain, {"ngf": ngf, "stylegan2_size": size})
    return Recognition(certain, {})


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    """List the numbers, ascending, that a pattern's group has among the keys."""
    return sorted({int(match[1]) for key in shapes if (match := re.fullmatch(pattern, key))})


def _named(names: Mapping[int, str], count: int, what: str, path: Path) -> str:
    if count not in names:
        known = " and ".join(map(str, names))
        raise UserError(f"{path} is a generator of {count} {what}; --netG has only those of {known}")
    return names[count]


FIRST = {"model.1.weight": _resnet, "model.model.0.weight": _unet, "encoder.convs.1.0.weight": _stylegan2}
"""Each kind by the weight of its first convolution."""
