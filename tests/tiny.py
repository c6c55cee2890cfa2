"""Tiny data sets and command lines, on which the programs run in a fraction of a second."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from data import DATASETS
from models import MODELS, Model
from options import TEST, TRAIN, FlagOwner, Options, parse
from training.step import TrainingStep

NETWORKS = "--netG resnet_6blocks --ngf 2 --netD n_layers --n_layers_D 1 --ndf 2"
LOSSES = "--attn_layers relu1_2,relu2_1 --vgg_weights random --patch_nums 8 --patch_size 4"
SINGLE = "--netG smallstylegan2 --netD stylegan2 --ngf 1 --ndf 1 --batch_size 1 --max_dataset_size 4"
METHODS = {
    "FSeSim": f"--model sc {LOSSES}",
    "LSeSim": f"--model sc {LOSSES} --learned_attn --augment",
    "FSeSim against projected features": f"--model sc {LOSSES} --netD projected --D_layers relu1_2,relu2_1 "
                                         "--D_weights random",
    "CycleGAN": "--model cycle_gan",
    "CycleGAN with FSeSim": f"--model cycle_gan {LOSSES} --structure fsesim",
    "CycleGAN with LSeSim": f"--model cycle_gan {LOSSES} --structure lsesim --augment",
    "GcGAN": "--model gc_gan --geometry rot",
    "GcGAN with LSeSim": f"--model gc_gan {LOSSES} --geometry vf --structure lsesim --augment",
    "DistanceGAN": "--model distance_gan --distance pairs",
    "DistanceGAN of halves with LSeSim": f"--model distance_gan {LOSSES} --structure lsesim --augment",
    "single-image FSeSim": f"--model sinsc {SINGLE} {LOSSES}",
    "single-image LSeSim": f"--model sinsc {SINGLE} {LOSSES} --learned_attn --augment",
    "SinCUT": f"--model sincut {SINGLE} --nce_layers 0,2,3 --num_patches 16 --netF_nc 8",
    "CUT": "--model cut --nce_layers 0,4,8,12 --num_patches 16 --netF_nc 8",
    "FastCUT": "--model cut --CUT_mode FastCUT --num_patches 16 --netF_nc 8",
    "CUT with MoNCE": "--model cut --nce_layers 0,4,8,12 --num_patches 16 --netF_nc 8 --nce_loss monce",
    "CUT with SRC and QS-Attn": "--model cut --nce_layers 0,4,12 --num_patches 16 --netF_nc 8 --nce_loss src "
                                "--query_by entropy",
    "UNSB": "--model sb --ngf 4 --num_timesteps 3 --nce_layers 0,4,8,12 --num_patches 16 --netF_nc 8",
    # Rounding grows from step to step of a walk.
    "UNSB with LSeSim": f"--model sb --ngf 4 --num_timesteps 2 {LOSSES} --structure lsesim --augment",
    "pix2pix": "--model pix2pix",
    "plain MUNIT": "--model munit --style_dim 3 --lambda_cycle 10",
    "MUNIT": f"--model munit_sc {LOSSES} --style_dim 3",
}
"""Every method, for tests of what all must do."""
SIZES = "--load_size 20 --crop_size 16"


class NoModel(FlagOwner):
    """A model without flags, for tests of the data sets alone."""


def save_noise(path: Path, seed: int, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Path:
    """Save an image of ``size`` (width, height) full of smooth noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


def save_folders(root: Path, phase: str = "train", counts: tuple[int, int] = (3, 5)) -> Path:
    """Write ``{phase}A`` and ``{phase}B`` below ``root``."""
    for domain, count in zip("AB", counts, strict=True):
        for index in range(count):
            save_noise(root / f"{phase}{domain}" / f"{index}.png", seed=100 * (domain == "B") + index)
    return root


def images_for(root: Path, method: str, count: int, phase: str = "train") -> Path:
    """Write ``count`` images of each domain below ``root``, or the one that the method's data set takes."""
    flags = METHODS.get(method, "--model sc").split()
    single = "singleimage" in MODELS[flags[flags.index("--model") + 1]].defaults(training=True).values()
    return save_folders(root, phase, counts=(1, 1) if single else (count, count))


def train_options(root: Path, flags: str = "", *, defaults: Sequence[str] = (NETWORKS, LOSSES, SIZES)) -> Options:
    """Return options of ``train.py`` on the CPU, with checkpoints below ``root``.

    There is no page: drawing its curves takes longer than the training. ``--no_html false`` asks for it.
    """
    return parse(TRAIN, MODELS, DATASETS, [
        "--dataroot", str(root), "--checkpoints_dir", str(root / "checkpoints"), "--gpu_ids", "-1",
        "--num_threads", "0", "--no_html",
        *shlex.split(" ".join(defaults)), *shlex.split(flags)])


def translate_options(dataroot: Path, root: Path, flags: str = "") -> Options:
    """Return options of ``test.py`` on the CPU, with checkpoints and results below ``root``."""
    return parse(TEST, MODELS, DATASETS, [
        "--dataroot", str(dataroot), "--checkpoints_dir", str(root / "checkpoints"),
        "--results_dir", str(root / "results"), "--gpu_ids", "-1", "--num_threads", "0", *shlex.split(flags)])


def train_step(model: Model, batches: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Take one training step of a model in float32; return its losses."""
    return TrainingStep(model)(batches)
