"""A test set, translated with a checkpoint: image by image in memory, or into a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from data import DATASETS, Batch, Loader
from models import MODELS
from models.execution import prepare
from models.tiles import Tiling, translate_images
from options import DataFlags, Options, RunFlags, SpeedFlags, TestFlags
from util.distributed import ALONE, World
from util.images import save_image
from util.state_dicts import AVERAGE, load_networks


@dataclass(frozen=True)
class Translated:
    """What became of one image of a test set."""

    number: int
    """Its place in the test set, from 0."""
    path: str
    """Its file."""
    images: dict[str, Tensor]
    """[C, H, W] in [-1, 1]: ``real_A``, its translation ``fake_B`` (or several), ``real_B`` where the truth is known;
    on any device."""


class Translator:
    """A model that only translates, and the images that ``test.py`` with the same options would translate.

    Its weights are random until `load` or `copy_weights` is called.

    Args:
        options: those of ``test.py``.
        device: where the model runs.
        world: processes of which each translates its share: every ``size``-th image.

    Attributes:
        model: it.
        dataset: where the images come from.
        loader: the images, one by one, since they may differ in size.
        tiling: how images are cut; None: not at all.
        batch_size: images, or tiles, that are translated together: --batch_size, or 1 where batch normalisation takes
            its statistics from the batch, so that no translation depends on its neighbours.
        total: how many images are translated, by all processes together.

    Raises:
        UserError: the data set is missing, or the options do not fit the model.
    """

    def __init__(self, options: Options, device: torch.device, world: World = ALONE) -> None:
        run, data, flags = options[RunFlags], options[DataFlags], options[TestFlags]
        self.device, self.world = device, world
        self.use_average, self.seed = flags.use_ema, run.seed or 0
        self.dataset = DATASETS[data.dataset_mode](options, training=False)
        self.loader = Loader(self.dataset, batch_size=1, num_workers=data.num_threads, seed=self.seed,
                             shuffle=not data.serial_batches, rank=world.rank, world_size=world.size)
        self.total = min(len(self.loader), flags.num_test or len(self.loader))
        self.model = MODELS[run.model](options, training=False)
        for network in self.model.networks.values():
            network.train(not flags.eval)
        mixes = any(isinstance(module, nn.BatchNorm2d) and module.training
                    for network in self.model.networks.values() for module in network.modules())
        self.batch_size = 1 if mixes else data.batch_size
        self.tiling = Tiling.of(options.having(replace(data, batch_size=self.batch_size)), self.model)
        prepare(self.model, device, options[SpeedFlags])

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by the names under which a training saves their weights."""
        suffix = AVERAGE if self.use_average else ""
        return {name + suffix: network for name, network in self.model.networks.items()}

    def load(self, folder: Path, tag: str) -> None:
        """Take the weights of a checkpoint of the experiment in ``folder``.

        Raises:
            UserError: a file is missing, damaged, or of another architecture.
        """
        load_networks(folder, tag, self.networks)

    def copy_weights(self, networks: Mapping[str, nn.Module]) -> None:
        """Take the weights of a training's networks, which stay as they are."""
        for name, network in self.networks.items():
            network.load_state_dict(networks[name].state_dict())

    def batches(self) -> Iterator[Batch]:
        """This process's share of the images, one by one: `Loader` batches."""
        return itertools.islice(self.loader.epoch(0), -(-(self.total - self.world.rank) // self.world.size))

    @torch.inference_mode()
    def translations(self) -> Iterator[Translated]:
        """Translate this process's share. The same images each time, whatever else draws random numbers.

        Raises:
            UserError: an image cannot be read.
        """
        torch.manual_seed(self.seed)
        numbers = itertools.count(self.world.rank, self.world.size)
        for batch in equal_neighbours(self.batches(), ("A", "B"), self.batch_size):
            pictures = {"real_A": batch["A"]} | translate_images(self.model, batch["A"], self.device, self.tiling)
            if "B" in batch:
                pictures["real_B"] = batch["B"]
            for index, path in enumerate(batch["A_paths"]):
                yield Translated(next(numbers), path, {label: image[index] for label, image in pictures.items()})


def tag_of(run: RunFlags) -> str:
    """The checkpoint that the flags name."""
    return f"iter_{run.load_iter}" if run.load_iter else run.epoch


def save_translations(
    translations: Iterable[Translated], folder: Path, aspect_ratio: float = 1.0
) -> Iterator[tuple[str, dict[str, str]]]:
    """Write images as they come, as PNG files ``folder/images/LABEL/NAME.png``.

    Args:
        translations: of different files.
        folder: it is made where it is missing.
        aspect_ratio: see `save_image`.

    Returns:
        For each, once its files are written: the input's own path, and by label the files relative to ``folder``.
    """
    names = Names()
    for translated in translations:
        files = {label: f"images/{label}/{names.of(translated.path)}.png" for label in translated.images}
        for label, image in translated.images.items():
            save_image(image, folder / files[label], aspect_ratio)
        yield translated.path, files


def equal_neighbours(batches: Iterable[Batch], names: Sequence[str], count: int) -> Iterator[Batch]:
    """Join up to ``count`` batches that follow each other and whose images, those of ``names``, are equal in size."""
    for shapes, equal in itertools.groupby(batches, lambda batch: {n: batch[n].shape[1:] for n in names if n in batch}):
        while some := list(itertools.islice(equal, count)):
            joined: Batch = {name: torch.cat([batch[name] for batch in some]) for name in shapes}
            yield joined | {"A_paths": [path for batch in some for path in batch["A_paths"]]}


class Names:
    """Result names: an image's own, told apart where ``a.png`` and ``a.jpg``, or two folders, would collide."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}

    def of(self, path: str) -> str:
        """The name for ``path``, always the same one."""
        file = Path(path)
        wanted = itertools.chain([file.stem, file.name], (f"{file.stem}_{n}" for n in itertools.count(2)))
        name = next(name for name in wanted if self.taken.get(name, path) == path)
        self.taken[name] = path
        return name
