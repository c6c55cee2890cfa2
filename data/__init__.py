"""Data sets, and the loader that makes batches of them. Knows nothing of models."""

from .aligned import AlignedDataset
from .base import AugmentFlags
from .loader import Batch, Loader, SampleKey
from .single import SingleDataset
from .unaligned import UnalignedDataset

DATASETS: dict[str, type[UnalignedDataset] | type[SingleDataset] | type[AlignedDataset]] = {
    "unaligned": UnalignedDataset,
    "single": SingleDataset,
    "aligned": AlignedDataset,
}

__all__ = [
    "DATASETS", "AlignedDataset", "AugmentFlags", "Batch", "Loader", "SampleKey", "SingleDataset",
    "UnalignedDataset",
]
