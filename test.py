"""Translate images with a trained generator.

    python test.py --dataroot datasets/lineart2color --name colours --model sc          # a test set
    python test.py --dataroot my/pictures --name colours                                # a folder, or one file

Images keep their own size and name; results/NAME/PHASE_EPOCH/index.html shows them. The architecture is read from
the experiment's own options file.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from data import DATASETS, Batch, Loader
from models import MODELS
from models.execution import prepare
from models.tiles import Tiling, translate_images
from options import TEST, DataFlags, NetworkFlags, Options, RunFlags, SpeedFlags, TestFlags, parse
from util.checkpoints import AVERAGE, load_networks
from util.device import choose_device
from util.errors import run_program
from util.images import save_image
from util.pages import open_results_page
from util.terminal import TerminalSink

REPORT_EVERY = 100  # images between two lines of progress
LABELS = {"real_A": "input", "fake_B": "output", "real_B": "truth"}


def main() -> None:
    translate(parse(TEST, MODELS, DATASETS))


def translate(options: Options) -> None:
    """Translate the images that the options name, and show them on a page."""
    run, data, flags = options[RunFlags], options[DataFlags], options[TestFlags]
    device = choose_device(run.gpu_ids)
    torch.manual_seed(0 if run.seed is None else run.seed)
    tag = f"iter_{run.load_iter}" if run.load_iter else run.epoch
    dataset = DATASETS[data.dataset_mode](options, training=False)
    # One by one: images may differ in size. Equal neighbours are translated together.
    loader = Loader(dataset, batch_size=1, num_workers=data.num_threads, seed=run.seed or 0,
                    shuffle=not data.serial_batches)
    model = MODELS[run.model](options, training=False)
    suffix = AVERAGE if flags.use_ema else ""
    load_networks(Path(run.checkpoints_dir) / run.name, tag, {n + suffix: net for n, net in model.networks.items()})
    for network in model.networks.values():
        network.train(not flags.eval)
    tiling = Tiling.of(options, model)
    if tiling and options[NetworkFlags].netG.startswith("unet"):
        warn("a U-Net looks at the whole image at once: its tiles differ from the untiled result")
    prepare(model, device, options[SpeedFlags])

    folder = Path(flags.results_dir) / run.name / f"{data.phase}_{tag}"
    options.save(folder, "test_opt")
    print(options.as_text())
    page = open_results_page(folder, f"{run.name}, {data.phase}, {tag}", flags.display_winsize, warn)
    total = min(len(loader), flags.num_test or len(loader))
    progress = TerminalSink(total)
    wanted = ("A", "B")
    names, written = Names(), set()
    with torch.inference_mode(), loader.naming_lost_workers():
        for batch in equal_neighbours(itertools.islice(loader.epoch(0), total), wanted, data.batch_size):
            pictures = {"real_A": batch["A"]} | translate_images(model, batch["A"], device, tiling)
            if "B" in batch:
                pictures["real_B"] = batch["B"]
            for index, path in enumerate(batch["A_paths"]):
                images = {label: picture[index] for label, picture in pictures.items()}
                files = {label: f"images/{label}/{names.of(path)}.png" for label in images}
                for label, image in images.items():
                    save_image(image, folder / files[label], flags.aspect_ratio)
                    written.add(folder / files[label])
                if page:
                    page.add_row(Path(path).name, {caption(label): file for label, file in files.items()})
                progress.advance(1)
                if progress.seen % REPORT_EVERY == 0:
                    progress.scalars(progress.seen, {})
    progress.close()
    if older := set(folder.glob("images/*/*.png")) - written:
        warn(f"{len(older)} images of an earlier run remain in {folder / 'images'} beside the new ones")
    where = page.save() if page else folder / "images"
    print(f"{total} of {len(loader)} images translated: {where}")


def caption(label: str) -> str:
    """What a picture is called on the page: ``fake_B_2`` is output 2."""
    return LABELS.get(label, label.replace("fake_B_", "output "))


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


def warn(text: str) -> None:
    """Tell the user about something that is left out."""
    print(f"warning: {text}", file=sys.stderr)


if __name__ == "__main__":
    run_program("test.py", main)
