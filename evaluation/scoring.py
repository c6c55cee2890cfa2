"""The scoring pipeline: images, from files or from a generator, to features and comparisons, and these to scores."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import PIL
import torch
from torch import Tensor

from metrics.bootstrap import LEVEL, Estimate, bootstrap_mean, bootstrap_sets, draw_pairs
from metrics.manifold import NEIGHBOURS
from metrics.paired import LINE_THRESHOLD
from metrics.scores import LPIPS, METRICS, PAIR_METRICS, SCORES, SET_METRICS, PairMetric
from util.errors import UserError
from util.terminal import with_progress

from .feature_cache import FeatureCache
from .feature_extractors import Extractor, InceptionExtractor, VGGExtractor
from .lpips_distance import LPIPSDistance
from .reading import AS_STORED, PictureReader


@dataclass(frozen=True)
class ScoreOptions:
    """The metrics and their settings, as in the flags of ``evaluate.py metrics``."""

    metrics: Sequence[str] | None = None
    """Of `METRICS`; None: those whose weights and counterparts are given or bundled."""
    layer: str = "relu4_3"
    vgg_weights: str = "bundled"
    resize: str = "clean"
    inception_weights: Path | None = None
    lpips_net: str = "alex"
    lpips_weights: Path | None = None
    device: torch.device | str = "cpu"
    batch_size: int = 16
    bootstrap: int = 100
    """Number of bootstrap replicates; 0: no intervals."""
    seed: int = 0
    cache: Path | None = None
    """Folder of the feature cache; None: no cache."""

    def chosen(self, *, truth: bool) -> tuple[str, ...]:
        """List the metrics to compute, in the order of `METRICS`.

        Args:
            truth: whether the true counterparts are known.

        Raises:
            UserError: there is no such metric, or it needs true counterparts.
        """
        paired = {*PAIR_METRICS, LPIPS}
        if self.metrics is None:
            missing = set() if truth else set(paired)
            if not self.inception_weights:
                missing |= {name for name, metric in SET_METRICS.items() if metric.network == "inception"}
            if not self.lpips_weights:
                missing.add(LPIPS)
            return tuple(name for name in METRICS if name not in missing)
        for name in self.metrics:
            if name not in METRICS:
                raise UserError(f"--metrics: there is no '{name}'; choose from {', '.join(METRICS)}")
            if name in paired and not truth:
                raise UserError(f"--metrics {name} compares images with their true counterparts: name their folder "
                                "with --truth")
        return tuple(name for name in METRICS if name in self.metrics)


class Sample(NamedTuple):
    """An image to be scored."""

    name: str
    """For error messages."""
    image: Tensor
    """[3, H, W] in [-1, 1], on any device."""
    truth: Tensor | None = None
    """Its true counterpart, of the same size."""


@dataclass(frozen=True)
class Measured:
    """Measurements of N images, in their order."""

    features: dict[str, Tensor]
    """[N, D] by network."""
    comparisons: dict[str, Tensor]
    """[N] by pair metric: the score of each image against its truth."""

    @classmethod
    def joined(cls, parts: Iterable[tuple[list[int], Measured]]) -> Measured:
        """Merge parts, each with the numbers of its images, in the order of these numbers."""
        numbers, found = zip(*((of, measured) for of, measured in parts if of), strict=True)
        order = torch.tensor([number for of in numbers for number in of]).argsort()
        return cls({name: torch.cat([of.features[name] for of in found])[order] for name in found[0].features},
                   {name: torch.cat([of.comparisons[name] for of in found])[order] for name in found[0].comparisons})


class Scorer:
    """Measures and scores images. The networks are loaded at once, so that missing weights are reported early.

    Args:
        metrics: see `ScoreOptions.chosen`.
        options: all other settings.

    Attributes:
        conditions: settings and versions that the scores depend on, for the JSON file.
        warnings: sentences for the user, by subject.

    Raises:
        UserError: packages or weights are missing.
    """

    def __init__(self, metrics: Sequence[str], options: ScoreOptions) -> None:
        self.metrics, self.options = metrics, options
        self.warnings: dict[str, str] = {}
        networks = {SET_METRICS[name].network for name in metrics if name in SET_METRICS}
        self.extractors: dict[str, Extractor] = {}
        if "vgg16" in networks:
            self.extractors["vgg16"] = VGGExtractor(options.layer, options.vgg_weights, options.device)
        if "inception" in networks:
            self.extractors["inception"] = InceptionExtractor(options.inception_weights, options.resize, options.device)
        self.conditions: dict[str, Any] = {}
        for extractor in self.extractors.values():
            self.conditions |= extractor.conditions
        self._comparisons = {name: metric for name, metric in PAIR_METRICS.items() if name in metrics}
        if LPIPS in metrics:
            distance = LPIPSDistance(options.lpips_net, options.lpips_weights, options.device)
            self._comparisons[LPIPS] = PairMetric(distance, distance.least)
            self.conditions |= distance.conditions
        self.conditions |= {
            "prdc_neighbours": NEIGHBOURS, "line_threshold": LINE_THRESHOLD, "bootstrap": options.bootstrap,
            "confidence": LEVEL, "bootstrap_seed": options.seed, **program_conditions(options.device),
        }

    def measure(self, samples: Iterable[Sample], networks: Collection[str] | None = None) -> Measured:
        """Extract features, and compare images with their truths where all have one.

        Args:
            samples: neighbours of one size share a batch.
            networks: the extractors to run; None: all.

        Raises:
            UserError: an image is too small for the features, or for a metric of ``--metrics``.
        """
        features: dict[str, list[Tensor]] = {
            name: [] for name in self.extractors if networks is None or name in networks}
        comparisons: dict[str, list[Tensor]] = {name: [] for name in self._comparisons}
        for batch in _batches(samples, self.options.batch_size):
            images = torch.stack([sample.image for sample in batch])
            for name, rows in features.items():
                self._require_size(self.extractors[name], batch[0])
                rows.append(self.extractors[name](images))
            truths = [sample.truth for sample in batch if sample.truth is not None]
            for name in list(comparisons) if truths else ():
                least, side = self._comparisons[name].least, min(images.shape[2:])
                if side < least:
                    size = f"{images.shape[3]}x{images.shape[2]}"
                    self._leave_out(name, f"'{batch[0].name}' has {size} pixels, and {SCORES[name].title} needs images "
                                          f"of {least}x{least} pixels")
                    del comparisons[name]
                else:
                    comparisons[name].append(self._comparisons[name].compare(images.cpu(), torch.stack(truths).cpu()))
        return Measured({name: torch.cat(rows) for name, rows in features.items() if rows},
                        {name: torch.cat(values) for name, values in comparisons.items() if values})

    def measure_files(
        self, paths: Sequence[Path], what: str, truths: Sequence[Path] | None = None, *, cached: bool = False,
        reader: PictureReader = AS_STORED, truth_reader: PictureReader = AS_STORED,
    ) -> Measured:
        """Measure image files, and their true counterparts of equal sizes.

        Args:
            what: text of the progress bar.
            cached: use the cache of features.
            reader, truth_reader: read the files.

        Raises:
            UserError: a file is no image; or see `measure`.
        """
        samples = with_progress(_read(paths, truths, reader, truth_reader), what, len(paths))
        if not (cached and self.options.cache):
            return self.measure(samples)
        cache = FeatureCache(self.options.cache, lambda text: self.warnings.update({text: text}))
        versions = program_conditions(self.options.device) | reader.conditions()
        files = {name: cache.file_of(paths, extractor.conditions | versions)
                 for name, extractor in self.extractors.items()}
        known = {name: found for name, file in files.items() if (found := cache.load(file, len(paths))) is not None}
        missing = files.keys() - known.keys()
        if not missing and not truths:
            return Measured(known, {})
        measured = self.measure(samples, missing)
        for name in missing:
            cache.save(files[name], measured.features[name])
        return Measured(known | measured.features, measured.comparisons)

    def scores(self, measured: Measured, real: Mapping[str, Tensor]) -> dict[str, Estimate]:
        """Score measured images against the features of real images by network; return the scores by name.

        Raises:
            UserError: there are too few images for a metric of ``--metrics``.
        """
        options = self.options
        found = {name: bootstrap_mean(values, options.bootstrap, options.seed, SCORES[name].bounds)
                 for name, values in measured.comparisons.items()}
        for name in (name for name in self.metrics if name in SET_METRICS):
            metric = SET_METRICS[name]
            ours, theirs = measured.features[metric.network], real[metric.network]
            fewest, sizes = min(len(ours), len(theirs)), (len(ours), len(theirs))
            if fewest < metric.least:
                self._leave_out(name, f"it needs {metric.least} images in each folder, and one holds {fewest}")
                continue
            if name in ("frechet", "fid") and fewest < ours.shape[1]:
                self.warnings[name] = (
                    f"{name}: {fewest} images are fewer than the {ours.shape[1]} features, which makes the distance "
                    "larger: compare it only with distances of equally many images")
            pairs = draw_pairs(sizes, options.bootstrap, options.seed)
            estimates = bootstrap_sets(
                metric.statistic(ours, theirs), sizes, with_progress(pairs, f"intervals of {name}"),
                [SCORES[score].bounds for score in metric.scores])
            found |= dict(zip(metric.scores, estimates, strict=True))
        return found

    def _require_size(self, extractor: Extractor, sample: Sample) -> None:
        if min(sample.image.shape[1:]) < extractor.least:
            raise UserError(f"'{sample.name}' is too small for this --layer, which needs {extractor.least}x"
                            f"{extractor.least} pixels; choose an earlier layer or larger images")

    def _leave_out(self, name: str, reason: str) -> None:
        if self.options.metrics is not None:
            raise UserError(f"--metrics {name}: {reason}")
        self.warnings.setdefault(name, f"{name} is left out: {reason}")


def flat(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return the values and, under ``NAME_interval``, the intervals."""
    found: dict[str, Any] = {}
    for name, of in estimates.items():
        found |= {name: of.value, **({f"{name}_interval": list(of.interval)} if of.interval else {})}
    return found


def program_conditions(device: torch.device | str) -> dict[str, Any]:
    """List versions and the device, for the JSON file."""
    return {"torch_version": torch.__version__, "pillow_version": PIL.__version__, "device": str(device)}


def _read(
    paths: Sequence[Path], truths: Sequence[Path] | None, reader: PictureReader, truth_reader: PictureReader
) -> Iterator[Sample]:
    for path, truth in zip(paths, truths or itertools.repeat(None), strict=False):
        yield Sample(str(path), reader(path), None if truth is None else truth_reader(truth))


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Group up to ``size`` neighbours of equal shapes."""
    for _, alike in itertools.groupby(samples, lambda sample: sample.image.shape):
        while batch := list(itertools.islice(alike, size)):
            yield batch
