"""Structure measures over folders: the error of what belongs to a source, beside that of what does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.pairing import partners, read_image
from evaluation.structure_measures import Comparison, Seen
from util.errors import UserError
from util.images import find_images

SHUFFLE = "shuffle"
RESAMPLES = 2000
"""Of the pairs, for the interval of a ratio."""


def derangement(count: int, seed: int) -> list[int]:
    """For each of ``count`` things another one, each once: a random cycle through all of them.

    Raises:
        ValueError: there is no other.
    """
    if count < 2:
        raise ValueError(f"nothing else to choose among {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [following[index] for index in range(count)]


def ratio_interval(aligned: Tensor, unaligned: Tensor, *, seed: int = 0) -> tuple[float, float]:
    """95% interval of mean(unaligned) / mean(aligned), by the percentile bootstrap over pairs.

    Args:
        aligned, unaligned: errors [N] of the same sources.
        seed: of the resamples.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(aligned), (RESAMPLES, len(aligned)), generator=generator)
    ratios = unaligned[chosen].mean(dim=1) / aligned[chosen].mean(dim=1)
    low, high = torch.quantile(ratios, ratios.new_tensor([0.025, 0.975])).tolist()
    return low, high


def load_alike(comparison: Comparison, path: Path, like: Seen | None = None, of: Path | None = None) -> Seen:
    """What the measures need of an image file, which must be of the size of ``like``, the image of the file ``of``.

    Raises:
        UserError: the sizes differ, the file is no image, or it is too small for the layers.
    """
    image = read_image(path)
    if like is not None and image.shape != like.image.shape[1:]:
        sizes = [f"{height}x{width}" for height, width in (image.shape[1:], like.image.shape[2:])]
        raise UserError(f"'{path}' is {sizes[0]} (height x width), but '{of}', which it is compared with, {sizes[1]}; "
                        "make them alike")
    try:
        return comparison.look(image)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None


def score_pairs(
    comparison: Comparison, sources: Path, aligned: Path, unaligned: str = SHUFFLE, *, limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean errors over the images of a folder, against what belongs to each and against what does not.

    Args:
        comparison: the measures.
        sources: folder of images.
        aligned: folder of what belongs to them, under the same names.
        unaligned: ``shuffle``: what belongs to another source, each once; or a folder, under the same names.
        limit: the first so many sources alone.
        seed: of the shuffle, and of the resamples behind the intervals.

    Returns:
        ``pairs``; ``errors``: for each row's key ``aligned`` and ``unaligned``, means over the pairs, their quotient
        ``ratio`` and its 95% interval ``ratio_low``, ``ratio_high``, and ``separation``, their difference in units of
        the standard deviation over pairs (the root of the mean of the two variances); None for what is not finite;
        and what they depend on.

    Raises:
        UserError: a folder missing, empty or without partners, a single pair that is shuffled, sizes that differ.
    """
    files = find_images(sources, "--sources", limit, subfolders=False)
    own = partners(files, aligned, "--aligned")
    if unaligned != SHUFFLE:
        others = partners(files, Path(unaligned), "--unaligned")
    elif len(files) > 1:
        others = [own[index] for index in derangement(len(files), seed)]
    else:
        raise UserError("--unaligned shuffle needs at least two pairs, here is one: enlarge --limit or --sources")
    means = [_means(comparison, *three) for three in zip(files, own, others, strict=True)]
    close, far = torch.tensor(means, dtype=torch.float64).unbind(dim=1)  # [N, rows]
    found = {row.key: _summary(close[:, index], far[:, index], seed) for index, row in enumerate(comparison.rows)}
    return {"pairs": len(files), "errors": found, "unaligned": unaligned, "seed": seed} | comparison.conditions()


def table(comparison: Comparison, scores: Mapping[str, Any]) -> str:
    """The scores as lines of aligned columns."""
    lines = [f"{'measure':<20}{'layer':<12}{'aligned':>9}{'unaligned':>11}{'ratio':>8}  {'95% interval':<16}separation"]
    for row in comparison.rows:
        of = {key: "-" if value is None else f"{value:.{4 if 'aligned' in key else 2}f}"
              for key, value in scores["errors"][row.key].items()}
        interval = f"{of['ratio_low']} to {of['ratio_high']}"
        lines.append(f"{row.title:<20}{row.layer:<12}{of['aligned']:>9}{of['unaligned']:>11}{of['ratio']:>8}"
                     f"  {interval:<16}{of['separation']:>10}")
    return "\n".join(lines)


def _means(comparison: Comparison, source: Path, own: Path, other: Path) -> list[list[float]]:
    """Mean errors [2, rows] of a source against its own and against another."""
    seen = load_alike(comparison, source)
    compared: Sequence[Seen] = [load_alike(comparison, path, seen, source) for path in (own, other)]
    return [[error.mean().item() for error in comparison.errors(seen, of).values()] for of in compared]


def _summary(aligned: Tensor, unaligned: Tensor, seed: int) -> dict[str, float | None]:
    spread = ((aligned.var() + unaligned.var()) / 2).sqrt() if len(aligned) > 1 else torch.tensor(torch.nan)
    low, high = ratio_interval(aligned, unaligned, seed=seed)
    values = {"aligned": aligned.mean().item(), "unaligned": unaligned.mean().item(),
              "ratio": (unaligned.mean() / aligned.mean()).item(), "ratio_low": low, "ratio_high": high,
              "separation": ((unaligned.mean() - aligned.mean()) / spread).item()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
