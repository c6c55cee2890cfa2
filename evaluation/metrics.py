"""``evaluate.py metrics``: scores of translations against real images and true counterparts."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from metrics.scores import METRICS
from util.device import choose_device
from util.errors import UserError
from util.files import locked

from .experiments import Experiment, add_experiment_flags, experiment_options
from .feature_cache import default_folder
from .feature_extractors import RESIZERS
from .flags import (
    add_bootstrap_flags,
    add_device_flags,
    add_epoch_flag,
    add_json_flag,
    add_lpips_flags,
    add_vgg_flags,
    key_value,
)
from .folder_scores import Folders, score_folders, score_table
from .reports import require_place, write_json
from .scoring import ScoreOptions
from .translated_folders import folder_of, translate_folders

SUMMARY = "score a folder of translations, or those of an experiment"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--outputs", type=Path, nargs="+", metavar="DIR",
                        help="the translations; required, or --name. For several styles a folder each: image n is "
                        "scored in style n modulo their number")
    either.add_argument("--name", metavar="NAME",
                        help="required, or --outputs: an experiment that translates a test set (flags from --dataroot "
                        "on); --inputs, --real and --truth are then those of the test set")
    add("--real", type=Path, metavar="DIR",
        help="real images of the target domain; required with --outputs")
    add("--inputs", type=Path, metavar="DIR",
        help="inputs of the translations, under the same names: scored too (default: left out)")
    add("--truth", type=Path, metavar="DIR",
        help="true counterparts of the outputs, under the same names, for scores of pairs (default: left out)")
    add_epoch_flag(parser)
    add_experiment_flags(parser)
    add("--paired", action="store_true",
        help="the real images are the true counterparts, one for each output (default: off)")
    add("--metrics", type=lambda text: tuple(text.split(",")), metavar="NAME,...",
        help=f"some of {', '.join(METRICS)} (default: all whose weights and counterparts are given or bundled)")
    add_vgg_flags(parser)
    add("--inception_weights", type=Path, metavar="FILE",
        help="weights of torch-fidelity's Inception, for fid, kid and inception_prdc (default: downloaded once)")
    add("--resize", choices=list(RESIZERS), default="clean",
        help="resizing for Inception: antialiased, or as in 2017 (default: %(default)s)")
    add_lpips_flags(parser)
    add_bootstrap_flags(parser)
    add("--cache_dir", type=Path, metavar="DIR", default=default_folder() or Path("none"),
        help="cache of features of real images and inputs; none: no cache (default: %(default)s)")
    add_device_flags(parser)
    add_json_flag(parser)
    add("--record", type=key_value, nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="further entries of the JSON file; numbers are stored as numbers (default: none)")


def run(flags: argparse.Namespace) -> None:
    """Translate if a name is given; score, print, write."""
    _check(flags)
    if flags.name is None:
        _score(flags, Folders(flags.outputs, flags.real, flags.inputs, flags.truth, flags.paired), flags.json)
        return
    experiment = Experiment.find(flags.checkpoints_dir, flags.name)
    options = experiment_options(flags, experiment, flags.dataroot, f"--epoch={flags.epoch}")
    folder = folder_of(flags)
    with locked(folder):
        made, translation = translate_folders(experiment, options, choose_device(flags.gpu_ids), folder, flags.real)
        folders = replace(made, inputs=flags.inputs or made.inputs, truth=flags.truth or made.truth,
                          paired=flags.paired)
        _score(flags, folders, flags.json or folder / "metrics.json", translation=translation)
    print(folder)


def _score(flags: argparse.Namespace, folders: Folders, file: Path | None, **recorded: Any) -> None:
    """Score folders, print a table, and write a file if there is a place for it."""
    scores = score_folders(folders, ScoreOptions(
        metrics=flags.metrics, layer=flags.layer, vgg_weights=flags.vgg_weights, resize=flags.resize,
        inception_weights=flags.inception_weights, lpips_net=flags.lpips_net, lpips_weights=flags.lpips_weights,
        device=choose_device(flags.gpu_ids), batch_size=flags.batch_size, bootstrap=flags.bootstrap, seed=flags.seed,
        cache=None if str(flags.cache_dir) == "none" else flags.cache_dir), dict(flags.record) | recorded)
    print(score_table(scores))
    for warning in scores["warnings"]:
        print(f"evaluate.py: warning: {warning}", file=sys.stderr)
    if file:
        write_json(file, scores)


def _check(flags: argparse.Namespace) -> None:
    """Refuse contradictory flags, and a file that cannot be written."""
    parser = argparse.ArgumentParser()
    add_epoch_flag(parser)
    add_experiment_flags(parser)
    of_experiments = vars(parser.parse_args([]))
    typed = [name for name, default in of_experiments.items() if getattr(flags, name) != default]
    if flags.outputs and typed:
        raise UserError(f"--{typed[0]} is about making translations: it needs --name, not --outputs")
    if flags.outputs and flags.real is None:
        raise UserError("--outputs needs --real, a folder of real images of the target domain")
    if flags.name and "translation" in dict(flags.record):
        raise UserError("--record translation=... would replace a result of that name; choose another key")
    if flags.json:
        require_place(flags.json)
