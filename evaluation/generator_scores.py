"""Scores of a generator on a test set, for one checkpoint after another."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data import ImageDataset, Loader, SampleKey, SingleDataset
from metrics.bootstrap import Estimate
from options import DataFlags, Options, RunFlags, TestFlags
from options.flag import show
from util.distributed import ALONE, World
from util.errors import UserError
from util.image_files import sha256_of_image
from util.image_folders import split_page
from util.picture_files import levels
from util.shown import picture

from .scoring import Measured, Sample, ScoreOptions, Scorer
from .set_translator import SetTranslator

GENERATOR_SCORES = ("frechet", "line_iou", "colour_error")
"""The scores of a generator; the last two need true counterparts."""

SETTINGS = ("dataset_mode", "direction", "preprocess", "load_size", "crop_size", "input_nc", "output_nc", "eval",
            "seed")
"""Flags of the translation that its scores depend on."""


VALUES = ("range_A", "range_B", "rgb_bands", "mask_A")
"""The same, where they are set: earlier results do not name them."""


def settings(options: Options) -> dict[str, Any]:
    """List the flags of the translation that its scores depend on."""
    everything = options.as_dict()
    return {name: everything[name] for name in SETTINGS} | {
        name: show(everything[name]) for name in VALUES if everything[name]}


class GeneratorScorer:
    """Translates a test set and scores the translations against real images of the target domain.

    The real images are the truths if the data set has them, or else those in ``{phase}B`` (``{phase}A`` with
    --direction BtoA); no more than ``num_test`` are used.

    Args:
        options: of ``test.py``: the model and the test set.
        device: of all networks.
        world: processes that share the work; all must call the same methods at the same time.
        layer, weights: of VGG16, see `VGG16Features`.
        bootstrap, seed: replicates of the intervals (0: no intervals), and their seed.

    Attributes:
        translator: its weights are set from outside.
        conditions: what the scores depend on, except the weights of the generator.

    Raises:
        UserError: the test set or the real images are missing or fewer than two.
    """

    def __init__(
        self, options: Options, device: torch.device, world: World = ALONE, *, layer: str = "relu4_3",
        weights: str = "bundled", bootstrap: int = 0, seed: int = 0,
    ) -> None:
        self.translator, self._world = SetTranslator(options, device, world), world
        self._bands = options[DataFlags].rgb_bands
        if self.translator.total < 2:
            raise UserError("--dataroot: the test set has a single image, and the Fréchet distance needs at least two")
        self._scorer = Scorer(GENERATOR_SCORES, ScoreOptions(
            layer=layer, vgg_weights=weights, device=device, bootstrap=bootstrap, seed=seed,
            batch_size=options[DataFlags].batch_size))
        self._real_set, self._entry = real_images(options, self.translator.dataset)
        if len(self._real_set) < 2:
            raise UserError(f"--dataroot: {self._real_set.files(0)[0]} is the only real image of the target domain, "
                            "and the Fréchet distance needs at least two")
        self._count = min(len(self._real_set), options[TestFlags].num_test or len(self._real_set))
        self._real: Measured | None = None
        files = [dataset.files(item) for dataset, most in ((self.translator.dataset, self.translator.total),
                                                           (self._real_set, self._count))
                 for item in range(min(dataset.items, most))]
        self.conditions: dict[str, Any] = {
            "images_outputs": self.translator.total, "images_real": self._count,
            "test_set_sha256": digest(itertools.chain.from_iterable(files)),
            **self._scorer.extractors["vgg16"].conditions, "line_threshold": self._scorer.conditions["line_threshold"],
            **settings(options),
            **({"bootstrap": bootstrap, "bootstrap_seed": seed} if bootstrap else {}),
        }

    def read_everything(self) -> None:
        """Read every image, so that no later call can fail because of one.

        Raises:
            UserError: one cannot be read.
        """
        for _ in self.translator.batches():
            pass
        self._real = self._measure_real()

    def scores(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
        """Score the translator's present weights.

        Args:
            stopped: asked before each image; True in any process ends the call early.

        Returns:
            ``frechet`` and, if truths are known, ``line_iou`` and ``colour_error``, in all processes; None after an
            early end.

        Raises:
            UserError: an image cannot be read.
        """
        estimates = self.estimates(stopped)
        return None if estimates is None else {name: of.value for name, of in estimates.items()}

    def estimates(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, Estimate] | None:
        """Return the `scores` with their intervals."""
        self._real = self._real or self._measure_real()
        numbers: list[int] = []

        def samples() -> Iterator[Sample]:
            for translated in self.translator.translations():
                if stopped():
                    return
                numbers.append(translated.number)
                truth = translated.images.get("real_B")
                yield Sample(translated.path, as_saved(translated.output, self._bands),
                             None if truth is None else as_saved(truth, self._bands))

        measured = self._scorer.measure(samples())
        parts = self._world.gather((numbers, measured))
        scores = None
        if parts and sum(len(of) for of, _ in parts) == self.translator.total:
            found = self._scorer.scores(Measured.joined(parts), self._real.features)
            scores = {name: found[name] for name in GENERATOR_SCORES if name in found}
        shared: dict[str, Estimate] | None = self._world.same(scores)
        return shared

    def _measure_real(self) -> Measured:
        """Measure the real images; empty on all processes except the first."""
        numbers = list(range(self._world.rank, self._count, self._world.size))
        images = images_of(self._real_set, self._entry, self._count, self._world)
        measured = self._scorer.measure(Sample(str(self._real_set.files(0)[0].parent), as_saved(image, self._bands))
                                        for image in images)
        parts = self._world.gather((numbers, measured))
        return Measured.joined(parts) if parts else Measured({}, {})


def as_saved(image: Tensor, bands: Sequence[int] = ()) -> Tensor:
    """Return the picture of an image [C, H, W] in [-1, 1], rounded to 8 bits as when it is saved: [3, H, W]."""
    return (levels(picture(image, bands)) / 255 * 2 - 1).expand(3, -1, -1)


def real_images(options: Options, dataset: ImageDataset) -> tuple[ImageDataset, str]:
    """Find the real images of the target domain: a data set, and the entry of its samples that holds them.

    Raises:
        UserError: the test set has no truths, and there is no folder of real images.
    """
    data = options[DataFlags]
    if "B" in dataset[SampleKey(0, 0)]:
        return dataset, "B"
    folder = Path(data.dataroot, data.phase + ("A" if data.direction == "BtoA" else "B"))
    return target_images(options, folder, data.max_dataset_size), "A"


def target_images(options: Options, folder: Path, limit: int | None) -> SingleDataset:
    """Return up to ``limit`` images in a folder as a data set, read as those of the target domain.

    Raises:
        UserError: the folder is missing or holds no image.
    """
    data = options[DataFlags]
    single = replace(data, dataroot=str(folder), input_nc=data.output_nc, output_nc=data.input_nc,
                     direction="AtoB" if data.direction == "BtoA" else "BtoA", max_dataset_size=limit, mask_A="")
    return SingleDataset(Options([single, options[RunFlags]], {}), training=False)


def images_of(dataset: ImageDataset, entry: str, count: int, world: World = ALONE) -> Iterator[Tensor]:
    """Load this process's share of the first ``count`` images, every ``world.size``-th: [C, H, W] in [-1, 1]."""
    loader = Loader(dataset, batch_size=1, num_workers=0, seed=0, shuffle=False, rank=world.rank,
                    world_size=world.size)
    for _, batch in zip(range(world.rank, count, world.size), loader.epoch(0), strict=False):
        yield batch[entry][0]


def digest(files: Iterable[Path]) -> str:
    """Hash the contents of files in this order: SHA-256, hexadecimal."""
    return hashlib.sha256("".join(sha256_of_image(split_page(file)[0]) for file in files).encode()).hexdigest()
