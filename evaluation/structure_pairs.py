"""Structure errors over folders: of pairs of the same structure, beside pairs of different structure."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metrics.bootstrap import bootstrap_ratio
from util.errors import UserError
from util.image_folders import find_images
from util.terminal import with_progress

from .pairing import partners
from .reading import AS_STORED, PictureReader
from .reports import aligned as aligned_columns
from .structure_measures import ImageFeatures, StructureMeasures

SHUFFLE = "shuffle"
RESAMPLES = 2000
"""Bootstrap replicates for the interval of a ratio."""


def derangement(count: int, seed: int) -> list[int]:
    """Draw a random cycle through at least two items: each gets another one, and each is used once."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [following[index] for index in range(count)]


def load_alike(
    measures: StructureMeasures, path: Path, reader: PictureReader, like: ImageFeatures | None = None,
    of: Path | None = None,
) -> ImageFeatures:
    """Extract the features of an image file, which has the size of ``like``, the image of the file ``of``.

    Raises:
        UserError: the sizes differ, the file is no image, or it is too small for the layers.
    """
    image = reader(path)
    if like is not None and image.shape != like.image.shape[1:]:
        sizes = [f"{height}x{width}" for height, width in (image.shape[1:], like.image.shape[2:])]
        raise UserError(f"'{path}' is {sizes[0]} (height x width), but '{of}', which it is compared with, {sizes[1]}; "
                        "make them alike")
    try:
        return measures.features(image)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None


def score_pairs(
    measures: StructureMeasures, sources: Path, aligned: Path, unaligned: str = SHUFFLE, *, limit: int | None = None,
    seed: int = 0, read_source: PictureReader = AS_STORED, read_other: PictureReader = AS_STORED,
) -> dict[str, Any]:
    """Average the errors over the first ``limit`` images of a folder, against aligned and unaligned images.

    All folders use the same names. With ``shuffle``, each aligned image is the unaligned one of another source.

    Returns:
        ``pairs``, their number; ``errors``: for each row's key the means ``aligned`` and ``unaligned``, their
        ``ratio`` with its 95% interval ``ratio_low``, ``ratio_high``, and ``separation``, their difference divided by
        the standard deviation over pairs (root of the mean of both variances); None for what is not finite; and the
        conditions.

    Raises:
        UserError: a folder is missing, empty or without partners, a single pair is to be shuffled, or sizes differ.
    """
    files = find_images(sources, "--sources", limit)
    own = partners(files, sources, aligned, "--aligned")
    if unaligned != SHUFFLE:
        others = partners(files, sources, Path(unaligned), "--unaligned")
    elif len(files) > 1:
        others = [own[index] for index in derangement(len(files), seed)]
    else:
        raise UserError("--unaligned shuffle needs at least two pairs, here is one: enlarge --limit or --sources")
    means = [_mean_errors(measures, three, read_source, read_other)
             for three in with_progress(list(zip(files, own, others, strict=True)), "pairs compared")]
    same, other = torch.tensor(means, dtype=torch.float64).unbind(dim=1)  # [N, rows]
    found = {row.key: _summary(same[:, index], other[:, index], seed) for index, row in enumerate(measures.rows)}
    return {"pairs": len(files), "errors": found, "unaligned": unaligned, "seed": seed} | measures.conditions()


def pairs_table(measures: StructureMeasures, scores: Mapping[str, Any]) -> str:
    """Format the scores."""
    rows = [["measure", "layer", "aligned", "unaligned", "ratio", "95% interval", "separation"]]
    for row in measures.rows:
        of = {key: "-" if value is None else f"{value:.{4 if 'aligned' in key else 2}f}"
              for key, value in scores["errors"][row.key].items()}
        rows.append([row.title, row.layer, of["aligned"], of["unaligned"], of["ratio"],
                     f"{of['ratio_low']} to {of['ratio_high']}", of["separation"]])
    return aligned_columns(rows, left=2)


def _mean_errors(
    measures: StructureMeasures, files: Sequence[Path], read_source: PictureReader, read_other: PictureReader
) -> list[list[float]]:
    """Compute the mean errors [2, rows] of a source against its aligned and its unaligned image, the three files."""
    source, *others = files
    features = load_alike(measures, source, read_source)
    candidates = [load_alike(measures, path, read_other, features, source) for path in others]
    return [[error.mean().item() for error in measures.errors(features, of).values()] for of in candidates]


def _summary(aligned: Tensor, unaligned: Tensor, seed: int) -> dict[str, float | None]:
    spread = ((aligned.var() + unaligned.var()) / 2).sqrt() if len(aligned) > 1 else torch.tensor(torch.nan)
    low, high = bootstrap_ratio(unaligned, aligned, RESAMPLES, seed)
    values = {"aligned": aligned.mean().item(), "unaligned": unaligned.mean().item(),
              "ratio": (unaligned.mean() / aligned.mean()).item(), "ratio_low": low, "ratio_high": high,
              "separation": ((unaligned.mean() - aligned.mean()) / spread).item()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
