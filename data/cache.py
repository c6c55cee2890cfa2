"""``--cache ram``: every image of a data set, decoded and scaled once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from util.errors import UserError
from util.image_files import BadImage
from util.loggers import Sink

from .base import ImageDataset

MEMORY = Path("/proc/meminfo")  # only Linux has it
LEAST = 0.05  # share of the machine's memory to leave free
REPORTS = 5  # lines of progress, where the terminal has no bar


def keep_in_memory(dataset: ImageDataset, progress: Sink) -> None:
    """Read every image of ``dataset`` into memory, in threads; unreadable items are noted.

    Call it before worker processes start: they share the memory. Each process of a distributed job has its own cache.

    Args:
        dataset: its ``cache`` is set.
        progress: counts the items.

    Raises:
        UserError: memory is full, or too many files are unreadable.
    """
    def read(item: int) -> list[Tensor] | BadImage:
        try:
            return dataset.read(item)
        except BadImage as error:
            return error

    progress.message(f"--cache ram: images that are read into memory, once: {dataset.items}")
    cache: list[list[Tensor]] = []
    with ThreadPoolExecutor() as threads:
        for item, images in enumerate(threads.map(read, range(dataset.items))):
            if isinstance(images, BadImage):
                dataset.note_unreadable(item, str(images))
            cache.append([] if isinstance(images, BadImage) else images)
            if available() < LEAST:
                raise UserError(f"--cache ram: memory is full after {item + 1} of {dataset.items} images; use --cache "
                                "none, or fewer or smaller images")
            progress.advance(1)
            if (item + 1) * REPORTS // dataset.items > item * REPORTS // dataset.items:
                progress.scalars(item + 1, {})
    progress.close()
    dataset.cache = cache


def available() -> float:
    """Return the available share of the machine's memory, in [0, 1]; 1 where the system does not tell.

    Limits of containers and jobs below the machine's memory are not seen.
    """
    if not MEMORY.is_file():
        return 1.0
    sizes = {name: int(size) for name, size, *_ in map(str.split, MEMORY.read_text().splitlines())}
    return sizes["MemAvailable:"] / sizes["MemTotal:"]
