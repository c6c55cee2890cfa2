"""Images to try a generator on: those of its own test set."""

import uuid
from contextlib import suppress
from pathlib import Path

from data.sampler import spread
from evaluation.reading import AS_STORED, PictureReader
from util.errors import UserError
from util.image_files import read_bytes, reading
from util.image_folders import find_images
from util.picture_files import save_image
from util.shards import is_folder
from util.shown import scaled_down
from util.state_dicts import AVERAGE

from .checkpoints import Checkpoint

EXAMPLES = 5
SIDE = 160  # of a thumbnail, in pixels
DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def examples(checkpoint: Checkpoint) -> list[Path]:
    """Return images of the input domain of a generator, evenly spread over the test set, or else the training set.

    A hub folder does not say where its data set is: a bundled one is taken whose name is a part of the folder's name.
    """
    recorded, domain = checkpoint.recorded(), input_domain(checkpoint)
    named = [folder for folder in DATASETS.iterdir() if folder.is_dir() and folder.name in checkpoint.name]
    roots = [Path(root) for root in (recorded.get("dataroot"), recorded.get("eval_dataroot")) if root] or named
    for phase in ("test", recorded.get("phase", "train")):
        for root in roots:
            folder = root / f"{phase}{domain}"
            if is_folder(folder):
                with suppress(UserError):  # there are none
                    found = find_images(folder, "--dataroot")
                    return [found[place] for place in spread(EXAMPLES, len(found))]
    return []


def input_domain(checkpoint: Checkpoint) -> str:
    """Return the domain of the inputs of a generator, A or B."""
    half = checkpoint.suffix.removesuffix(AVERAGE)
    return "B" if (checkpoint.recorded().get("direction") == "BtoA") != (half == "_B") else "A"


def reader(checkpoint: Checkpoint) -> PictureReader:
    """Return the reader of the inputs of a generator, with the range and bands of its training."""
    recorded, flag = checkpoint.recorded(), f"range_{input_domain(checkpoint)}"
    low_high, bands = (tuple(recorded.get(name) or ()) for name in (flag, "rgb_bands"))
    return PictureReader((low_high[0], low_high[1]) if low_high else None, bands, f"--{flag}")


def thumbnails(files: list[Path], folder: Path, read: PictureReader = AS_STORED) -> list[tuple[Path, Path]]:
    """Write thumbnails into ``folder``; return each with its file. Files that are no images are left out."""
    made = []
    for file in files:
        thumbnail = folder / f"example_{uuid.uuid4().hex}.webp"
        try:
            image = read(file)
        except UserError:
            continue
        save_image(scaled_down(image[None], SIDE, "bilinear")[0], thumbnail)
        made.append((thumbnail, file))
    return made


def copied(file: Path, folder: Path) -> Path:
    """Copy an example into a folder of its own inside ``folder``, whose files the page may show.

    Raises:
        UserError: the file is gone, or cannot be read.
    """
    target = folder / uuid.uuid4().hex / file.name
    with reading(file):
        data = read_bytes(file)
    target.parent.mkdir()
    target.write_bytes(data)
    return target
