"""A command line written for the published F-LSeSim code runs here, with the same meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from data import DATASETS
from models import MODELS
from options import TEST, TRAIN, DataFlags, Options, RunFlags, parse
from options.flag import Flag, flags_of

# Type and default as the published parser has them; None: no default. A "flag" is an argument without a value.
Published = Mapping[str, tuple[str, Any]]

COMMON: Published = {
    "dataroot": ("str", None), "name": ("str", "experiment_name"), "gpu_ids": ("str", "0"),
    "checkpoints_dir": ("str", "./checkpoints"), "model": ("str", "cycle_gan"), "input_nc": ("int", 3),
    "output_nc": ("int", 3), "ngf": ("int", 64), "ndf": ("int", 64), "netD": ("str", "basic"),
    "netG": ("str", "resnet_9blocks"), "n_layers_D": ("int", 3), "norm": ("str", "instance"),
    "init_type": ("str", "xavier"), "init_gain": ("float", 0.02), "no_dropout": ("str2bool", True),
    "no_antialias": ("flag", False), "no_antialias_up": ("flag", False), "dataset_mode": ("str", "unaligned"),
    "direction": ("str", "AtoB"), "serial_batches": ("flag", False), "num_threads": ("int", 4),
    "batch_size": ("int", 1), "load_size": ("int", 286), "crop_size": ("int", 256), "max_dataset_size": ("int", "inf"),
    "preprocess": ("str", "resize_and_crop"), "no_flip": ("flag", False), "display_winsize": ("int", 256),
    "random_scale_max": ("float", 3.0), "epoch": ("str", "latest"), "load_iter": ("int", "0"),
    "verbose": ("flag", False), "suffix": ("str", ""), "stylegan2_G_num_downsampling": ("int", 1),
}
TRAINING: Published = {
    "display_freq": ("int", 400), "display_ncols": ("int", 4), "display_id": ("int", None),
    "display_server": ("str", "http://localhost"), "display_env": ("str", "main"), "display_port": ("int", 8097),
    "update_html_freq": ("int", 1000), "print_freq": ("int", 100), "no_html": ("flag", False),
    "save_latest_freq": ("int", 5000), "save_epoch_freq": ("int", 10), "save_by_iter": ("flag", False),
    "continue_train": ("flag", False), "epoch_count": ("int", 1), "phase": ("str", "train"), "n_epochs": ("int", 200),
    "n_epochs_decay": ("int", 200), "beta1": ("float", 0.5), "beta2": ("float", 0.999), "lr": ("float", 0.0001),
    "gan_mode": ("str", "lsgan"), "pool_size": ("int", 50), "lr_policy": ("str", "linear"),
    "lr_decay_iters": ("int", 50),
}
TESTING: Published = {
    "model": ("str", "test"), "load_size": ("int", 256), "results_dir": ("str", "./results/"),
    "aspect_ratio": ("float", 1.0), "phase": ("str", "test"), "eval": ("flag", False), "num_test": ("int", 50),
}
SC: Published = {
    "attn_layers": ("str", "4, 7, 9"), "patch_nums": ("float", 256), "patch_size": ("int", 64),
    "loss_mode": ("str", "cos"), "use_norm": ("flag", False), "learned_attn": ("flag", False),
    "augment": ("flag", False), "T": ("float", 0.07), "lambda_spatial": ("float", 10.0),
    "lambda_spatial_idt": ("float", 0.0), "lambda_perceptual": ("float", 0.0), "lambda_style": ("float", 0.0),
    "lambda_identity": ("float", 0.0), "lambda_gradient": ("float", 0.0),
}

SINSC: Published = {**SC,
    "ngf": ("int", 8), "ndf": ("int", 8), "netD": ("str", "stylegan2"), "netG": ("str", "stylegan2"),
    "dataset_mode": ("str", "singleimage"), "load_size": ("int", 1024), "crop_size": ("int", 128),
    "stylegan2_G_num_downsampling": ("int", 2), "attn_layers": ("str", "4,7,9"), "lambda_gradient": ("float", 1.0),
}
SINSC_TRAINING: Published = {**TRAINING,
    "batch_size": ("int", 16), "preprocess": ("str", "zoom_and_patch"), "save_latest_freq": ("int", 20000),
    "save_epoch_freq": ("int", 1), "n_epochs": ("int", 4), "n_epochs_decay": ("int", 4), "beta1": ("float", 0.0),
    "beta2": ("float", 0.99), "lr": ("float", 0.001), "gan_mode": ("str", "nonsaturating"),
}
SINSC_TESTING: Published = {**TESTING, "preprocess": ("str", "none"), "num_test": ("int", 1)}
PAIRED: Published = {  # what its pix2pix sets, as the code that it comes from does
    "norm": ("str", "batch"), "netG": ("str", "unet_256"), "dataset_mode": ("str", "aligned"),
}
PUBLISHED: Mapping[str, Published] = {
    "train.py": {**COMMON, **TRAINING, **SC},
    "test.py": {**COMMON, **TESTING},
    "test.py --model sc": {**COMMON, **TESTING, **SC},
    "train.py --model sinsc": {**COMMON, **SINSC_TRAINING, **SINSC},
    "train.py --model cycle_gan": {**COMMON, **TRAINING},
    "train.py --model pix2pix": {
        **COMMON, **TRAINING, **PAIRED, "gan_mode": ("str", "vanilla"), "pool_size": ("int", 0)},
    "test.py --model sinsc": {**COMMON, **SINSC_TESTING, **SINSC},
    "test.py --model pix2pix": {**COMMON, **TESTING, **PAIRED},
}

# Defaults that differ on purpose.
ALWAYS = {
    "dataroot": "required there as here; the text is empty instead of absent",
    "gpu_ids": "auto: the best device there is, where the published default fails without a GPU",
    "num_threads": "at most one worker a CPU, where the published 4 slow small machines down",
}
IN_TESTING = ALWAYS | {
    "no_flip": "true: the published test.py sets it after parsing",
    "serial_batches": "true: the published test.py sets it after parsing",
}
OWN_CODE = dict.fromkeys(("lr", "n_epochs", "n_epochs_decay"),
                         "that of the method's own code: in the published one this model crashes, with any value")
SHARED_GENERATOR = dict.fromkeys(("netG", "norm"), "that of the other methods, for comparisons and images of any size")
OWN_SIZE = {"preprocess": "none: images keep their own size, unless --load_size or --crop_size is typed"}
DIFFERENT = {
    "train.py": ALWAYS | {"model": "sc: the method of this repository"},
    "test.py": IN_TESTING | {
        "dataset_mode": "--model test takes a folder or a file, as the published model does", **OWN_SIZE,
    },
    "test.py --model sc": IN_TESTING | OWN_SIZE,
    "test.py --model pix2pix": IN_TESTING | OWN_SIZE | SHARED_GENERATOR,
    "train.py --model sinsc": ALWAYS,
    "train.py --model cycle_gan": ALWAYS | OWN_CODE,
    "train.py --model pix2pix": ALWAYS | OWN_CODE | SHARED_GENERATOR,
    "test.py --model sinsc": IN_TESTING | {
        "phase": "train: the published data set looks into trainA, whatever the phase",
        "eval": "true: the generator adds noise in training mode",
    },
}


def options_of(command: str, *argv: str) -> Options:
    program, *flags = command.split()
    return parse({"train.py": TRAIN, "test.py": TEST}[program], MODELS, DATASETS, ["--dataroot", ".", *flags, *argv])


def converters(command: str) -> dict[str, Flag]:
    """Return the flags of a program with a model by name."""
    chosen = options_of(command)
    program = TRAIN if command.startswith("train.py") else TEST
    model, dataset = MODELS[chosen[RunFlags].model], DATASETS[chosen[DataFlags].dataset_mode]
    return {f.name: f for group in (*program.flags, *model.flags, *dataset.flags) for f in flags_of(group)}


@pytest.mark.parametrize("command", PUBLISHED)
def test_defaults_are_the_published_ones_or_differ_on_purpose(command: str) -> None:
    defaults, flags = options_of(command).defaults, converters(command)
    for name, (_, published) in PUBLISHED[command].items():
        if name == "num_threads" or (name == "model" and "--model" in command):
            continue  # of num_threads, 4 is the default on machines of 4 CPUs and more
        same = defaults[name] == (None if published is None else flags[name].convert(str(published)))
        assert same != (name in DIFFERENT[command]), name


@pytest.mark.parametrize("command", PUBLISHED)
def test_flags_are_typed_as_in_the_published_code(command: str) -> None:
    """All flags of a program in one command line."""
    argv, flags, meant = [], converters(command), {}
    for name, (kind, published) in PUBLISHED[command].items():
        if name in ("model", "dataroot", "suffix") or (kind != "flag" and published is None):
            continue
        argv += [f"--{name}"] if kind == "flag" else [f"--{name}", str(published)]
        meant[name] = True if kind == "flag" else flags[name].convert(str(published))
    options = options_of(command, *argv).as_dict()
    assert {name: options[name] for name in meant} == meant


@pytest.mark.parametrize("command", [
    "--dataroot . --name horse2zebra --model sc --gpu_ids -1 --lambda_spatial 10 --lambda_gradient 0 "
    "--attn_layers 4,7,9 --loss_mode cos --gan_mode lsgan --display_port 8093 --direction AtoB --patch_size 64 "
    "--learned_attn --augment",
    "--dataroot . --name night2day --model sc --gpu_ids 0 --lambda_spatial 10 --lambda_spatial_idt 10 "
    "--lambda_gradient 0.0 --attn_layers 4,7,9 --patch_nums 256.0 --T 0.07 --use_norm --no_html --display_id 0",
    "--dataroot . --name single_image --model sinsc --gpu_ids 0 --lambda_spatial 10 --lambda_gradient 1 "
    "--lambda_identity 0 --attn_layers 4,7,9 --patch_size 64 --random_scale_max 3.0 --learned_attn --augment",
])
def test_published_training_scripts_are_accepted(command: str) -> None:
    assert parse(TRAIN, MODELS, DATASETS, command.split())[RunFlags].model in command.split()
