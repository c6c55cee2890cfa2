"""Samples to raw batches, raw batches to network inputs. Pure functions.

A raw batch holds uint8 crops and, in one small tensor, their random choices. `finish` applies these to all images at
once, in the process and on the device of the batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from util.errors import UserError

from .jitter import Jitter, jitter, merge

Batch: TypeAlias = dict[str, Any]
"""Images by name, [B, C, H, W], and lists of B: their paths (``A_paths``).

In raw batches also the random choices of the images, float32 [1 + 2 * steps, B]: whether to mirror, and the factors of
`merge` (``A_choices``); and the steps of `merge`, none without jitter (``A_steps``)."""

CHOICES, STEPS, MASK = "_choices", "_steps", "_mask"


class Choices(NamedTuple):
    """Random choices that `finish` applies to one crop."""

    mirror: bool
    jitter: Jitter | None
    """Of the augmented copy; None: no copy."""


def collate(samples: Sequence[Mapping[str, Any]]) -> Batch:
    """Stack images, [C, H, W] to [B, C, H, W], put their choices into one tensor, and list everything else.

    If 8-bit and 16-bit images meet, all become float32 in [0, 1].

    Raises:
        UserError: images differ in size.
    """
    batch: Batch = {}
    for name, value in samples[0].items():
        if isinstance(value, Tensor):
            batch[name] = _stack(samples, name)
        elif isinstance(value, Choices):
            domain = name.removesuffix(CHOICES)
            batch[name], batch[f"{domain}{STEPS}"] = _join([sample[name] for sample in samples])
        else:
            batch[name] = [sample[name] for sample in samples]
    return batch


def _join(choices: Sequence[Choices]) -> tuple[Tensor, tuple[int, ...]]:
    """Return the choices of a batch and the steps of its jitter, as `Batch` holds them."""
    mirrors = torch.tensor([[float(of.mirror) for of in choices]])
    plans = [of.jitter for of in choices if of.jitter]
    if not plans:
        return mirrors, ()
    steps, factors = merge(plans)
    return torch.cat([mirrors, factors.flatten(0, 1)]), steps


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
            converted; if ``NAME_steps`` plans a jitter, ``NAME_aug`` is added: the same crops, jittered. A mask
            ``NAME_mask``, bool [B, 1, H, W], is mirrored with them.
    """
    finished = {name: value for name, value in batch.items() if not name.endswith((CHOICES, STEPS))}
    for name in [name for name in batch if f"{name}{CHOICES}" in batch]:
        choices, steps = batch[f"{name}{CHOICES}"], batch[f"{name}{STEPS}"]
        images = F.to_dtype(mirrored(batch[name], choices[0]), torch.float32, scale=True)
        if (mask := f"{name}{MASK}") in batch:
            finished[mask] = mirrored(batch[mask], choices[0])
        finished[name] = 2 * images - 1
        if steps:
            finished[f"{name}_aug"] = 2 * jitter(images, steps, choices[1:].unflatten(0, (-1, 2))) - 1
    return finished


def mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip those images of [B, C, H, W] horizontally whose number in ``chosen``, [B], is not 0."""
    return torch.where(chosen.bool()[:, None, None, None], images.flip(-1), images)
