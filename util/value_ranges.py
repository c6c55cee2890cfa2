"""Map the values that a file stores to [-1, 1], and back."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Range: TypeAlias = tuple[float, float]
"""The stored values that become -1 and 1."""


def full_range(dtype: DTypeLike) -> Range | None:
    """Return the range of an unsigned type; None for signed and floating types, whose range is unknown."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return 0, 1
    return (0, int(np.iinfo(kind).max)) if kind.kind == "u" else None


def number_text(number: float) -> str:
    """Format a number as it is typed."""
    return str(int(number)) if number == int(number) else f"{number:.6g}"


def range_text(value_range: Range) -> str:
    """Format a range as it is typed."""
    return ",".join(map(number_text, value_range))


def to_fraction(values: NDArray[Any], value_range: Range) -> NDArray[np.float32]:
    """Map ``value_range`` to [0, 1], and clip values outside.

    Args:
        values: real numbers of any type and shape.
        value_range: the values that become 0 and 1.
    """
    # float32 holds every number of up to 16 bits; of larger ones only a part.
    exact = np.float32 if values.dtype.itemsize <= 2 else np.float64
    low, high = value_range
    fractions = values.astype(exact)
    if low:
        fractions -= exact(low)
    fractions /= exact(high - low)
    return fractions.clip(0, 1).astype(np.float32, copy=False)


def from_unit(values: NDArray[np.floating[Any]], value_range: Range, dtype: DTypeLike) -> NDArray[Any]:
    """Map [-1, 1] to ``value_range`` as numbers of ``dtype``.

    Values outside [-1, 1] are clipped and NaN becomes the low end. Whole types are rounded to the nearest number and
    clipped to the type.
    """
    kind, (low, high) = np.dtype(dtype), value_range
    unit = np.nan_to_num(values.astype(np.float64), nan=-1.0).clip(-1, 1)
    stored = (unit + 1) / 2 * (high - low) + low
    if kind.kind == "f":
        return stored.astype(kind)
    limits = np.iinfo(kind)
    whole: NDArray[Any] = stored.round().clip(limits.min, limits.max).astype(kind)
    return whole
