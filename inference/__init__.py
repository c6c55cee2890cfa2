"""Trained generators from Python."""

from .translator import Translator, load

__all__ = ["Translator", "load"]
