"""``evaluate.py diversity``: translations of the same images in several styles."""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluation.feature_extractors import VGGFeatures
from evaluation.folder_scores import write_json
from evaluation.lpips_distance import PerceptualDistance
from metrics.diversity import score_styles
from util.device import choose_device

from .flags import add_bootstrap_flags, add_device_flags, add_json_flag, add_lpips_flags, add_vgg_flags

SUMMARY = "compare translations of the same images in several styles"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, metavar="DIR",
                        help="the translations, a folder for each style, under the same names; required")
    add_vgg_flags(parser)
    parser.add_argument("--lpips", action="store_true",
                        help="also the mean LPIPS distance between two styles of an image (default: off)")
    add_lpips_flags(parser)
    add_bootstrap_flags(parser)
    add_device_flags(parser)
    add_json_flag(parser)


def run(flags: argparse.Namespace) -> None:
    """Score, print, write."""
    device = choose_device(flags.gpu_ids)
    features = VGGFeatures(flags.layer, flags.vgg_weights, device, flags.batch_size)
    perceptual = PerceptualDistance(flags.lpips_net, flags.lpips_weights, device) if flags.lpips else None
    scores = score_styles(flags.outputs, features, perceptual, replicates=flags.bootstrap, seed=flags.seed)
    print(f"mean distance between two styles of an image     {scores['distance_styles']:10.4g}\n"
          f"mean distance between two images in one style    {scores['distance_images']:10.4g}\n"
          f"quotient (higher is more diverse)                {scores['style_diversity']:10.4g}")
    if perceptual:
        print(f"LPIPS between two styles of an image             {scores['lpips_diversity']:10.4g}")
    if flags.json:
        write_json(flags.json, scores)
