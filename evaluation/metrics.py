"""``evaluate.py metrics``: translations, given or made, against real images and true counterparts."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from evaluation.feature_cache import default_folder
from evaluation.folder_scores import Request, require_place, score, table, write_json
from evaluation.inception import RESIZERS
from metrics.scores import METRICS
from util.device import choose_device
from util.errors import UserError
from util.files import locked
from util.terminal import watched

from .experiments import Experiment, add_experiment_flags, experiment_options
from .flags import (
    add_bootstrap_flags,
    add_device_flags,
    add_epoch_flag,
    add_json_flag,
    add_lpips_flags,
    add_vgg_flags,
    key_value,
)
from .translated_folders import folder_of, make_folders

SUMMARY = "score a folder of translations, or those of an experiment"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--outputs", type=Path, nargs="+", metavar="DIR",
                        help="the translations; required, or --name. Of several styles a folder each: the first image "
                        "is then scored in the first, the second in the second, and so on in turns")
    either.add_argument("--name", metavar="NAME",
                        help="required, or --outputs: an experiment that translates a test set, the flags of which are "
                        "--dataroot and what follows it; --inputs, --real and --truth are then the set's own")
    add("--real", type=Path, metavar="DIR",
        help="real images of the target domain; required with --outputs")
    add("--inputs", type=Path, metavar="DIR",
        help="what was translated, under the same names as the outputs: scored too (default: left out)")
    add("--truth", type=Path, metavar="DIR",
        help="true counterparts, under the same names as the outputs, for scores of pairs (default: left out)")
    add_epoch_flag(parser)
    add_experiment_flags(parser)
    add("--paired", action="store_true",
        help="the real images are the true counterparts, one for each output (default: off)")
    add("--metrics", type=lambda text: tuple(text.split(",")), metavar="NAME,...",
        help=f"what to compute, of {', '.join(METRICS)} (default: all whose weights and counterparts are given or "
             "bundled)")
    add_vgg_flags(parser)
    add("--inception_weights", type=Path, metavar="FILE",
        help="weights of torch-fidelity's Inception, for fid, kid and inception_prdc (default: downloaded once)")
    add("--resize", choices=list(RESIZERS), default="clean",
        help="how images come to Inception's size: antialiased, or as in 2017 (default: %(default)s)")
    add_lpips_flags(parser)
    add_bootstrap_flags(parser)
    add("--cache_dir", type=Path, metavar="DIR", default=default_folder() or Path("none"),
        help="features of real images and inputs are kept there, by content; none: nowhere (default: %(default)s)")
    add_device_flags(parser)
    add_json_flag(parser)
    add("--record", type=key_value, nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="further entries for the JSON file; numbers are stored as numbers (default: none)")


def run(flags: argparse.Namespace) -> None:
    """Translate if asked to; score, print, write."""
    _check(flags)
    if flags.name is None:
        outputs, *styles = flags.outputs
        score_folders(flags, Request(outputs=outputs, styles=styles, real=flags.real, inputs=flags.inputs,
                                     truth=flags.truth), flags.json)
        return
    experiment = Experiment.find(flags.checkpoints_dir, flags.name)
    options = experiment_options(flags, experiment, flags.dataroot, f"--epoch={flags.epoch}")
    folder = folder_of(flags)
    with locked(folder):
        made = make_folders(experiment, options, choose_device(flags.gpu_ids), folder, flags.real)
        score_folders(flags, Request(
            outputs=made.outputs, real=made.real, inputs=flags.inputs or made.inputs, truth=flags.truth or made.truth,
            recorded={"translation": made.translation}), flags.json or folder / "metrics.json")
    print(folder)


def score_folders(flags: argparse.Namespace, request: Request, file: Path | None) -> None:
    """Score the request's folders as the flags say; print a table, and write a file if one is named."""
    scores = score(replace(
        request, paired=flags.paired, metrics=flags.metrics, layer=flags.layer, weights=flags.vgg_weights,
        resize=flags.resize, inception_weights=flags.inception_weights, lpips_net=flags.lpips_net,
        lpips_weights=flags.lpips_weights, device=choose_device(flags.gpu_ids), batch_size=flags.batch_size,
        bootstrap=flags.bootstrap, seed=flags.seed, watch=watched,
        cache=None if str(flags.cache_dir) == "none" else flags.cache_dir,
        recorded={**dict(flags.record), **request.recorded},
    ))
    print(table(scores))
    for warning in scores["warnings"]:
        print(f"evaluate.py: warning: {warning}", file=sys.stderr)
    if file:
        write_json(file, scores)


def _check(flags: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, and a file that could not be written at the end."""
    parser = argparse.ArgumentParser()
    add_epoch_flag(parser)
    add_experiment_flags(parser)
    of_experiments = vars(parser.parse_args([]))
    typed = [name for name, default in of_experiments.items() if getattr(flags, name) != default]
    if flags.outputs and typed:
        raise UserError(f"--{typed[0]} is about translations that are still to be made: it needs --name, not --outputs")
    if flags.outputs and flags.real is None:
        raise UserError("--outputs needs --real, a folder of real images of the target domain")
    if flags.name and "translation" in dict(flags.record):
        raise UserError("--record translation=... would replace a result of that name; choose another key")
    if flags.json:
        require_place(flags.json)
