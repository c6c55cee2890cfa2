"""Trained generators from Python."""

from .hub import BUNDLED
from .translator import Translator, load

__all__ = ["BUNDLED", "Translator", "load"]
