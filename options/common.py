"""Flags that training and testing share. Names and defaults are those of the published F-LSeSim code."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .flag import bands, comma_list, count_or_all, flag, plain_name, value_range

PREPROCESS_MODES = (
    "resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "scale_shortside_and_crop", "zoom_and_patch",
    "none",
)
GENERATORS = ("resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128", "stylegan2", "smallstylegan2")
DISCRIMINATORS = ("basic", "n_layers", "pixel", "multi", "stylegan2", "tilestylegan2", "projected")


def usable_cores() -> int:
    """Count the CPU cores that taskset, SLURM and containers leave to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_crop(preprocess: str) -> bool:
    """Return whether --preprocess gives all training images one size, --crop_size."""
    return "crop" in preprocess or preprocess == "zoom_and_patch"


@dataclass(frozen=True)
class DeviceFlags:
    """Device."""

    gpu_ids: str = flag("auto", "device: a GPU's number, -1 for the CPU, auto for the best")


@dataclass(frozen=True)
class RunFlags(DeviceFlags):
    """Experiment."""

    name: str = flag("experiment_name", "name of the experiment; its files go to checkpoints_dir/name")
    model: str = flag("sc", "method")
    checkpoints_dir: str = flag("./checkpoints", "folder of all experiments")
    seed: int | None = flag(None, "seed of all random choices; without it, a random one is recorded", minimum=0)
    epoch: str = flag("latest", "epoch to load: a number or latest", parse=plain_name)
    load_iter: int = flag(0, "load the checkpoint of this iteration instead of an epoch; 0: of the epoch", minimum=0)
    verbose: bool = flag(False, "also print the networks, and the flags that have their defaults")
    suffix: str = flag("", "append _ and this to the name; {flag} becomes the value of a flag, as in {model}_{netG}")

    @property
    def folder(self) -> Path:
        """Folder of the experiment, with all files of its training."""
        return Path(self.checkpoints_dir) / self.name

    @property
    def tag(self) -> str:
        """Tag of the checkpoint to load."""
        return f"iter_{self.load_iter}" if self.load_iter else self.epoch


@dataclass(frozen=True)
class DataFlags:
    """Images and batches."""

    dataroot: str = flag("", "folder of images (with trainA, trainB, testA, testB for unaligned); required")
    dataset_mode: str = flag("unaligned", "how images are found and paired")
    direction: str = flag("AtoB", "direction of the translation", choices=("AtoB", "BtoA"))
    phase: str = flag("train", "part of the data set: the prefix of its folders", parse=plain_name)
    serial_batches: bool = flag(False, "take images in order instead of at random")
    num_threads: int = flag(min(4, usable_cores()), "worker processes that load images; the default is the number of "
                            "usable cores, at most 4. 0: load in the main process", minimum=0, maximum=1024)
    batch_size: int = flag(1, "images in a batch", minimum=1)
    load_size: int = flag(286, "size that images are scaled to before the crop", minimum=1, maximum=65536)
    crop_size: int = flag(256, "side of the square crop", minimum=1, maximum=65536)
    max_dataset_size: int | None = flag(None, "use at most this many images of a folder; inf: all",
                                        parse=count_or_all, unset="inf")
    preprocess: str = flag("resize_and_crop", "how images are scaled and cropped; zoom_and_patch scales images down to "
                           "--load_size at most, and zooms out of each crop at random", choices=PREPROCESS_MODES)
    random_scale_max: float = flag(3.0, "with --preprocess zoom_and_patch: largest factor by which training images are "
                                   "scaled down at random, height and width independently", minimum=1)
    no_flip: bool = flag(False, "do not flip training images horizontally at random")
    input_nc: int = flag(3, "channels of input images: 3 for colour, 1 for greyscale, or another number", minimum=1)
    output_nc: int = flag(3, "channels of output images: 3 for colour, 1 for greyscale, or another number", minimum=1)
    rgb_bands: tuple[int, ...] = flag(
        (), "of images with other than 1 or 3 channels: the three that pictures and VGG16 show as red, green and blue, "
        "or the one that they show as grey, numbered from 1; none: the first three, or the first of two", parse=bands)
    range_A: tuple[float, float] | None = flag(
        None, "values of the files of domain A that become -1 and 1, as in -1024,3071; values outside are clipped. "
        "Signed integers and floats need it", parse=value_range, metavar="LOW,HIGH", unset="all of the stored type")
    range_B: tuple[float, float] | None = flag(
        None, "the same for the files of domain B", parse=value_range, metavar="LOW,HIGH",
        unset="all of the stored type")
    pages: str = flag("first", "pages of a TIFF file to read: the first, or all, each as an image",
                      choices=("first", "all"))

    mask_A: str = flag(
        "", "folder of masks of the images to translate, by their names, or with a folder trainA and testA of them: "
        "where a mask is black, the output is the input", parse=lambda text: "" if text.strip() == "none" else text)

    @property
    def ranges(self) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """The ranges of the source and of the target domain: with --direction BtoA those of B and A."""
        return (self.range_A, self.range_B) if self.direction == "AtoB" else (self.range_B, self.range_A)


@dataclass(frozen=True)
class NetworkFlags:
    """Architecture of generator and discriminator."""

    netG: str = flag("resnet_9blocks", "generator", choices=GENERATORS)
    netD: str = flag("basic", "discriminator; basic is the PatchGAN with a receptive field of 84x84 pixels, 70x70 with "
                     "--no_antialias", choices=DISCRIMINATORS)
    ngf: int = flag(64, "channels after the first convolution of the generator", minimum=1)
    ndf: int = flag(64, "channels after the first convolution of the discriminator", minimum=1)
    n_layers_D: int = flag(3, "layers of the n_layers and multi discriminators", minimum=1, maximum=10)
    norm: str = flag("instance", "normalisation", choices=("instance", "batch", "none"))
    normD: str | None = flag(  # noqa: N815 - CUT's name
        None, "normalisation of the discriminator: as --norm, or spectral (of the weights). Instance normalisation "
        "hides colours from it", choices=("instance", "batch", "none", "spectral"), unset="that of --norm")
    init_type: str = flag("xavier", "initialisation", choices=("normal", "xavier", "kaiming", "orthogonal"))
    init_gain: float = flag(0.02, "scale of the normal, xavier and orthogonal initialisation", above=0)
    no_dropout: bool = flag(True, "no dropout in the generator")
    no_antialias: bool = flag(False, "downsample by strided convolutions instead of blur-pooling; no effect on the "
                              "U-Nets and the pixel and multi discriminators")
    no_antialias_up: bool = flag(False, "upsample by transposed convolutions without blur; no effect on the U-Nets")
    stylegan2_G_num_downsampling: int = flag(1, "halvings of the stylegan2 generators", minimum=0, maximum=6)
    stylegan2_size: int = flag(0, "side of the images, in pixels, that the stylegan2 networks are built for; 0: the "
                               "smaller of --load_size and --crop_size", minimum=0, maximum=65536)
    D_patch_size: int = flag(64, "side of the tiles of the tilestylegan2 discriminator, in pixels", minimum=8)
    D_feature_net: str = flag("vgg16", "frozen network of the projected discriminator, by a name as --feature_net's")
    D_layers: tuple[str, ...] = flag(("relu1_2", "relu2_2", "relu3_3", "relu4_2"), "its layers that are judged, "
                                     "from the first to the last, by names as --attn_layers'", parse=comma_list)
    D_weights: str = flag("bundled", "its weights: bundled (only VGG16), imagenet, random or a file")


def stylegan2_size(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return --stylegan2_size where it is 0; it is recorded, since test images have other sizes."""
    networks = values["netG"], values["netD"]
    if values["stylegan2_size"] or not {"stylegan2", "smallstylegan2"} & set(networks):
        return {}
    return {"stylegan2_size": min(values["load_size"], values["crop_size"])}


@dataclass(frozen=True)
class SpeedFlags:
    """Speed and precision; docs/performance.md has measured gains."""

    amp: str = flag("no", "precision of the networks: no is float32; bf16 suits GPUs since Ampere and CPUs with bf16 "
                    "instructions; fp16, with scaled losses, suits older GPUs. Losses and weights stay float32",
                    choices=("no", "bf16", "fp16"))
    channels_last: bool = flag(True, "store weights and activations channels last, which speeds convolutions up; "
                               "false: channels first")
    compile: bool = flag(False, "compile networks and losses with torch.compile: the first steps take minutes, later "
                         "ones less; needs a C++ compiler or, on a GPU, Triton")
    no_tf32: bool = flag(False, "full float32 instead of TF32 for convolutions on GPUs since Ampere; matrix products, "
                         "in the losses too, are always float32")
