"""Patches of one image in each domain."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from options import DataFlags, Options
from util.errors import UserError

from .unaligned import UnalignedDataset

EPOCH = 100_000
"""Patches in an epoch, as in the published code."""


class SingleImageDataset(UnalignedDataset):
    """Patches of the one image in ``{phase}A`` and the one in ``{phase}B`` of --dataroot.

    An epoch has --max_dataset_size patches of each image, by default `EPOCH`. Testing shows the whole A once; --phase
    is train by default, since there is no other image.
    """

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"cache": "ram"} if training else {"phase": "train"}

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.patches = (options[DataFlags].max_dataset_size or EPOCH) if training else 1

    def find(self, folder: Path, limit: int | None = None) -> Sequence[Path]:
        """Find the one image in ``folder``; ``limit`` counts patches, not images.

        Raises:
            UserError: there are several.
        """
        del limit
        images = super().find(folder)
        if len(images) > 1:
            raise UserError(f"--dataroot: --dataset_mode singleimage needs one image in {folder}, which holds "
                            f"{len(images)}; remove the others or use --dataset_mode unaligned")
        return images

    def __len__(self) -> int:
        return self.patches
