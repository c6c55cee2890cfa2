"""Train from Python. A keyword is a flag of train.py, checked as there.

    from training import train
    train(dataroot="datasets/lineart2color", name="colours", learned_attn=True, augment=True)
"""

import signal
from pathlib import Path
from typing import Any

import torch

from data import DATASETS
from models import MODELS, Model
from options import TRAIN, FlagOwner, RunFlags, arguments, parse
from util.device import choose_device
from util.errors import UserError
from util.signals import ASKED, CODES

from . import job
from .report import OnReport
from .step import TrainingStep

BEGINNING = ("init_from", "continue_train", "identity_first")
"""Flags of the first weights and the first steps of a training."""


def train(*, on_report: OnReport | None = None, **flags: Any) -> Path:
    """Train as ``train.py`` does.

    Args:
        on_report: called with a `Report` every ``print_freq`` images, in the first process. To stop the training,
            return True; the training first saves, so that ``continue_train=True`` resumes it. If the function raises
            an exception, the training saves and raises it.
        flags: flags of ``train.py`` by name. A list is a tuple or a list, or the text that one would type.

    Returns:
        The folder of the experiment, for `inference.load`.

    Raises:
        UserError: an unknown flag, a value out of range, or flags, data or files that do not fit.
        KeyboardInterrupt, SystemExit: after the save, if a signal has stopped the training.
    """
    options = parse(TRAIN, MODELS, DATASETS, arguments(flags))
    code = job.train(options, on_report)
    if code == CODES[signal.SIGINT]:
        raise KeyboardInterrupt
    if code > ASKED:
        raise SystemExit(code)
    return options[RunFlags].folder


def build(**flags: Any) -> tuple[Model, TrainingStep]:
    """Build a model and its training step, for batches of one's own.

    Args:
        flags: flags of ``train.py`` by name: those of the model, its networks, optimizers, device and precision.
            ``crop_size`` is the side of the images.

    Returns:
        The model on its device, and a function of a list of micro-batches that takes one step and returns the losses.
        A batch is a dict: ``A`` and, for models that need them, ``B``, ``A_aug`` and ``B_aug``: [B, C, H, W] in
        [-1, 1] on ``model.device``.

    Raises:
        UserError: an unknown flag, a value out of range, flags that do not fit each other, or a flag of other weights
            to begin with.
    """
    if beginning := [name for name in BEGINNING if flags.get(name)]:
        raise UserError(f"{beginning[0]}: build makes a new model, and your loop replaces the rest of train.py; leave "
                        'it out, and load weights by model.networks["G"].load_state_dict')
    options = parse(TRAIN, MODELS, dict.fromkeys(DATASETS, FlagOwner), arguments(flags))
    if (seed := options[RunFlags].seed) is not None:
        torch.manual_seed(seed)
    return job.build(options, choose_device(options[RunFlags].gpu_ids))
