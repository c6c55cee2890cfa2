"""Measure a data set of very many small files, in folders and packed into tar files.

    python -m benchmarks.shards --files 100000 --json shards.json

Seconds are those of the processor, which other programs on the machine hardly change. The files are in the page cache
of the system: a disk or a network file system adds the time to find and open each file, of tar files only once.
"""

import contextlib
import io
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, count, islice, product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from data import DATASETS, Batch, ImageDataset, Loader
from data.sampler import spread
from datasets import make_shards
from models import MODELS
from options import TRAIN, flag, parse, parse_flags
from util.errors import run_program
from util.image_files import read_bytes

from .report import BenchmarkFlags, Row, describe_machine, lines, table, use_device, write_json

A_FOLDER = 1000  # files in each subfolder
DIFFERENT = 100  # images; the others are copies
SIDE = 72


@dataclass(frozen=True)
class ShardsBenchmarkFlags(BenchmarkFlags):
    """Time a large data set in folders and in tar files."""

    device: str = flag("cpu", "device", choices=("cpu",))
    files: int = flag(100_000, "files of both domains", minimum=4)
    images: int = flag(1000, "images of each domain to load in a round", minimum=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    arguments = parse_flags(ShardsBenchmarkFlags, "python -m benchmarks.shards", argv)
    machine = describe_machine(use_device(arguments.device, arguments.threads))
    print(lines(machine))
    with tempfile.TemporaryDirectory() as place:
        few, folders, tars = (Path(place, name) for name in ("few files", "folders", "tar files"))
        write_files(few, 4)
        write_files(folders, arguments.files)
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            make_shards.main([str(folders), "--out", str(tars)])
        seconds = time.process_time() - start
        images = image_rows((folders, tars), arguments.images, arguments.rounds)
        starts = [in_new_process(root, arguments.images, arguments.threads or 1) for root in (few, folders, tars)]
        print(f"\nPacked in {seconds:.3g} s")
        for rows in (starts, images):
            print(f"\n{table(rows, markdown=arguments.markdown)}", flush=True)
    if arguments.json:
        settings = {name: value for name, value in asdict(arguments).items() if name not in ("json", "markdown")}
        write_json(arguments.json, {"benchmark": "shards", "machine": machine, **settings, "pack_s": seconds,
                                    "starts": starts, "images": images})


def write_files(root: Path, number_of_files: int) -> None:
    """Write small JPEG files of noise, half of them for each domain."""
    random, encoded = np.random.default_rng(0), []
    for _ in range(DIFFERENT):
        image = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        image.save(buffer := io.BytesIO(), format="JPEG")
        encoded.append(buffer.getvalue())
    for number in range(number_of_files):
        path = root / f"train{'AB'[number % 2]}/{number // A_FOLDER:06}/{number:09}.jpg"
        if number % A_FOLDER < 2:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded[number % DIFFERENT])


def in_new_process(root: Path, images: int, threads: int) -> Row:
    """Measure in a process of its own, whose memory holds nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, root, images, threads).result()


def measure(root: Path, images: int, threads: int) -> Row:
    """Time the start of a training, and measure the memory of a worker process after some images."""
    torch.set_num_threads(threads)
    now = time.process_time
    before, start = private_bytes("self"), now()
    dataset = open_images(root)
    listed, listing = now(), private_bytes("self") - before
    dataset.fingerprint()
    known = now()
    loader = Loader(dataset, batch_size=1, num_workers=0, seed=0, shuffle=True)
    batches = loader.epoch(0)
    next(batches)
    first = now()
    others = multiprocessing.active_children()
    in_worker = Loader(dataset, batch_size=1, num_workers=1, seed=0, shuffle=True)
    for _ in islice(in_worker.epoch(0), images):
        pass
    (worker,) = (process for process in multiprocessing.active_children() if process not in others)
    return {
        "data set": root.name, "listing s": listed - start, "listing MB": listing / 1e6,
        "fingerprint s": known - listed, "first batch s": first - known,
        "worker MB": private_bytes(str(worker.pid)) / 1e6}


def open_images(root: Path) -> ImageDataset:
    """Return the data set of a training."""
    options = parse(TRAIN, MODELS, DATASETS, ["--dataroot", str(root), "--load_size", str(SIDE), "--crop_size", "64"])
    return DATASETS["unaligned"](options, training=True)


def image_rows(roots: Sequence[Path], images: int, rounds: int) -> list[Row]:
    """Time the images of data sets in this process: in turn, since a processor is not always equally fast."""
    datasets = {root.name: open_images(root) for root in roots}
    batches = {name: endless(Loader(dataset, batch_size=1, num_workers=0, seed=0, shuffle=True))
               for name, dataset in datasets.items()}
    loading: dict[str, list[float]] = {name: [] for name in datasets}
    reading: dict[str, list[float]] = {name: [] for name in datasets}
    for _, (name, dataset) in product(range(rounds), datasets.items()):
        start = time.process_time()
        for _ in islice(batches[name], images):
            pass
        loading[name].append((time.process_time() - start) / (2 * images))
        files = [dataset.files(item)[0] for item in spread(images, dataset.items)]
        start = time.process_time()
        for path in files:
            read_bytes(path)
        reading[name].append((time.process_time() - start) / len(files))
    return [{"data set": name, "images/s": 1 / median(loading[name]), "reading us": 1e6 * median(reading[name])}
            for name in datasets]


def endless(loader: Loader) -> Iterator[Batch]:
    """Yield the batches of all epochs."""
    return chain.from_iterable(map(loader.epoch, count()))


def private_bytes(process: str) -> int:
    """Return the memory that a process shares with no other one."""
    text = Path("/proc", process, "smaps_rollup").read_text()
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


if __name__ == "__main__":
    run_program("benchmarks.shards", main)
