"""Time data loading: decoded or cached, by number of workers, finished in the workers or on the device.

    python -m benchmarks.data --step_ms 30 --json data.json
"""

import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from data import DATASETS, ImageDataset, Loader, finish, keep_in_memory
from models import MODELS
from options import TRAIN, flag, parse, parse_flags
from util.device import to_device
from util.errors import run_program
from util.loggers import Sink

from .measure import median_seconds
from .report import (
    BenchmarkFlags,
    Row,
    describe_machine,
    lines,
    table,
    use_device,
    write_json,
)

BUNDLED = Path(__file__).parent.parent / "datasets/lineart2color"


@dataclass(frozen=True)
class Case:
    """One way to load batches."""

    images: str
    cache: str
    workers: int
    finished: bool
    """By the workers."""


@dataclass(frozen=True)
class LoadingBenchmarkFlags(BenchmarkFlags):
    """Time the loading of batches as LSeSim's training does it (--augment)."""

    rounds: int = flag(3, "timed rounds", minimum=1)
    workers: tuple[int, ...] = flag((0, 1, 2, 4), "worker processes", minimum=0, several=True)
    batch_size: int = flag(1, "images in a batch", minimum=1)
    images: int = flag(32, "images of each domain to load in a round", minimum=1)
    photo_size: int = flag(512, "side of the synthetic JPEGs", minimum=1)
    step_ms: int = flag(30, "milliseconds of a training step", minimum=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print three tables."""
    arguments = parse_flags(LoadingBenchmarkFlags, "python -m benchmarks.data", argv)
    device = use_device(arguments.device, arguments.threads)
    machine = describe_machine(device)
    print(lines(machine))
    caching: list[Row] = []
    loading: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), arguments.images, arguments.photo_size)
        roots = {"lineart2color": BUNDLED, f"{arguments.photo_size}-pixel JPEG": Path(folder)}
        for name, root in roots.items():
            plain, cached = (open_images(root, arguments.images) for _ in range(2))
            caching.append({"images": name, **caching_row(cached)})
            for cache, dataset in (("none", plain), ("ram", cached)):
                cases = [Case(name, cache, workers, finished)
                         for workers in arguments.workers for finished in (True, False)]
                loading += [loading_row(case, dataset, arguments, device) for case in cases]
    finishing: list[Row] = [finishing_row(batch, augment, arguments, device)
                 for batch in sorted({1, 8, arguments.batch_size}) for augment in (False, True)]
    results = {"caching": caching, "loading": loading, "finishing": finishing}
    titles = {
        "caching": "Caching: every image decoded and scaled once",
        "loading": f"Loading, batch {arguments.batch_size}, finished (with jittered copies) or raw. Waits: the share "
                   f"of its time that a training with steps of {arguments.step_ms} ms would wait for batches",
        "finishing": f"Finishing raw batches on {machine['device']}",
    }
    for key, title in titles.items():
        print(f"\n{title}\n\n{table(results[key], markdown=arguments.markdown)}")
    if arguments.json:
        settings = {name: value for name, value in asdict(arguments).items() if name not in ("json", "markdown")}
        write_json(arguments.json, {"benchmark": "data", "machine": machine, **settings, **results})


def write_photographs(root: Path, count: int, size: int) -> None:
    """Write JPEGs as large and as hard to decode as photographs: coarse shapes under fine noise."""
    random = np.random.default_rng(0)
    for domain in "AB":
        (root / f"train{domain}").mkdir()
        for index in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            shapes = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
            pixels = (shapes + random.normal(0, 12, shapes.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"train{domain}/{index}.jpg", quality=90)


def open_images(root: Path, count: int, *, augment: bool = True) -> ImageDataset:
    """Build the data set of a training."""
    options = parse(TRAIN, MODELS, DATASETS, [
        "--dataroot", str(root), "--augment", str(augment), "--max_dataset_size", str(count)])
    return DATASETS["unaligned"](options, training=True)


def caching_row(dataset: ImageDataset) -> dict[str, int | float]:
    """Fill the cache of ``dataset``."""
    start = time.perf_counter()
    keep_in_memory(dataset, Sink())
    seconds = time.perf_counter() - start
    size = sum(image.nbytes for images in dataset.cache or () for image in images)
    return {"files": dataset.items, "files/s": dataset.items / seconds, "MB": size / 1e6}


def loading_row(
    case: Case, dataset: ImageDataset, arguments: LoadingBenchmarkFlags, device: torch.device
) -> dict[str, str | int | float]:
    """Measure batches that are taken as fast as they come."""
    loader = Loader(dataset, batch_size=arguments.batch_size, num_workers=case.workers, seed=0, shuffle=True,
                    pin_memory=device.type == "cuda", finished=case.finished)
    epochs = [seconds_an_image(loader, epoch) for epoch in range(1 + arguments.rounds)]
    seconds = arguments.batch_size * median(epochs[1:])  # workers start in the first one
    step = arguments.step_ms / 1000
    waits = seconds / (seconds + step) if case.workers == 0 else max(0.0, seconds - step) / max(seconds, step)
    return {
        "images": case.images, "cache": case.cache, "workers": case.workers,
        "finished": "yes" if case.finished else "no", "images/s": arguments.batch_size / seconds,
        "ms a batch": 1000 * seconds, "waits %": 100 * waits,
    }


def seconds_an_image(loader: Loader, epoch: int) -> float:
    """Measure the mean over an epoch, whose last batch may be smaller."""
    start = time.perf_counter()
    for _ in loader.epoch(epoch):
        pass
    return (time.perf_counter() - start) / len(loader)


def finishing_row(
    size: int, augment: bool, arguments: LoadingBenchmarkFlags, device: torch.device
) -> dict[str, str | int | float]:
    """Measure `finish` of raw batches of both domains, with and without jittered copies, already on the device."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), size, 256)
        loader = Loader(open_images(Path(folder), size, augment=augment), batch_size=size, num_workers=0, seed=0,
                        shuffle=True, finished=False)
        batches = [to_device(batch, device) for epoch in range(8) for batch in loader.epoch(epoch)]  # of many orders
    turns = itertools.cycle(batches)
    calls = 20 if device.type == "cuda" else 1
    seconds = median_seconds({"finish": lambda: finish(next(turns))}, device, rounds=8 * arguments.rounds, calls=calls)
    return {
        "batch": size, "augment": "yes" if augment else "no", "ms a batch": 1000 * seconds["finish"],
        "% of a step": 100000 * seconds["finish"] / arguments.step_ms,
    }


if __name__ == "__main__":
    run_program("benchmarks.data", main)
