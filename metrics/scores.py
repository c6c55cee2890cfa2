"""What can be measured: the metrics that a user chooses, and the numbers that each of them gives."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from torch import Tensor

from metrics.bootstrap import Statistic
from metrics.frechet import frechet_statistic
from metrics.kernel import kernel_statistic
from metrics.manifold import NEIGHBOURS, Manifold, manifold_statistic
from metrics.paired import PSNR_MOST, colour_error, line_iou, psnr, ssim


class Measure(NamedTuple):
    """A number of the result."""

    title: str
    """In the table."""
    higher: bool
    """Whether higher is better."""
    bounds: tuple[float, float]
    """The least and the most that it can be."""

    @property
    def heading(self) -> str:
        """The title, and which way is better."""
        return f"{self.title} ({'higher' if self.higher else 'lower'} is better)"


FRACTION = (0.0, 1.0)
DISTANCE = (0.0, inf)

MEASURES = {
    "frechet": Measure("Fréchet distance, VGG16", False, DISTANCE),
    "kernel": Measure("kernel distance, VGG16", False, (-inf, inf)),
    "precision": Measure("precision, VGG16", True, FRACTION),
    "recall": Measure("recall, VGG16", True, FRACTION),
    "density": Measure("density, VGG16", True, DISTANCE),
    "coverage": Measure("coverage, VGG16", True, FRACTION),
    "fid": Measure("FID", False, DISTANCE),
    "kid": Measure("KID", False, (-inf, inf)),
    "inception_precision": Measure("precision, Inception", True, FRACTION),
    "inception_recall": Measure("recall, Inception", True, FRACTION),
    "inception_density": Measure("density, Inception", True, DISTANCE),
    "inception_coverage": Measure("coverage, Inception", True, FRACTION),
    "line_iou": Measure("line IoU", True, FRACTION),
    "colour_error": Measure("colour error", False, FRACTION),
    "ssim": Measure("SSIM", True, (-1.0, 1.0)),
    "psnr": Measure("PSNR in dB", True, (-inf, PSNR_MOST)),
    "lpips": Measure("LPIPS", False, DISTANCE),
}
"""In the order of the table, by the name that begins their keys in the result."""


class SetMetric(NamedTuple):
    """What compares two sets of features."""

    network: str
    """Whose features: ``vgg16`` or ``inception``."""
    statistic: Callable[[Tensor, Tensor], Statistic]
    """Of features of the translations [N, D] and of the real images [M, D]."""
    measures: tuple[str, ...]
    least: int
    """Images that each set must have."""


SET_METRICS = {
    "frechet": SetMetric("vgg16", frechet_statistic, ("frechet",), 2),
    "kernel": SetMetric("vgg16", kernel_statistic, ("kernel",), 2),
    "prdc": SetMetric("vgg16", manifold_statistic, Manifold._fields, NEIGHBOURS + 1),
    "fid": SetMetric("inception", frechet_statistic, ("fid",), 2),
    "kid": SetMetric("inception", kernel_statistic, ("kid",), 2),
    "inception_prdc": SetMetric("inception", manifold_statistic,
                                tuple(f"inception_{name}" for name in Manifold._fields), NEIGHBOURS + 1),
}

PAIR_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "line_iou": line_iou, "colour_error": colour_error, "ssim": ssim, "psnr": psnr,
}
"""What compares images [..., 3, H, W] with their true counterparts; `lpips` too, which needs a network."""

METRICS = (*SET_METRICS, *PAIR_METRICS, "lpips")
"""What a user chooses from."""
