"""Folders for ``evaluate.py metrics --name``, translated with a checkpoint of an experiment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from data import ImageDataset
from options import Options, RunFlags
from util.errors import UserError
from util.images import save_image
from util.state_dicts import AVERAGE
from util.terminal import with_progress

from .checkpoint_scores import load_checkpoint
from .experiments import Experiment
from .flags import CheckpointFlags
from .folder_scores import Folders
from .generator_scores import SETTINGS, images_of, real_images
from .translator import Names, Translator, save_translations


def folder_of(flags: CheckpointFlags, name: str) -> Path:
    """Return the folder of translations and scores of an experiment, beside that of ``test.py``."""
    kind = f"{flags.phase}_{flags.epoch}{AVERAGE if flags.use_ema else ''}_metrics"
    return flags.results_dir / name / kind


def translate_folders(
    experiment: Experiment, options: Options, device: torch.device, folder: Path, given: Path | None = None
) -> tuple[Folders, dict[str, Any]]:
    """Translate the test set, and write real images of the same size beside it. Images of an earlier run are removed.

    Args:
        experiment: of the checkpoint.
        options: of ``test.py``.
        device: of the generator.
        folder: gets ``images/real_A``, ``images/fake_B`` and so on.
        given: real images to use instead of those of the data set.

    Returns:
        The folders, and how they were made, for the JSON file.

    Raises:
        UserError: the checkpoint or the test set is missing or damaged, or there are no real images.
    """
    translator, tag = Translator(options, device), options[RunFlags].epoch
    digests = load_checkpoint(experiment, tag, translator)
    real, entry = translator.dataset, "B"
    if given is None:  # before the work: they may be missing
        try:
            real, entry = real_images(options, translator.dataset)
        except UserError as error:
            raise UserError(f"{error}; or name other real images with --real") from None
    images = folder / "images"
    if images.exists():
        shutil.rmtree(images)
    labels: set[str] = set()
    for _, files in with_progress(save_translations(translator.translations(), folder), "images translated",
                            translator.total):
        labels.update(files)
    truth = images / "real_B" if "real_B" in labels else None
    if real is not translator.dataset:
        save_all(real, entry, images / "real")
    everything = options.as_dict()
    folders = Folders([images / min(label for label in labels if label.startswith("fake_B"))],
                      real=given or truth or images / "real", inputs=images / "real_A", truth=truth)
    return folders, {"experiment": experiment.name, "checkpoint": tag, "sha256": digests, **experiment.progress(tag),
                     **{name: everything[name] for name in ("dataroot", "phase", "use_ema", *SETTINGS)}}


def save_all(dataset: ImageDataset, entry: str, folder: Path) -> None:
    """Write the images of a data set, scaled as it scales them."""
    names = Names()
    for number, image in enumerate(with_progress(images_of(dataset, entry, len(dataset)), "real images", len(dataset))):
        save_image(image, folder / f"{names.of(str(dataset.files(number)[0]))}.png")
