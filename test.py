"""Translate images with a trained generator.

    python test.py --dataroot datasets/lineart2color --name colours --model sc          # a test set
    python test.py --dataroot my/pictures --name colours                                # a folder, or one file

Images keep their own size and name; results/NAME/PHASE_EPOCH/index.html shows them. The architecture is read from
the experiment's own options file.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data import DATASETS, Loader
from models import MODELS, Model
from options import TEST, DataFlags, Options, RunFlags, TestFlags, parse
from util.checkpoints import AVERAGE, load_networks
from util.device import choose_device, to_device
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
    loader = Loader(dataset, batch_size=data.batch_size, num_workers=data.num_threads, seed=run.seed or 0,
                    shuffle=not data.serial_batches)
    model = MODELS[run.model](options, training=False)
    suffix = AVERAGE if flags.use_ema else ""
    load_networks(Path(run.checkpoints_dir) / run.name, tag, {n + suffix: net for n, net in model.networks.items()})
    model.to(device)
    for network in model.networks.values():
        network.train(not flags.eval)

    folder = Path(flags.results_dir) / run.name / f"{data.phase}_{tag}"
    options.save(folder, "test_opt")
    print(options.as_text())
    page = open_results_page(folder, f"{run.name}, {data.phase}, {tag}", flags.display_winsize, warn)
    total = min(len(loader), flags.num_test or len(loader))
    progress = TerminalSink(total)
    names, written = Names(), set()
    with torch.inference_mode():
        for batch in itertools.islice(loader.epoch(0), -(-total // data.batch_size)):
            for path, images in results(model, to_device(batch, device), data.dataset_mode == "aligned"):
                if progress.seen == total:
                    break
                files = {LABELS[label]: f"images/{label}/{names.of(path)}.png" for label in images}
                for label, image in images.items():
                    save_image(image, folder / files[LABELS[label]], flags.aspect_ratio)
                    written.add(folder / files[LABELS[label]])
                if page:
                    page.add_row(Path(path).name, files)
                progress.advance(1)
                if progress.seen % REPORT_EVERY == 0:
                    progress.scalars(progress.seen, {})
    progress.close()
    if older := set(folder.glob("images/*/*.png")) - written:
        warn(f"{len(older)} images of an earlier run remain in {folder / 'images'} beside the new ones")
    where = page.save() if page else folder / "images"
    print(f"{total} of {len(loader)} images translated: {where}")


def results(model: Model, batch: Mapping[str, Any], has_truth: bool) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each image's path with its input, output and, from pairs, truth."""
    model.set_input(batch)
    images = {"real_A": batch["A"], "fake_B": model.translate(batch["A"])}
    if has_truth:
        images["real_B"] = batch["B"]
    for index, path in enumerate(batch["A_paths"]):
        yield path, {label: image[index] for label, image in images.items()}


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
