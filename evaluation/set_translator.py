"""Translation of a test set with a checkpoint, in memory or into a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data import DATASETS, Batch, Loader, SampleKey, collate, finish
from inference import Translator
from options import DataFlags, Options, RunFlags, TestFlags
from util.distributed import ALONE, World
from util.outputs import OutputFormat
from util.picture_files import save_image
from util.shown import picture


@dataclass(frozen=True)
class Translated:
    """An image of a test set and its translation."""

    number: int
    """Its index in the test set, from 0."""
    path: str
    """Its file."""
    images: dict[str, Tensor]
    """[C, H, W] in [-1, 1] on any device: ``real_A``, the translation ``fake_B`` or several ``fake_B_1``, ``fake_B_2``,
    ..., and ``real_B`` if the truth is known."""

    @property
    def output(self) -> Tensor:
        """The translation; of several the first."""
        return next(image for label, image in self.images.items() if label.startswith("fake_B"))


class SetTranslator(Translator):
    """A trained generator and the test set of ``test.py`` with the same options.

    Args:
        options: of ``test.py``.
        device: of the model.
        world: processes that share the images: each takes every ``size``-th one.

    Attributes:
        dataset: the test set.
        loader: loads images one by one, since they may differ in size.
        total: number of images, of all processes together.
        bands: ``--rgb_bands``.

    Raises:
        UserError: the data set is missing, or the options do not fit the model.
    """

    def __init__(self, options: Options, device: torch.device, world: World = ALONE) -> None:
        run, data, flags = options[RunFlags], options[DataFlags], options[TestFlags]
        self.world, self.seed = world, run.seed or 0
        self.dataset = DATASETS[data.dataset_mode](options, training=False)
        self.loader = Loader(self.dataset, batch_size=1, num_workers=data.num_threads, seed=self.seed,
                             shuffle=not data.serial_batches, rank=world.rank, world_size=world.size)
        self.total = min(len(self.loader), flags.num_test or len(self.loader))
        self.bands = data.rgb_bands
        super().__init__(options, device)

    def batches(self) -> Iterator[Batch]:
        """Load this process's share of the images, one by one."""
        return itertools.islice(self.loader.epoch(0), -(-(self.total - self.world.rank) // self.world.size))

    @torch.inference_mode()
    def translations(self) -> Iterator[Translated]:
        """Translate this process's share. Seeded: each call gives the same images.

        Raises:
            UserError: an image cannot be read.
        """
        torch.manual_seed(self.seed)
        numbers = itertools.count(self.world.rank, self.world.size)
        for batch in equal_neighbours(self.batches(), self.batch_size):
            yield from self._translated(batch, numbers)

    @torch.inference_mode()
    def translations_of(self, numbers: Iterable[int]) -> Iterator[Translated]:
        """Translate some images of the test set, by their indices. Seeded: each call gives the same images.

        Raises:
            UserError: an image cannot be read.
        """
        torch.manual_seed(self.seed)
        for number in numbers:
            yield from self._translated(finish(collate([self.dataset[SampleKey(number, 0)]])), iter([number]))

    def _translated(self, batch: Batch, numbers: Iterator[int]) -> Iterator[Translated]:
        pictures = {"real_A": batch["A"]} | self.translate(batch["A"], masks=batch.get("A_mask"))
        if "B" in batch:
            pictures["real_B"] = batch["B"]
        for index, path in enumerate(batch["A_paths"]):
            yield Translated(next(numbers), path, {label: image[index] for label, image in pictures.items()})

    def save(
        self, translations: Iterable[Translated], folder: Path, output: OutputFormat | None = None,
        aspect_ratio: float = 1.0, known: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Translated, dict[str, str]]]:
        """Write pictures to ``folder/images/LABEL/NAME.png``; the names keep the subfolders of the test set.

        Args:
            translations: of different files.
            folder: made if missing.
            output: the format of translations; None: PNG. Values that are no pictures go to
                ``folder/outputs/LABEL/NAME``.
            aspect_ratio: of pictures, see `save_image`.
            known: names of results that are there already, by the absolute paths of their inputs.

        Yields:
            The translation, and the pictures by label, relative to ``folder``.
        """
        names = Names(self.dataset.root, known)
        for translated in translations:
            name, files = names.of(translated.path), {}
            for label, image in translated.images.items():
                of_output = output if output and label.startswith("fake_B") else OutputFormat()
                if not of_output.is_picture:
                    of_output.save(image, folder / "outputs" / label / f"{name}{of_output.suffix}")
                suffix = of_output.suffix if of_output.is_picture else ".png"
                files[label] = f"images/{label}/{name}{suffix}"
                save_image(picture(image, self.bands), folder / files[label], aspect_ratio)
            yield translated, files


def equal_neighbours(batches: Iterable[Batch], count: int) -> Iterator[Batch]:
    """Join up to ``count`` consecutive batches whose images are equal in size."""
    for shapes, equal in itertools.groupby(batches, lambda batch: {
            name: batch[name].shape[1:] for name in ("A", "B", "A_mask") if name in batch}):
        while some := list(itertools.islice(equal, count)):
            joined: Batch = {name: torch.cat([batch[name] for batch in some]) for name in shapes}
            yield joined | {"A_paths": [path for batch in some for path in batch["A_paths"]]}


class Names:
    """Unique names of results: paths of images relative to ``root``, without the suffix.

    Those of ``a.png`` and ``a.jpg`` are ``a`` and ``a.jpg``. ``known`` are the names of earlier results, by the
    absolute paths of their inputs.
    """

    def __init__(self, root: Path, known: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.known = dict(known or {})
        self.taken = set(self.known.values())

    def of(self, path: str) -> str:
        """Return the name for ``path``; a second call returns the same one."""
        absolute, file = str(Path(path).absolute()), Path(path).relative_to(self.root)
        if absolute not in self.known:
            stem = file.with_suffix("").as_posix()
            wanted = itertools.chain([stem, file.as_posix()], (f"{stem}_{n}" for n in itertools.count(2)))
            self.known[absolute] = next(name for name in wanted if name not in self.taken)
            self.taken.add(self.known[absolute])
        return self.known[absolute]
