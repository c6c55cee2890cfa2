"""Loggers of a training's values and sample images; `registry` opens them by name."""

from .sink import Sink

__all__ = ["Sink"]
