"""Values and sample images for TensorBoard, as event files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from util.files import move_aside
from util.picture_files import first_image, to_uint8

from .sink import Sink, group_of, short

FLUSH_SECONDS = 20


class TensorBoardSink(Sink):
    """Event files in ``folder``.

    Args:
        folder: the folder for ``tensorboard --logdir``, or one below it.
        resume_step: images seen up to the checkpoint that the run continues from; TensorBoard hides later points.
            With 0 the run is new, and an earlier run's folder is moved aside.

    Raises:
        ImportError: ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path, resume_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional

        if resume_step == 0:
            move_aside(folder)
        self._writer: Any = SummaryWriter(
            str(folder), purge_step=resume_step + 1 if resume_step else None, flush_secs=FLUSH_SECONDS)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve, ``losses/G`` or ``lr/G``."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group_of(name)}/{short(name)}", value, step)

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Add the images, ``samples/NAME/output`` or ``training/fake_B``."""
        for name, image in images.items():
            pixels = to_uint8(first_image(image))
            layout = "HWC" if pixels.ndim == 3 else "HW"
            self._writer.add_image(name, pixels, step, dataformats=layout)

    def close(self) -> None:
        """Write buffered events."""
        self._writer.close()
