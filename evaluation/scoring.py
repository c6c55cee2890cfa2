"""Scores of one set of images, with their confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.feature_cache import cached
from evaluation.feature_extractors import VGGFeatures
from evaluation.inception import InceptionFeatures
from evaluation.lpips_distance import PerceptualDistance
from evaluation.pairing import Unsuited, program_conditions, read_image, require_one_size
from evaluation.request import Request
from metrics.bootstrap import LEVEL, Score, bootstrap_mean, bootstrap_sets
from metrics.manifold import NEIGHBOURS
from metrics.paired import LINE_THRESHOLD
from metrics.scores import MEASURES, PAIR_METRICS, SET_METRICS
from util.errors import UserError


class Scorer:
    """Scores images as a request wants it; its networks are built at once, so that what is missing is told first.

    Args:
        request: says how.
        real: the real images.

    Raises:
        UserError: an unknown metric, weights or packages that are not there.
    """

    def __init__(self, request: Request, real: Sequence[Path]) -> None:
        self.request, self.real, self.names = request, real, request.chosen
        self.warnings: dict[str, str] = {}
        """For the reader of the scores, by their subject, in one sentence each."""
        networks = {SET_METRICS[name].network for name in self.names if name in SET_METRICS}
        self.extractors: dict[str, VGGFeatures | InceptionFeatures] = {}
        if "vgg16" in networks:
            self.extractors["vgg16"] = VGGFeatures(request.layer, request.weights, request.device, request.batch_size)
        if "inception" in networks:
            self.extractors["inception"] = InceptionFeatures(request.inception_weights, request.resize, request.device,
                                                             request.batch_size)
        self.pairings: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            name: of for name, of in PAIR_METRICS.items() if name in self.names}
        self.conditions: dict[str, Any] = {}
        for extractor in self.extractors.values():
            self.conditions |= extractor.conditions
        if "lpips" in self.names:
            self.pairings["lpips"] = perceptual = PerceptualDistance(request.lpips_net, request.lpips_weights,
                                                                     request.device)
            self.conditions |= perceptual.conditions
        self.conditions |= {
            "prdc_neighbours": NEIGHBOURS, "line_threshold": LINE_THRESHOLD, "bootstrap": request.bootstrap,
            "confidence": LEVEL, "bootstrap_seed": request.seed, **program_conditions(request.device),
        }

    def pairs(self, images: Sequence[Path], truth: Sequence[Path]) -> dict[str, Score]:
        """By measure, the mean over the images of the score of each against its truth.

        Raises:
            UserError: sizes differ, or a file is no image.
        """
        values: dict[str, list[Tensor]] = {name: [] for name in self.pairings}
        for path, true_path in self.request.watch(list(zip(images, truth, strict=True)), "pairs compared"):
            image, true_image = read_image(path), read_image(true_path)
            require_one_size(path, image, true_path, true_image)
            for name in list(values):
                try:
                    values[name].append(self.pairings[name](image, true_image))
                except Unsuited as reason:
                    self._leave_out(name, f"'{path}' has {image.shape[2]}x{image.shape[1]} pixels, and {reason}")
                    del values[name]
        return {name: bootstrap_mean(torch.stack(of), self.request.bootstrap, self.request.seed, MEASURES[name].bounds)
                for name, of in values.items()}

    def sets(self, images: Sequence[Path], keep: bool) -> dict[str, Score]:
        """By measure, the score of the images as a set against the real ones.

        Args:
            images: files.
            keep: their features too, in the cache.

        Raises:
            UserError: a file is no image, or too small for the features.
        """
        scores: dict[str, Score] = {}
        features = {network: self._features(network, images, keep) for network in self.extractors}
        for name in (name for name in self.names if name in SET_METRICS):
            metric = SET_METRICS[name]
            ours, real = features[metric.network], self._real[metric.network]
            fewest = min(len(ours), len(real))
            if fewest < metric.least:
                self._leave_out(name, f"it needs {metric.least} images in each folder, and one holds {fewest}")
                continue
            if name in ("frechet", "fid") and fewest < ours.shape[1]:
                self.warnings[name] = (
                    f"{name}: {fewest} images are fewer than the {ours.shape[1]} features, which makes the distance "
                    "larger: compare it with distances of as many images alone")
            found = bootstrap_sets(metric.statistic(ours, real), (len(ours), len(real)), self.request.bootstrap,
                                   self.request.seed, [MEASURES[measure].bounds for measure in metric.measures],
                                   watch=self.request.watch)
            scores |= dict(zip(metric.measures, found, strict=True))
        return scores

    @cached_property
    def _real(self) -> dict[str, Tensor]:
        return {network: self._features(network, self.real, True) for network in self.extractors}

    def _features(self, network: str, images: Sequence[Path], keep: bool) -> Tensor:
        extractor, folder = self.extractors[network], self.request.cache

        def extract(paths: Sequence[Path]) -> Tensor:
            return extractor(self.request.watch(paths, f"images through {network}"))

        if folder is None or not keep:
            return extract(images)
        conditions = extractor.conditions | program_conditions(self.request.device)
        return cached(extract, images, conditions, folder, lambda text: self.warnings.update({text: text}))

    def _leave_out(self, name: str, reason: str) -> None:
        if self.request.metrics is not None:
            raise UserError(f"--metrics {name}: {reason}")
        self.warnings.setdefault(name, f"{name} is left out: {reason}")
