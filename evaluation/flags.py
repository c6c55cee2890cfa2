"""Flags that several subcommands share, and their types."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from evaluation.lpips_distance import TRUNKS
from options.flag import plain_name
from util.arguments import positive, whole


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the device and the batch size."""
    parser.add_argument("--batch_size", type=positive, default=16, metavar="INT",
                        help="images in a batch (default: %(default)s)")
    parser.add_argument("--gpu_ids", default="auto", metavar="ID",
                        help="device: a GPU's number, -1 for the CPU, auto for the best (default: %(default)s)")


def add_vgg_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the layer and the weights of VGG16."""
    parser.add_argument("--layer", default="relu4_3", metavar="NAME",
                        help="VGG16 layer of the features (default: %(default)s)")
    parser.add_argument("--vgg_weights", default="bundled", metavar="NAME",
                        help="VGG16 weights: bundled, imagenet or a file (default: %(default)s)")


def add_lpips_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the network of LPIPS and its weights."""
    parser.add_argument("--lpips_net", choices=list(TRUNKS), default="alex",
                        help="network of LPIPS: AlexNet or VGG16 (default: %(default)s)")
    parser.add_argument("--lpips_weights", type=Path, metavar="FILE",
                        help="torchvision's weights of that network (default: downloaded once)")


def add_bootstrap_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the bootstrap."""
    parser.add_argument("--bootstrap", type=whole, default=100, metavar="INT",
                        help="bootstrap replicates for 95%% confidence intervals; 0: none (default: %(default)s)")
    parser.add_argument("--seed", type=whole, default=0, metavar="INT",
                        help="seed of the bootstrap (default: %(default)s)")


def add_epoch_flag(parser: argparse.ArgumentParser) -> None:
    """Declare the checkpoint."""
    parser.add_argument("--epoch", type=tag, default="latest", metavar="TAG",
                        help="checkpoint: an epoch, iter_N, best or latest (default: %(default)s)")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Declare the JSON file."""
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="write the scores, and what they depend on, to this file, too (default: no file)")


def tag(text: str) -> str:
    """Parse the tag of a checkpoint, which must not lead to another folder."""
    try:
        return plain_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def key_value(text: str) -> tuple[str, Any]:
    """Parse ``KEY=VALUE``; a value that JSON reads as a finite number becomes a number."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form KEY=VALUE")
    try:
        number = json.loads(value)
    except ValueError:
        return key, value
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    return key, number if is_number else value
