"""Data sets, and the loader that makes batches of them."""

from .aligned import AlignedDataset
from .base import ImageDataset, Reading
from .batch import Batch, collate, finish
from .cache import keep_in_memory
from .flags import AugmentFlags, band_notes
from .loader import Loader
from .sampler import SampleKey
from .single import SingleDataset
from .singleimage import SingleImageDataset
from .survey import survey
from .timer import DataTimer
from .unaligned import UnalignedDataset
from .workers import LoadingError

DATASETS: dict[str, type[ImageDataset]] = {
    "unaligned": UnalignedDataset,
    "single": SingleDataset,
    "aligned": AlignedDataset,
    "singleimage": SingleImageDataset,
}
"""Values of ``--dataset_mode``."""

__all__ = [
    "DATASETS", "AlignedDataset", "AugmentFlags", "Batch", "DataTimer", "ImageDataset", "Loader", "LoadingError",
    "Reading", "SampleKey", "SingleDataset", "SingleImageDataset", "UnalignedDataset", "band_notes", "collate",
    "finish", "keep_in_memory", "survey",
]
