"""The scores of translations: their names, their ranges, and the functions that compute them."""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from torch import Tensor

from metrics.bootstrap import Statistic
from metrics.frechet import frechet_statistic
from metrics.kernel import kernel_statistic
from metrics.manifold import MANIFOLD_SCORES, NEIGHBOURS, manifold_statistic
from metrics.paired import PSNR_MOST, WINDOW, colour_error, line_iou, psnr, ssim


class ScoreKind(NamedTuple):
    """Title, direction and range of a score."""

    title: str
    higher: bool
    """True if a higher score is better."""
    bounds: tuple[float, float]
    """The lowest and the highest possible value."""
    meaning: str = ""
    """The images that it compares, in a few words, for pages of single images."""

    @property
    def heading(self) -> str:
        """Title and direction, for tables."""
        return f"{self.title} ({'higher' if self.higher else 'lower'} is better)"


FRACTION = (0.0, 1.0)
DISTANCE = (0.0, inf)

SCORES = {
    "frechet": ScoreKind("Fréchet distance, VGG16", False, DISTANCE),
    "kernel": ScoreKind("kernel distance, VGG16", False, (-inf, inf)),
    "precision": ScoreKind("precision, VGG16", True, FRACTION),
    "recall": ScoreKind("recall, VGG16", True, FRACTION),
    "density": ScoreKind("density, VGG16", True, DISTANCE),
    "coverage": ScoreKind("coverage, VGG16", True, FRACTION),
    "fid": ScoreKind("FID", False, DISTANCE),
    "kid": ScoreKind("KID", False, (-inf, inf)),
    "inception_precision": ScoreKind("precision, Inception", True, FRACTION),
    "inception_recall": ScoreKind("recall, Inception", True, FRACTION),
    "inception_density": ScoreKind("density, Inception", True, DISTANCE),
    "inception_coverage": ScoreKind("coverage, Inception", True, FRACTION),
    "line_iou": ScoreKind("line IoU", True, FRACTION),
    "colour_error": ScoreKind("colour error", False, FRACTION, "the colours with those of the truth"),
    "ssim": ScoreKind("SSIM", True, (-1.0, 1.0), "the details with those of the truth"),
    "psnr": ScoreKind("PSNR in dB", True, (-inf, PSNR_MOST)),
    "lpips": ScoreKind("LPIPS", False, DISTANCE),
    "structure_error": ScoreKind("structure error", False, (0.0, 2.0), "the layout with that of the input"),
}
"""All scores by name, in the order of tables."""


class SetMetric(NamedTuple):
    """A comparison of two sets of features."""

    network: str
    """``vgg16`` or ``inception``."""
    statistic: Callable[[Tensor, Tensor], Statistic]
    """Takes features of the translations [N, D] and of the real images [M, D]."""
    scores: tuple[str, ...]
    least: int
    """Smallest number of images of each set."""


SET_METRICS = {
    "frechet": SetMetric("vgg16", frechet_statistic, ("frechet",), 2),
    "kernel": SetMetric("vgg16", kernel_statistic, ("kernel",), 2),
    "prdc": SetMetric("vgg16", manifold_statistic, MANIFOLD_SCORES, NEIGHBOURS + 1),
    "fid": SetMetric("inception", frechet_statistic, ("fid",), 2),
    "kid": SetMetric("inception", kernel_statistic, ("kid",), 2),
    "inception_prdc": SetMetric("inception", manifold_statistic,
                                tuple(f"inception_{name}" for name in MANIFOLD_SCORES), NEIGHBOURS + 1),
}


class PairMetric(NamedTuple):
    """A comparison of images with their true counterparts; its score has the metric's name."""

    compare: Callable[[Tensor, Tensor], Tensor]
    """Maps images and truths [N, 3, H, W] in [-1, 1] to scores [N]."""
    least: int = 1
    """Smallest side of an image, in pixels."""


PAIR_METRICS = {
    "line_iou": PairMetric(line_iou), "colour_error": PairMetric(colour_error), "ssim": PairMetric(ssim, WINDOW),
    "psnr": PairMetric(psnr),
}
LPIPS = "lpips"
"""The pair metric that needs a network; whoever loads the network makes its `PairMetric`."""

METRICS = (*SET_METRICS, *PAIR_METRICS, LPIPS)
"""The values of ``--metrics``."""
