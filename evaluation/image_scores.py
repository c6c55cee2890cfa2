"""Scores of single translations, to find the best and the worst ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metrics.paired import WINDOW, colour_error, ssim
from metrics.scores import SCORES
from util.shown import scaled_down

from .generator_scores import as_saved
from .structure_measures import StructureMeasures

STRUCTURE = "structure_error"
IMAGE_SCORES = (STRUCTURE, "colour_error", "ssim")
SIDE = 256
"""Longest side at which structure is compared, in pixels."""
LEAST = 8
"""Shortest side that the layer accepts, in pixels."""


class ImageScorer:
    """Scores a translation by itself.

    ``colour_error`` and ``ssim`` compare it with the truth. ``structure_error`` compares it with the input: 1 - cosine
    of the self-similarity of relu4_1 of VGG16 (`metrics.error_maps.similarity_error` with ``normalize``), the mean over
    the image, which is scaled to at most `SIDE` pixels.

    Args:
        structure: whether to compute ``structure_error``, which needs VGG16.
        device: of VGG16.
        bands: ``--rgb_bands``.
    """

    def __init__(self, *, structure: bool, device: torch.device, bands: Sequence[int] = ()) -> None:
        self._bands = bands
        self._structure = StructureMeasures(["relu4_1"], measures=["fsesim_norm"], device=device) if structure else None

    def scores(self, images: Mapping[str, Tensor]) -> dict[str, float]:
        """Score one translation.

        Args:
            images: [C, H, W] in [-1, 1] as in `Translated.images`. Of several translations the first is scored.

        Returns:
            Those of `IMAGE_SCORES` that are defined for these images, by name.
        """
        output = as_saved(next(image for label, image in images.items() if label.startswith("fake_B")), self._bands)
        found = {}
        source = as_saved(images["real_A"], self._bands)
        if self._structure and source.shape == output.shape:
            small, small_output = (scaled_down(image[None], SIDE, "bilinear")[0] for image in (source, output))
            if min(small.shape[1:]) >= LEAST:
                features = (self._structure.features(image) for image in (small, small_output))
                (error,) = self._structure.errors(*features).values()
                found[STRUCTURE] = error.mean().item()
        if "real_B" in images and images["real_B"].shape[1:] == output.shape[1:]:
            output, truth = output.cpu(), as_saved(images["real_B"], self._bands).cpu()
            found["colour_error"] = colour_error(output, truth).item()
            if min(truth.shape[1:]) >= WINDOW:
                found["ssim"] = ssim(output, truth).item()
        return found


def score_lines(scores: Mapping[str, float]) -> list[str]:
    """Format scores for the text below a picture: ``structure error 0.1234``."""
    return [f"{SCORES[name].title} {scores[name]:.4g}" for name in IMAGE_SCORES if name in scores]
