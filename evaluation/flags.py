"""Groups of flags that several subcommands share."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.lpips_distance import TRUNKS
from options import DeviceFlags, flag
from options.flag import count_or_all, plain_name


@dataclass(frozen=True)
class BatchFlags(DeviceFlags):
    """Batches."""

    batch_size: int = flag(16, "images in a batch", minimum=1)


@dataclass(frozen=True)
class VGGFlags:
    """VGG16."""

    layer: str = flag("relu4_3", "VGG16 layer of the features")
    vgg_weights: str = flag("bundled", "VGG16 weights: bundled, imagenet or a file")


@dataclass(frozen=True)
class LPIPSFlags:
    """LPIPS."""

    lpips_net: str = flag("alex", "network of LPIPS: AlexNet or VGG16", choices=tuple(TRUNKS))
    lpips_weights: Path | None = flag(None, "torchvision's weights of that network", unset="downloaded once")


@dataclass(frozen=True)
class BootstrapFlags:
    """Confidence intervals."""

    bootstrap: int = flag(100, "bootstrap replicates for 95% confidence intervals; 0: none", minimum=0)
    seed: int = flag(0, "seed of the bootstrap", minimum=0)


@dataclass(frozen=True)
class PictureFlags:
    """Pictures on the page."""

    num_images: int = flag(8, "number of test images on the page, evenly spread over the test set", minimum=1)
    images: tuple[str, ...] = flag((), "show these test images instead: names of files, with or without folder and "
                                   "suffix", several=True)


@dataclass(frozen=True)
class ReportFlags:
    """Report."""

    json: Path | None = flag(None, "also write the scores, and what they depend on, to this file")


def key_value(text: str) -> tuple[str, Any]:
    """Convert ``KEY=VALUE``; a value that JSON reads as a finite number becomes a number."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise ValueError(f"'{text}' is not of the form KEY=VALUE")
    try:
        number = json.loads(value)
    except ValueError:
        return key, value
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    return key, number if is_number else value


@dataclass(frozen=True)
class RecordFlags(ReportFlags):
    """Further entries of the report."""

    record: tuple[tuple[str, Any], ...] = flag((), "further entries of the JSON file; numbers are stored as numbers",
                                               parse=key_value, several=True, action="extend", metavar="KEY=VALUE")


@dataclass(frozen=True)
class ExperimentFlags(BatchFlags):
    """Experiments and how they translate the test set."""

    dataroot: Path | None = flag(None, "folder of the test set (testA and testB, say)", unset="that of the training")
    checkpoints_dir: Path = flag(Path("checkpoints"), "folder of all experiments")
    results_dir: Path = flag(Path("results"), "folder of scores and pages")
    phase: str = flag("test", "part of the data set: the prefix of its folders", parse=plain_name)
    num_test: int | None = flag(None, "translate at most this many images; inf: all", parse=count_or_all, unset="inf")
    load_size: int | None = flag(None, "scale all images to squares of this side", minimum=1, unset="their own size")
    pairs: str = flag("auto", "whether testA and testB hold true pairs, for line IoU and colour error; auto: if all "
                      "images have a partner of the same name and size", choices=("auto", "yes", "no"))
    use_ema: bool = flag(False, "score the moving averages of the generators (--ema of the training)")


@dataclass(frozen=True)
class CheckpointFlags(ExperimentFlags):
    """Checkpoint."""

    epoch: str = flag("latest", "checkpoint: an epoch, iter_N, best or latest", parse=plain_name)
