"""Values and sample images for Weights & Biases, on its server or in files to be synchronised later."""

import importlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from util.files import replacing
from util.picture_files import first_image, to_uint8

from .sink import LoggedRun, Sink, group_of, short

SECONDS = 30  # to wait for the server at the start and at the end of a training


class WandbSink(Sink):
    """A run of Weights & Biases with its files in ``wandb``, in the folder of the training.

    Steps are images seen. A resumed run keeps its id, in ``wandb_id.txt``, and continues where the server's curves end:
    repeated steps are not shown twice.

    Raises:
        ImportError: ``wandb`` is not installed.
    """

    def __init__(self, run: LoggedRun) -> None:
        wandb: Any = importlib.import_module("wandb")  # optional
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # else wandb advertises it beside some packages
        self._picture = wandb.Image
        self._run = wandb.init(
            project=run.flags["wandb_project_name"], name=run.name, resume="allow", dir=str(run.folder),
            id=run_id(run.folder / "wandb_id.txt", new=run.seen == 0), mode=run.flags["wandb_mode"],
            config=dict(run.flags),
            settings=wandb.Settings(silent=True, console="off", init_timeout=SECONDS, finish_timeout=SECONDS))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve, ``losses/G`` or ``lr/G``."""
        self._run.log({f"{group_of(name)}/{short(name)}": value for name, value in values.items()}, step=step)

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Add the images, ``samples/NAME/output`` or ``training/fake_B``."""
        self._run.log({name: self._picture(to_uint8(first_image(image))) for name, image in images.items()}, step=step)

    def close(self) -> None:
        """Send the rest, if the server answers in time; all of it stays in the folder."""
        self._run.finish()


def run_id(path: Path, *, new: bool) -> str:
    """Read the id in the file, or write a new one."""
    if not new and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    identity = uuid.uuid4().hex[:12]
    with replacing(path) as temporary:
        temporary.write_text(identity + "\n", encoding="utf-8")
    return identity
