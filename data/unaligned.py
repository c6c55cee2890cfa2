"""Two folders of images that do not belong together pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from options import DataFlags, Options
from util.errors import UserError
from util.images import find_images, load_image

from .base import AugmentFlags, TwoDomainDataset
from .loader import SampleKey
from .transforms import Policy, network_inputs, plan_geometry, size_of


class UnalignedDataset(TwoDomainDataset):
    """``{phase}A`` and ``{phase}B`` in --dataroot.

    ``A`` is always what is translated, ``B`` what it shall resemble: with --direction BtoA the folders change
    places. In training A goes through its folder while B is drawn at random (with --serial_batches by index),
    and the longer folder sets the length. In testing every A comes once and alone: no B belongs to it.

    A sample: ``A``, ``B`` [C, H, W] float32 in [-1, 1] with --input_nc and --output_nc channels; ``A_paths``,
    ``B_paths``; with --augment ``A_aug``, ``B_aug``.
    """

    def __init__(self, options: Options, *, training: bool) -> None:
        flags = options[DataFlags]
        source, target = ("A", "B") if flags.direction == "AtoB" else ("B", "A")
        folder_a, folder_b = (Path(flags.dataroot, flags.phase + domain) for domain in (source, target))
        folders = (folder_a, folder_b) if training else (folder_a,)
        for folder in folders:
            if not folder.is_dir():
                raise UserError(
                    f"--dataroot: there is no folder {folder}, which --dataset_mode unaligned needs;"
                    " for a plain folder or one file use --dataset_mode single"
                )
        self.paths_a, *paths_b = (find_images(folder, "--dataroot", flags.max_dataset_size) for folder in folders)
        self.paths_b = paths_b[0] if training else []
        self.channels_a, self.channels_b = flags.input_nc, flags.output_nc
        self.serial = flags.serial_batches
        self.augment = training and options[AugmentFlags].augment
        self.policy = Policy.of(flags, training=training)

    def __len__(self) -> int:
        return max(len(self.paths_a), len(self.paths_b))

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        generator = key.generator()
        # Drawn in every case and before the jitter: neither flag changes the crops.
        drawn = int(torch.randint(2**31, (), generator=generator))
        chosen = [("A", self.paths_a[key.index % len(self.paths_a)], self.channels_a)]
        if self.paths_b:
            index = key.index if self.serial else drawn
            chosen.append(("B", self.paths_b[index % len(self.paths_b)], self.channels_b))
        loaded = []
        for name, path, channels in chosen:
            image = load_image(path, channels)
            loaded.append((name, path, image, plan_geometry(size_of(image), self.policy, generator)))
        sample: dict[str, Any] = {}
        for name, path, image, geometry in loaded:
            sample |= network_inputs(name, image, geometry, generator if self.augment else None)
            sample[f"{name}_paths"] = str(path)
        return sample
