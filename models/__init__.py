"""Models: one file each, describing a method by its networks, its losses and one optimisation step."""

from .base import Model
from .cut import ContrastiveModel
from .cycle_gan import CycleModel
from .distance_gan import DistanceModel
from .gc_gan import GeometryModel
from .munit import MunitModel
from .munit_sc import MultiModalModel
from .pix2pix import PairedModel
from .sb import BridgeModel
from .sc import SpatialCorrelativeModel
from .sincut import SinglePatchModel
from .sinsc import SingleImageModel
from .test import TestModel

MODELS: dict[str, type[Model]] = {
    "sc": SpatialCorrelativeModel,
    "cycle_gan": CycleModel,
    "sinsc": SingleImageModel,
    "cut": ContrastiveModel,
    "sincut": SinglePatchModel,
    "gc_gan": GeometryModel,
    "distance_gan": DistanceModel,
    "pix2pix": PairedModel,
    "munit": MunitModel,
    "munit_sc": MultiModalModel,
    "sb": BridgeModel,
    "test": TestModel,
}
"""The models that ``--model`` names."""

__all__ = ["MODELS", "Model"]
