"""``evaluate.py structure``: structural differences between images, by several measures."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from options.flag import comma_list
from util.arguments import positive
from util.device import choose_device
from util.errors import UserError
from util.files import replacing

from .figures import error_grid, save_figure, similarity_grid
from .reports import aligned, require_place, write_json
from .structure_measures import MEASURES, ImageFeatures, Row, StructureMeasures
from .structure_pairs import SHUFFLE, load_alike, pairs_table, score_pairs
from .trained_heads import load_heads

SUMMARY = "map and compare the structure of images by several measures"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of figures, arrays and JSON files; required")
    add("--source", type=Path, metavar="IMG", help="an image (default: none)")
    add("--candidates", type=Path, nargs="+", default=[], metavar="IMG",
        help="images of its size: maps of their errors against --source (default: none)")
    add("--labels", nargs="+", metavar="TEXT", help="names of the candidates (default: the ends of their paths)")
    add("--point", "--points", dest="points", type=point, nargs="+", default=[], metavar="X,Y",
        help="pixels from the top left whose self-similarity in --source and --candidates is drawn (default: none)")
    add("--sources", type=Path, metavar="DIR", help="instead of --source: a folder of images (default: none)")
    add("--aligned", type=Path, metavar="DIR",
        help="for --sources: images of the same structure, under the same names (default: none)")
    add("--unaligned", default=SHUFFLE, metavar="DIR",
        help="for --sources: a folder of images of another structure, under the same names; shuffle: the aligned "
             "image of another source (default: %(default)s)")
    add("--limit", type=positive, metavar="INT", help="use only the first images of --sources (default: all)")
    add("--seed", type=int, default=0, metavar="INT",
        help="seed of --unaligned shuffle and of the bootstrap (default: %(default)s)")
    add("--measures", type=comma_list, metavar="NAMES",
        help=f"some of {','.join(MEASURES)} (default: all; lsesim with --heads)")
    add("--layers", type=comma_list, metavar="NAMES",
        help="layers of the feature network (default: those of --heads, or relu3_1,relu4_1)")
    add("--patch_size", type=positive, metavar="INT",
        help="side of the window of keys around a query, in positions of the feature map (default: as --heads, or 64)")
    add("--whole_rows", action="store_true",
        help="compare whole rows of self-similarity; without, only the candidate's strongest quarter, as the losses do")
    add("--heads", type=Path, metavar="DIR",
        help="checkpoints/NAME of a training with --learned_attn: adds LSeSim (default: none)")
    add("--epoch", default="latest", metavar="NAME", help="tag of the save of --heads (default: %(default)s)")
    add("--feature_net", metavar="NAME",
        help="vgg16, torchvision/NAME or timm/NAME (default: as --heads, or vgg16)")
    add("--vgg_weights", metavar="NAME",
        help="its weights: bundled, imagenet, random or a file (default: as --heads, or bundled)")
    add("--gpu_ids", default="auto", metavar="ID",
        help="device: a GPU's number, -1 for the CPU, auto for the best (default: %(default)s)")


def point(text: str) -> tuple[int, int]:
    """Parse ``X,Y``."""
    if not re.fullmatch(r"\d+,\d+", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form X,Y, in pixels from the top left")
    x, y = text.split(",")
    return int(x), int(y)


def run(flags: argparse.Namespace) -> None:
    """Measure, print, draw, write."""
    _check(flags)
    require_place(flags.out / "pairs.json")
    measures = StructureMeasures(
        flags.layers, network=flags.feature_net, weights=flags.vgg_weights, patch_size=flags.patch_size,
        heads=load_heads(flags.heads, flags.epoch) if flags.heads else None, measures=flags.measures,
        whole_rows=flags.whole_rows, device=choose_device(flags.gpu_ids))
    if flags.sources:
        scores = score_pairs(measures, flags.sources, flags.aligned, flags.unaligned, limit=flags.limit,
                             seed=flags.seed)
        print(pairs_table(measures, scores))
        write_json(flags.out / "pairs.json", scores)
        print(flags.out / "pairs.json")
        return
    labels = flags.labels or [path.parent.name + "/" + path.stem for path in flags.candidates]
    source = load_alike(measures, flags.source)
    if flags.points:
        _check_points(measures, source, flags.points)
    candidates = [load_alike(measures, path, source, flags.source) for path in flags.candidates]
    if candidates:
        _errors(measures, source, candidates, labels, flags)
    if flags.points:
        _points(measures, [source, *candidates], ["source", *labels], flags)


def _check(flags: argparse.Namespace) -> None:
    if (flags.source is None) == (flags.sources is None):
        raise UserError("structure needs either --source, an image, or --sources, a folder")
    if flags.sources:
        if flags.aligned is None:
            raise UserError("--sources needs --aligned, a folder of images of the same structure and names")
        if flags.candidates or flags.points:
            raise UserError("--candidates and --point belong to --source, not to --sources")
    elif flags.aligned or flags.limit:
        raise UserError("--aligned and --limit belong to --sources, not to --source")
    elif not flags.candidates and not flags.points:
        raise UserError("--source needs --candidates to compare it with, or --point to look at")
    if flags.labels and len(flags.labels) != len(flags.candidates):
        raise UserError(f"--labels names {len(flags.labels)} of {len(flags.candidates)} --candidates: name each one")


def _check_points(measures: StructureMeasures, source: ImageFeatures, points: Sequence[tuple[int, int]]) -> None:
    height, width = source.image.shape[2:]
    if outside := [(x, y) for x, y in points if x >= width or y >= height]:
        raise UserError(f"--point {outside[0][0]},{outside[0][1]} is outside of the image, whose pixels go to "
                        f"{width - 1},{height - 1}")
    if not any(row.has_similarity for row in measures.rows):
        raise UserError("--point shows self-similarity: name fsesim or lsesim among --measures")


def _errors(
    measures: StructureMeasures, source: ImageFeatures, candidates: Sequence[ImageFeatures], labels: Sequence[str],
    flags: argparse.Namespace,
) -> None:
    """Write errors.png, errors.npz and errors.json."""
    found = [measures.errors(source, candidate) for candidate in candidates]
    maps = {row: [of[row] for of in found] for row in measures.rows}
    means = {row: [of_one.mean().item() for of_one in of] for row, of in maps.items()}
    print(aligned([["mean error", "", *labels],
                   *([row.title, row.layer, *(f"{mean:.4g}" for mean in of)] for row, of in means.items())], left=2))
    write_json(flags.out / "errors.json", {
        "source": str(flags.source), "candidates": [str(path) for path in flags.candidates], "labels": list(labels),
        "mean_errors": {row.key: of for row, of in means.items()}, **measures.conditions()})
    _save_arrays(flags.out / "errors.npz", {row.key: torch.stack(of).numpy() for row, of in maps.items()})
    figure = error_grid(source.image[0].cpu(), [of.image[0].cpu() for of in candidates], labels,
                        {_title(row): of for row, of in maps.items()})
    save_figure(figure, flags.out / "errors.png")
    print(flags.out / "errors.png")


def _points(
    measures: StructureMeasures, images: Sequence[ImageFeatures], labels: Sequence[str], flags: argparse.Namespace
) -> None:
    """Write points.png and points.npz."""
    found = [(label, features, at, measures.similarities(features, *at))
             for at in flags.points for label, features in zip(labels, images, strict=True)]
    # [points, images, h, w] of each row
    arrays = {row.key: torch.stack([maps[row] for *_, maps in found]).unflatten(0, (len(flags.points), len(images)))
              for row in found[0][3]}
    _save_arrays(flags.out / "points.npz", {key: of.numpy() for key, of in arrays.items()})
    figure = similarity_grid([(label, features.image[0].cpu(), at, {_title(row): of for row, of in maps.items()})
                              for label, features, at, maps in found])
    save_figure(figure, flags.out / "points.png")
    print(flags.out / "points.png")


def _title(row: Row) -> str:
    return f"{row.title}\n{row.layer}".strip()


def _save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
