"""Data sets, and the loader that makes batches of them. Knows nothing of models."""

from .aligned import AlignedDataset
from .base import AugmentFlags, ImageDataset
from .batch import Batch, finish
from .cache import keep_in_memory
from .keys import SampleKey
from .loader import Loader
from .single import SingleDataset
from .singleimage import SingleImageDataset
from .unaligned import UnalignedDataset
from .waiting import Waiting
from .workers import LoadingError

DATASETS: dict[str, type[ImageDataset]] = {
    "unaligned": UnalignedDataset,
    "single": SingleDataset,
    "aligned": AlignedDataset,
    "singleimage": SingleImageDataset,
}
"""What ``--dataset_mode`` chooses from."""

__all__ = [
    "DATASETS", "AlignedDataset", "AugmentFlags", "Batch", "ImageDataset", "Loader", "LoadingError", "SampleKey",
    "SingleDataset", "SingleImageDataset", "UnalignedDataset", "Waiting", "finish", "keep_in_memory",
]
