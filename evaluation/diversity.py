"""``evaluate.py diversity``: diversity of translations of the same images in several styles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from metrics.bootstrap import LEVEL, bootstrap_mean
from metrics.diversity import style_diversity
from metrics.scores import LPIPS, SCORES
from options import REQUIRED, flag
from util.device import choose_device
from util.errors import UserError
from util.terminal import with_progress

from .flags import BatchFlags, BootstrapFlags, LPIPSFlags, ReportFlags, VGGFlags
from .lpips_distance import LPIPSDistance
from .pairing import in_styles, require_equal_sizes
from .reading import PictureReader, ValueFlags
from .reports import write_json
from .scoring import ScoreOptions, Scorer, program_conditions


@dataclass(frozen=True, kw_only=True)
class Flags(ValueFlags, VGGFlags, LPIPSFlags, BootstrapFlags, BatchFlags, ReportFlags):
    """Compare translations of the same images in several styles."""

    outputs: tuple[Path, ...] = flag(REQUIRED, "the translations, a folder for each style, under the same names",
                                     several=True)
    lpips: bool = flag(False, "also compute the mean LPIPS between two styles of an image")


def run(flags: Flags) -> None:
    """Score, print, write."""
    device = choose_device(flags.gpu_ids)
    scorer = Scorer(("frechet",), ScoreOptions(layer=flags.layer, vgg_weights=flags.vgg_weights, device=device,
                                               batch_size=flags.batch_size))
    distance = LPIPSDistance(flags.lpips_net, flags.lpips_weights, device) if flags.lpips else None
    files = _find(flags.outputs, alike=flags.lpips)
    features = torch.stack([
        scorer.measure_files(paths, "images measured", reader=flags.read_output).features["vgg16"] for paths in files])
    styles, images = style_diversity(features)
    if images == 0:
        raise UserError(f"--outputs: all images in '{flags.outputs[0]}' have the same VGG16 features, so there is "
                        "nothing to compare styles with")
    scores = {
        "distance_styles": styles, "distance_images": images, "style_diversity": styles / images,
        "styles": len(files), "images": len(files[0]), **scorer.extractors["vgg16"].conditions,
        **program_conditions(device),
    }
    print(f"mean distance between two styles of an image     {styles:10.4g}\n"
          f"mean distance between two images in one style    {images:10.4g}\n"
          f"quotient (higher is more diverse)                {styles / images:10.4g}")
    if distance:
        distances = torch.stack(list(_between_styles(files, distance, flags.read_output)))
        value, interval = bootstrap_mean(distances, flags.bootstrap, flags.seed, SCORES[LPIPS].bounds)
        scores |= {"lpips_diversity": value, "lpips_diversity_interval": interval, "bootstrap": flags.bootstrap,
                   "confidence": LEVEL, "bootstrap_seed": flags.seed, **distance.conditions}
        print(f"LPIPS between two styles of an image             {value:10.4g}")
    if flags.json:
        write_json(flags.json, scores)


def _find(folders: Sequence[Path], *, alike: bool) -> list[list[Path]]:
    """List the images of each style, in the same order.

    Raises:
        UserError: a folder is missing, there are too few folders or images, or an image lacks a partner, or differs
            from it in size where they must be ``alike``.
    """
    if len(folders) < 2:
        raise UserError(f"--outputs names one folder, {folders[0]}: give one for each style, at least two")
    files = in_styles(folders)
    if len(files[0]) < 2:
        raise UserError(f"--outputs: '{folders[0]}' holds a single image; distances between images need at least two")
    for others in files[1:] if alike else ():
        require_equal_sizes(others, files[0])
    return files


def _between_styles(
    files: Sequence[Sequence[Path]], distance: LPIPSDistance, reader: PictureReader
) -> Iterator[Tensor]:
    """Compute, for each image, the mean distance over all pairs of its styles."""
    for paths in with_progress(list(zip(*files, strict=True)), "LPIPS between styles"):
        images = [reader(path)[None] for path in paths]
        yield torch.stack([distance(one, other) for one, other in combinations(images, 2)]).mean()
