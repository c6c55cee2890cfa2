"""The interface that every logger shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

Warn = Callable[[str], None]
"""Takes one sentence for the user; the program decides how to show it."""


class Sink:
    """Takes losses and sample images. ``step`` counts the images seen over all resumed runs.

    Sinks inherit from this class: what one does not show, it ignores.
    """

    def advance(self, images: int) -> None:
        """Take note that a step has trained on so many images."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take values by name; they may be NaN or infinite."""

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Take images by name: [C, H, W], or [B, C, H, W] of which the first; in [-1, 1], C = 1 or 3."""

    def message(self, text: str) -> None:
        """Take a sentence for the user."""

    def close(self) -> None:
        """Finish; nothing may be sent afterwards."""
