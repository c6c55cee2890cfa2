"""``evaluate.py structure``: structural differences between images, by several measures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from options import REQUIRED, DeviceFlags, flag
from options.flag import comma_list, plain_name
from util.device import choose_device
from util.errors import UserError
from util.files import replacing

from .figures import error_grid, save_figure, similarity_grid
from .reading import ValueFlags
from .reports import aligned, require_place, write_json
from .structure_measures import MEASURES, ImageFeatures, Row, StructureMeasures
from .structure_pairs import SHUFFLE, load_alike, pairs_table, score_pairs
from .trained_heads import load_heads


def point(text: str) -> tuple[int, int]:
    """Convert ``X,Y``."""
    if not re.fullmatch(r"\d+,\d+", text):
        raise ValueError(f"'{text}' is not of the form X,Y, in pixels from the top left")
    x, y = text.split(",")
    return int(x), int(y)


@dataclass(frozen=True, kw_only=True)
class Flags(ValueFlags, DeviceFlags):
    """Map and compare the structure of images by several measures."""

    out: Path = flag(REQUIRED, "folder of figures, arrays and JSON files")
    source: Path | None = flag(None, "an image")
    candidates: tuple[Path, ...] = flag((), "images of its size: maps of their errors against --source", several=True)
    labels: tuple[str, ...] = flag((), "names of the candidates", several=True, unset="the ends of their paths")
    points: tuple[tuple[int, int], ...] = flag(
        (), "pixels from the top left whose self-similarity in --source and --candidates is drawn", parse=point,
        several=True, alias="point", metavar="X,Y")
    sources: Path | None = flag(None, "instead of --source: a folder of images")
    aligned: Path | None = flag(None, "for --sources: images of the same structure, under the same names")
    unaligned: str = flag(SHUFFLE, "for --sources: a folder of images of another structure, under the same names; "
                          "shuffle: the aligned image of another source")
    limit: int | None = flag(None, "use only the first images of --sources", minimum=1, unset="all")
    seed: int = flag(0, "seed of --unaligned shuffle and of the bootstrap", minimum=0)
    measures: tuple[str, ...] | None = flag(None, f"some of {','.join(MEASURES)}", parse=comma_list,
                                            unset="all; lsesim with --heads")
    layers: tuple[str, ...] | None = flag(None, "layers of the feature network", parse=comma_list,
                                          unset="those of --heads, or relu3_1,relu4_1")
    patch_size: int | None = flag(None, "side of the window of keys around a query, in positions of the feature map",
                                  minimum=1, unset="that of --heads, or 64")
    whole_rows: bool = flag(False, "compare whole rows of self-similarity instead of the candidate's strongest "
                            "quarter, which the losses compare")
    heads: Path | None = flag(None, "checkpoints/NAME of a training with --learned_attn: adds LSeSim")
    epoch: str = flag("latest", "checkpoint of --heads: an epoch, iter_N, best or latest", parse=plain_name)
    feature_net: str | None = flag(None, "vgg16, torchvision/NAME or timm/NAME", unset="that of --heads, or vgg16")
    vgg_weights: str | None = flag(None, "its weights: bundled, imagenet, random or a file",
                                   unset="those of --heads, or bundled")


def run(flags: Flags) -> None:
    """Measure, print, draw, write."""
    _check(flags)
    require_place(flags.out / "pairs.json")
    measures = StructureMeasures(
        flags.layers, network=flags.feature_net, weights=flags.vgg_weights, patch_size=flags.patch_size,
        heads=load_heads(flags.heads, flags.epoch) if flags.heads else None, measures=flags.measures,
        whole_rows=flags.whole_rows, device=choose_device(flags.gpu_ids))
    if flags.sources and flags.aligned:
        scores = score_pairs(measures, flags.sources, flags.aligned, flags.unaligned, limit=flags.limit,
                             seed=flags.seed, read_source=flags.read_input, read_other=flags.read_output)
        print(pairs_table(measures, scores))
        write_json(flags.out / "pairs.json", scores)
        print(flags.out / "pairs.json")
        return
    labels = flags.labels or [path.parent.name + "/" + path.stem for path in flags.candidates]
    assert flags.source  # by _check
    source = load_alike(measures, flags.source, flags.read_input)
    if flags.points:
        _check_points(measures, source, flags.points)
    candidates = [load_alike(measures, path, flags.read_output, source, flags.source) for path in flags.candidates]
    if candidates:
        _errors(measures, source, candidates, labels, flags)
    if flags.points:
        _points(measures, [source, *candidates], ["source", *labels], flags)


def _check(flags: Flags) -> None:
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
    flags: Flags,
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
    measures: StructureMeasures, images: Sequence[ImageFeatures], labels: Sequence[str], flags: Flags
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
