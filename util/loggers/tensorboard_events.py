"""Values and sample images for TensorBoard: event files, which need no server until somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from util.files import move_aside
from util.images import first_image, to_uint8

from .sink import Sink, Warn, group_of, group_of_image, short

FLUSH_SECONDS = 20  # how old what TensorBoard shows may be


class TensorBoardSink(Sink):
    """Event files in ``folder``.

    Args:
        folder: what ``tensorboard --logdir`` is given, or a folder above it.
        resume_step: images seen up to the checkpoint that the run goes on from: TensorBoard shows later points of
            the processes before no more. With 0 the run is new and an earlier run's folder is moved aside.

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
        """Add the images, ``samples/fake_B`` or ``similarity/fake_B_similarity``."""
        for label, image in images.items():
            pixels = to_uint8(first_image(image))
            layout = "HWC" if pixels.ndim == 3 else "HW"
            self._writer.add_image(f"{group_of_image(label)}/{label}", pixels, step, dataformats=layout)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def open_tensorboard(folder: Path, *, resume_step: int, warn: Warn) -> TensorBoardSink | None:
    """A `TensorBoardSink`, or a warning and ``None`` where ``tensorboard`` is not installed."""
    try:
        return TensorBoardSink(folder, resume_step)
    except ImportError:
        warn("--loggers tensorboard: the package tensorboard is not installed (pip install tensorboard); going on "
             "without it")
        return None
