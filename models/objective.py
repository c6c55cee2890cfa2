"""Objectives: the losses that a model minimises."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Objective(NamedTuple):
    """The loss of one optimizer."""

    loss: Tensor
    """Scalar to minimise."""
    terms: dict[str, Tensor]
    """Scalars to report, by name."""


Minimize = Callable[[str, Callable[[], Objective]], None]
"""``minimize("D", objective)`` takes a step of the optimizer ``D`` along the gradient of ``objective()``.

The parameters of an optimizer require gradients only while its own objective is computed. Those of ``G`` always do,
because all objectives look at the images that it generates. See `training.step.TrainingStep`.
"""


def total(name: str, terms: dict[str, Tensor]) -> Objective:
    """Sum the terms, and report the sum as ``name`` after them."""
    loss = torch.stack(list(terms.values())).sum()
    return Objective(loss, {**terms, name: loss})
