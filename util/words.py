"""Words around numbers and names."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return ``1 image``, ``2 images``; the noun's plural ends in s."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
