"""One plain folder of images, or one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from options import DataFlags, Options

from .flags import check_data_flags
from .images import find_images, load_image
from .loader import SampleKey
from .transforms import Policy, network_inputs, plan_geometry, size_of


class SingleDataset:
    """The images in --dataroot, or the one file that it names, whatever --direction says.

    A sample: ``A`` [C, H, W] float32 in [-1, 1] with --input_nc channels, ``A_paths``.
    """

    flags: ClassVar[tuple[type, ...]] = ()

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        """No shared default changes."""
        return {}

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise `UserError` if the flags do not fit each other."""
        check_data_flags(options)

    def __init__(self, options: Options, *, training: bool) -> None:
        flags = options[DataFlags]
        root = Path(flags.dataroot)
        self.paths = [root] if root.is_file() else find_images(root, flags.max_dataset_size)
        self.channels = flags.input_nc
        self.policy = Policy.of(flags, training=training)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        path = self.paths[key.index]
        image = load_image(path, self.channels)
        geometry = plan_geometry(size_of(image), self.policy, key.generator())
        return {**network_inputs("A", image, geometry), "A_paths": str(path)}
