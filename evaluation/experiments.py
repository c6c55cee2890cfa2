"""Trained experiments: their options, their checkpoints, and options of ``test.py`` for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import DATASETS
from data.aligned import match_pairs
from models import MODELS
from options import TEST, Options, parse, recorded_flags
from util.errors import UserError
from util.images import image_size
from util.shards import is_folder
from util.state_dicts import LATEST, NUMBERED, has_network, load_state

from .flags import ExperimentFlags


@dataclass(frozen=True)
class Experiment:
    """An experiment: its folder, and the flags of its training from ``train_opt.json``."""

    name: str
    folder: Path
    flags: Mapping[str, Any]

    @classmethod
    def find(cls, checkpoints_dir: Path, name: str) -> Experiment:
        """Find an experiment.

        Raises:
            UserError: there is none, or its options cannot be read.
        """
        folder = checkpoints_dir / name
        if not folder.is_dir():
            others = sorted(path.name for path in checkpoints_dir.glob("*") if path.is_dir())
            raise UserError(f"there is no experiment {name} in {checkpoints_dir}; it has {', '.join(others) or 'none'}")
        if (flags := recorded_flags(folder)) is None:
            raise UserError(f"{folder} has no train_opt.json, which tells how {name} was trained; restore it")
        return cls(name, folder, flags)

    def tags(self, network: str) -> list[str]:
        """List the saves that have a file of this network: by epoch, by iteration, then ``latest``."""
        found = [path.name.removesuffix(f"_net_{network}.pth") for path in self.folder.glob(f"*_net_{network}.pth")]
        numbered = [tag for pattern in NUMBERED for tag in found if re.fullmatch(pattern, tag)]
        numbered.sort(key=lambda tag: (tag.startswith("iter"), int(tag.removeprefix("iter_"))))
        return numbered + [LATEST] * has_network(self.folder, LATEST, network)

    def progress(self, tag: str) -> dict[str, int]:
        """Return the progress of the training: complete ``epochs`` and ``images`` seen, as far as they are known.

        Raises:
            UserError: the state is damaged.
        """
        found = {} if not tag.isdecimal() else {"epochs": int(tag)}
        if tag.startswith("iter_"):
            found["images"] = int(tag.removeprefix("iter_"))
        progress = (load_state(self.folder, tag) or {}).get("progress")
        if isinstance(progress, Mapping) and {"epoch", "images"} <= progress.keys():
            found |= {"epochs": int(progress["epoch"]) - 1, "images": int(progress["images"])}
        return found


def options_for_test(trained: Mapping[str, Any], *argv: str) -> Options:
    """Parse options of ``test.py`` for an experiment from the flags of its training and further ones, which win.

    Raises:
        UserError: flags that test.py would refuse.
    """
    model, mode = str(trained.get("model", "sc")), str(trained.get("dataset_mode", "unaligned"))
    return parse(TEST, MODELS, DATASETS, [f"--model={model}", f"--dataset_mode={mode}", "--num_threads=0", *argv],
                 trained)


def experiment_options(
    flags: ExperimentFlags, experiment: Experiment, dataroot: Path | None, *argv: str
) -> Options:
    """Convert flags of a subcommand, and further ones, to options of ``test.py``.

    The test set is ``dataroot``, or that of the training.

    Raises:
        UserError: the test set is missing.
    """
    root = dataroot or Path(str(experiment.flags.get("dataroot", "")))
    mode = mode_for_test(experiment.flags, root, flags.phase, flags.pairs)
    scaled = [f"--load_size={flags.load_size}"] if flags.load_size else []
    return options_for_test(
        experiment.flags, f"--name={experiment.name}", f"--checkpoints_dir={flags.checkpoints_dir}",
        f"--dataroot={root}", f"--dataset_mode={mode}", f"--phase={flags.phase}", f"--use_ema={flags.use_ema}",
        f"--num_test={flags.num_test or 'inf'}", f"--batch_size={flags.batch_size}", *scaled, *argv)


def mode_for_test(trained: Mapping[str, Any], root: Path, phase: str, pairs: str) -> str:
    """Choose ``--dataset_mode`` for a test set: ``aligned`` for true pairs, or else that of the training.

    With ``auto``, images are true pairs if all have a partner of the same name and size.
    """
    mode = str(trained.get("dataset_mode", "unaligned"))
    if pairs == "yes":
        return "aligned"
    if mode not in ("unaligned", "aligned"):
        return mode
    if pairs == "no":
        return "unaligned"
    folder_a, folder_b = root / f"{phase}A", root / f"{phase}B"
    if not (is_folder(folder_a) and is_folder(folder_b)):
        return mode
    try:
        found = match_pairs(folder_a, folder_b)
    except UserError:
        return "unaligned"
    return "aligned" if all(image_size(a) == image_size(b) for a, b in found) else "unaligned"
