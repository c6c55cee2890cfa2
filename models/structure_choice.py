"""``--structure none|fsesim|lsesim``: the spatially-correlative loss in models that also hold structure otherwise."""

from collections.abc import Mapping
from typing import Any

from options import Options
from util.errors import UserError

from .structure import StructureFlags, check_structure

CHOICES = ("fsesim", "lsesim")
"""Values of ``--structure`` that stand for the spatially-correlative loss."""


def implied_by(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the flags that the typed ``--structure`` implies, for `options.FlagOwner.implied`."""
    return {"learned_attn": typed.get("structure") == "lsesim"}


def check_choice(structure: str, options: Options) -> None:
    """Refuse flags of the loss that contradict ``--structure``, or each other.

    Raises:
        UserError: they do.
    """
    if options[StructureFlags].learned_attn != (structure == "lsesim"):
        raise UserError(f"--learned_attn and --structure {structure} contradict each other: type --structure fsesim or "
                        "lsesim alone")
    if structure in CHOICES:
        check_structure(options)
