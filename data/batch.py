"""Samples to raw batches, raw batches to network inputs. Pure functions.

A raw batch holds uint8 crops and, as plain numbers, their random choices. `finish` applies these to whole batches, in
the process and on the device of the batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from util.errors import UserError

from .transforms import Jitter, jitter

Batch: TypeAlias = dict[str, Any]
"""Images by name, [B, C, H, W], and lists of B: their paths (``A_paths``), in raw batches their `Choices` too."""

CHOICES = "_choices"


class Choices(NamedTuple):
    """Random choices that `finish` applies to one crop."""

    mirror: bool
    jitter: Jitter | None
    """Of the augmented copy; None: no copy."""


def collate(samples: Sequence[Mapping[str, Any]]) -> Batch:
    """Stack images, [C, H, W] to [B, C, H, W], and list everything else.

    If 8-bit and 16-bit images meet, all become float32 in [0, 1].

    Raises:
        UserError: images differ in size.
    """
    return {name: _stack(samples, name) if isinstance(value, Tensor) else [sample[name] for sample in samples]
            for name, value in samples[0].items()}


def _stack(samples: Sequence[Mapping[str, Any]], name: str) -> Tensor:
    images = [sample[name] for sample in samples]
    for sample, image in zip(samples, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"images of different sizes cannot share a batch ({_describe(samples[0], name)} and"
                f" {_describe(sample, name)}); use --batch_size 1 or a --preprocess mode that crops"
            )
    if len({image.dtype for image in images}) > 1:
        images = [F.to_dtype(image, torch.float32, scale=True) for image in images]
    return torch.stack(images)


def _describe(sample: Mapping[str, Any], name: str) -> str:
    height, width = sample[name].shape[-2:]
    return f"{sample[f'{name}_paths']} gives {width}x{height}"


def finish(batch: Mapping[str, Any]) -> Batch:
    """Mirror and jitter the images of a batch, and convert them to float32 in [-1, 1], on their device.

    The host does not wait for the device. A finished batch is returned unchanged.

    Args:
        batch: images [B, C, H, W] by name, uint8 or float32 in [0, 1]. Those with an entry ``NAME_choices`` are
            converted; if a jitter is planned, ``NAME_aug`` is added: the same crops, jittered.
    """
    finished = {name: value for name, value in batch.items() if not name.endswith(CHOICES)}
    for name in [name for name in batch if f"{name}{CHOICES}" in batch]:
        choices: list[Choices] = batch[f"{name}{CHOICES}"]
        mirrored = [image.flip(-1) if of.mirror else image for image, of in zip(batch[name], choices, strict=True)]
        images = F.to_dtype(torch.stack(mirrored), torch.float32, scale=True)
        finished[name] = 2 * images - 1
        jittered = [jitter(image, of.jitter) for image, of in zip(images, choices, strict=True) if of.jitter]
        if jittered:
            finished[f"{name}_aug"] = 2 * torch.stack(jittered) - 1
    return finished
