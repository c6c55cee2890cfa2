"""Values and sample images for Weights & Biases, on its server or in files that can be sent there later."""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from util.files import replacing
from util.images import first_image, to_uint8

from .sink import Sink, Warn, group_of, group_of_image, short

SECONDS = 30  # how long the start and the end of a training may wait for the server


class WandbSink(Sink):
    """A run of Weights & Biases, whose files are in ``folder/wandb``.

    Its steps are images seen. A resumed run has the same id, kept in ``folder/wandb_id.txt``, and goes on where the
    server's curves end: steps that are done again are not shown twice.

    Args:
        folder: of the training.
        title: the run's name.
        project: the project's name.
        mode: ``online``, ``offline``, or None: the environment's ``WANDB_MODE``, without which it is online.
        config: the options.
        resume_step: images seen up to the checkpoint that the run goes on from; 0: it is new.

    Raises:
        ImportError: ``wandb`` is not installed.
    """

    def __init__(
        self, folder: Path, title: str, *, project: str, mode: str | None, config: Mapping[str, Any], resume_step: int
    ) -> None:
        wandb: Any = importlib.import_module("wandb")  # optional
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # beside some packages it would be advertised
        self._picture = wandb.Image
        self._run = wandb.init(
            project=project, name=title, id=run_id(folder / "wandb_id.txt", new=resume_step == 0), resume="allow",
            dir=str(folder), mode=mode, config=dict(config),
            settings=wandb.Settings(silent=True, console="off", init_timeout=SECONDS, finish_timeout=SECONDS))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve, ``losses/G`` or ``lr/G``."""
        self._run.log({f"{group_of(name)}/{short(name)}": value for name, value in values.items()}, step=step)

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Add the images, ``samples/fake_B`` or ``similarity/fake_B_similarity``."""
        pictures = {f"{group_of_image(label)}/{label}": self._picture(to_uint8(first_image(image)))
                    for label, image in images.items()}
        self._run.log(pictures, step=step)

    def close(self) -> None:
        """Send what is left, as far as the server takes it in time; the rest stays in the folder."""
        self._run.finish()


def run_id(path: Path, *, new: bool) -> str:
    """The id in the file, or a new one, which is put there."""
    if not new and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    identity = uuid.uuid4().hex[:12]
    with replacing(path) as temporary:
        temporary.write_text(identity + "\n", encoding="utf-8")
    return identity


def open_wandb(
    folder: Path, title: str, *, project: str, mode: str | None, config: Mapping[str, Any], resume_step: int, warn: Warn
) -> WandbSink | None:
    """A `WandbSink`, or a warning and ``None`` where ``wandb`` is not installed."""
    try:
        return WandbSink(folder, title, project=project, mode=mode, config=config, resume_step=resume_step)
    except ImportError:
        warn("--loggers wandb: the package wandb is not installed (pip install wandb); going on without it")
        return None
