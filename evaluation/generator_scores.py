"""Scores of a generator on a test set, again and again with other weights."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data import ImageDataset, Loader, SampleKey, SingleDataset
from evaluation.in_memory import Examined
from metrics.frechet import frechet_distance
from options import DataFlags, Options, RunFlags, TestFlags
from util.distributed import ALONE, World
from util.errors import UserError
from util.files import sha256

from .translator import Translator

SETTINGS = ("dataset_mode", "direction", "preprocess", "load_size", "crop_size", "input_nc", "output_nc", "eval",
            "seed")
"""Flags of the translation that its scores depend on, beside the checkpoint and the test set."""


class Examiner:
    """Translates a test set and compares it with the real images of the target domain.

    Those are the truths where the data set has them, else the images in ``{phase}B`` (in ``{phase}A`` with --direction
    BtoA), at most as many as are translated.

    Args:
        options: of ``test.py``: the model and the test set.
        device: where everything runs.
        world: processes that share the work; all must make one and call it at the same time.
        layer, weights: of VGG16, see `Examined`.

    Attributes:
        translator: it is given its weights from outside.
        conditions: what the scores depend on beside these weights.

    Raises:
        UserError: the test set or the real images are missing or fewer than two.
    """

    def __init__(
        self, options: Options, device: torch.device, world: World = ALONE, *, layer: str = "relu4_3",
        weights: str = "bundled",
    ) -> None:
        self.translator, self._world = Translator(options, device, world), world
        if self.translator.total < 2:
            raise UserError("--dataroot: the test set has a single image, and the Fréchet distance needs at least two")
        self._examined = Examined(layer, weights, device)
        real, entry = real_images(options, self.translator.dataset)
        if len(real) < 2:
            raise UserError(f"--dataroot: {real.files(0)[0]} is the only real image of the target domain, and the "
                            "Fréchet distance needs at least two")
        limit = options[TestFlags].num_test
        count = min(len(real), limit or len(real))
        self._real = partial(images_of, real, entry, count, world)
        self._target: Tensor | None = None  # on the first process
        self._measured = False
        files = [dataset.files(item) for dataset, most in ((self.translator.dataset, self.translator.total),
                                                           (real, count)) for item in range(min(dataset.items, most))]
        everything = options.as_dict()
        self.conditions: dict[str, Any] = {
            "images_outputs": self.translator.total, "images_real": count,
            "test_set_sha256": digest(itertools.chain.from_iterable(files)),
            **self._examined.conditions, **{name: everything[name] for name in SETTINGS},
        }

    def read_everything(self) -> None:
        """Read every image, so that no later call can fail for one.

        Raises:
            UserError: one cannot be read.
        """
        for _ in self.translator.batches():
            pass
        self._measure_real()

    def scores(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
        """Score the translator's present weights; None where ``stopped`` has asked some process to give up.

        Returns:
            ``frechet`` and, where truths are known, ``line_iou`` and ``colour_error``; in all processes.

        Raises:
            UserError: an image cannot be read.
        """
        if not self._measured:
            self._measure_real()
        rows: list[tuple[int, Tensor, dict[str, float]]] = []
        for translated in self.translator.translations():
            if stopped():
                break
            images = translated.images
            output = next(image for label, image in images.items() if label.startswith("fake_B"))
            paired = self._examined.against_truth(output, images["real_B"]) if "real_B" in images else {}
            rows.append((translated.number, self._examined.features(output), paired))
        ordered = sorted(itertools.chain.from_iterable(self._world.gather(rows)), key=lambda row: row[0])
        scores = None
        if self._target is not None and len(ordered) == self.translator.total:
            scores = {"frechet": frechet_distance(torch.stack([features for _, features, _ in ordered]), self._target)}
            scores |= {name: sum(of[name] for _, _, of in ordered) / len(ordered) for name in ordered[0][2]}
        shared: dict[str, float] | None = self._world.same(scores)
        return shared

    def _measure_real(self) -> None:
        """Look at the real images, once."""
        rows = [(number, self._examined.features(image)) for number, image in self._real()]
        found = itertools.chain.from_iterable(self._world.gather(rows))
        features = [of for _, of in sorted(found, key=lambda row: row[0])]
        self._target, self._measured = torch.stack(features) if features else None, True


def real_images(options: Options, dataset: ImageDataset) -> tuple[ImageDataset, str]:
    """The data set of real images of the target domain, and the entry of its samples that holds them.

    Args:
        options: of the test set.
        dataset: the test set.

    Raises:
        UserError: it knows no truth, and there is no folder of real images.
    """
    data = options[DataFlags]
    if "B" in dataset[SampleKey(0, 0)]:
        return dataset, "B"
    folder = Path(data.dataroot, data.phase + ("A" if data.direction == "BtoA" else "B"))
    single = replace(data, dataroot=str(folder), input_nc=data.output_nc)
    return SingleDataset(Options([single, options[RunFlags]], {}), training=False), "A"


def images_of(dataset: ImageDataset, entry: str, count: int, world: World) -> Iterator[tuple[int, Tensor]]:
    """This process's share of the first ``count`` images: their numbers, and [C, H, W] in [-1, 1]."""
    loader = Loader(dataset, batch_size=1, num_workers=0, seed=0, shuffle=False, rank=world.rank,
                    world_size=world.size)
    for number, batch in zip(range(world.rank, count, world.size), loader.epoch(0), strict=False):
        yield number, batch[entry][0]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the contents of files in this order, hexadecimal."""
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
