"""One plain folder of images, or one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from options import DataFlags, Options
from util.images import find_images, load_image

from .base import ImageDataset
from .loader import SampleKey
from .transforms import Policy, network_inputs, plan_geometry, size_of


class SingleDataset(ImageDataset):
    """The images in --dataroot, or the one file that it names, whatever --direction says.

    A sample: ``A`` [C, H, W] float32 in [-1, 1] with --input_nc channels, ``A_paths``.
    """

    def __init__(self, options: Options, *, training: bool) -> None:
        flags = options[DataFlags]
        root = Path(flags.dataroot)
        self.paths = [root] if root.is_file() else find_images(root, "--dataroot", flags.max_dataset_size)
        self.channels = flags.input_nc
        self.policy = Policy.of(flags, training=training)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        path = self.paths[key.index]
        image = load_image(path, self.channels)
        geometry = plan_geometry(size_of(image), self.policy, key.generator())
        return {**network_inputs("A", image, geometry), "A_paths": str(path)}
