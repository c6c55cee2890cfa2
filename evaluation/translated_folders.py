"""Folders that ``evaluate.py metrics`` scores, made with a checkpoint of an experiment."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data import ImageDataset
from options import Options, RunFlags
from util.distributed import ALONE
from util.errors import UserError
from util.images import save_image
from util.state_dicts import AVERAGE
from util.terminal import watched

from .checkpoint_scores import load_checkpoint
from .experiments import Experiment
from .generator_scores import SETTINGS, images_of, real_images
from .translator import Names, Translator, save_translations


@dataclass(frozen=True)
class Made:
    """Folders of images of the same preparation, and how they were made."""

    outputs: Path
    inputs: Path
    real: Path
    truth: Path | None
    """None where nothing is known of it."""
    translation: dict[str, Any]


def folder_of(flags: argparse.Namespace) -> Path:
    """Where translations and scores go: beside what test.py writes, whose page stays as it is."""
    kind = f"{flags.phase}_{flags.epoch}{AVERAGE if flags.use_ema else ''}_metrics"
    return Path(flags.results_dir, flags.name, kind)


def make_folders(
    experiment: Experiment, options: Options, device: torch.device, folder: Path, given: Path | None = None
) -> Made:
    """Translate the test set, and put beside it what it is compared with. Images of an earlier run are removed.

    Args:
        experiment: whose checkpoint.
        options: of test.py for it.
        device: where the generator runs.
        folder: gets ``images/real_A``, ``images/fake_B`` and so on.
        given: real images, where the user has named others than those of the data set.

    Raises:
        UserError: the checkpoint or the test set is missing or damaged, or there are no real images.
    """
    translator, tag = Translator(options, device), options[RunFlags].epoch
    digests = load_checkpoint(experiment, tag, translator)
    real, entry = translator.dataset, "B"
    if given is None:  # looked for first: it is quickly told that they are missing
        real, entry = find_real(options, translator.dataset)
    images = folder / "images"
    if images.exists():
        shutil.rmtree(images)
    labels: set[str] = set()
    saved = save_translations(translator.translations(), folder)
    for _, files in watched(saved, "images translated", translator.total):
        labels.update(files)
    truth = images / "real_B" if "real_B" in labels else None
    if real is not translator.dataset:
        save_all(real, entry, images / "real")
    everything = options.as_dict()
    settings = {name: everything[name] for name in ("dataroot", "phase", "use_ema", *SETTINGS)}
    return Made(
        outputs=images / min(label for label in labels if label.startswith("fake_B")), inputs=images / "real_A",
        real=given or truth or images / "real", truth=truth,
        translation={"experiment": experiment.name, "checkpoint": tag, "sha256": digests,
                     **experiment.progress(tag), **settings})


def find_real(options: Options, dataset: ImageDataset) -> tuple[ImageDataset, str]:
    """`real_images`, whose error also names --real."""
    try:
        return real_images(options, dataset)
    except UserError as error:
        raise UserError(f"{error}; or name other real images with --real") from None


def save_all(dataset: ImageDataset, entry: str, folder: Path) -> None:
    """Write a data set's images as it gives them: scaled and in grey, where translations are."""
    names = Names()
    for number, image in watched(images_of(dataset, entry, len(dataset), ALONE), "real images", len(dataset)):
        save_image(image, folder / f"{names.of(str(dataset.files(number)[0]))}.png")
