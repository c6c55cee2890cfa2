"""Images to try a generator on: those of its own test set."""

import shutil
import uuid
from pathlib import Path

from data.sampler import spread
from util.errors import UserError
from util.images import BadImage, is_image, save_thumbnail
from util.state_dicts import AVERAGE

from .checkpoints import Checkpoint

EXAMPLES = 5
SIDE = 160  # of a thumbnail, in pixels
DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def examples(checkpoint: Checkpoint) -> list[Path]:
    """Return images of the input domain of a generator, evenly spread over the test set, or else the training set.

    A hub folder does not say where its data set is: a bundled one is taken whose name is a part of the folder's name.
    """
    recorded = checkpoint.recorded()
    half = checkpoint.suffix.removesuffix(AVERAGE)
    domain = "B" if (recorded.get("direction") == "BtoA") != (half == "_B") else "A"
    named = [folder for folder in DATASETS.iterdir() if folder.is_dir() and folder.name in checkpoint.name]
    roots = [Path(root) for root in (recorded.get("dataroot"), recorded.get("eval_dataroot")) if root] or named
    for phase in ("test", recorded.get("phase", "train")):
        for root in roots:
            folder = root / f"{phase}{domain}"
            if folder.is_dir() and (found := sorted(path for path in folder.iterdir() if is_image(path))):
                return [found[place] for place in spread(EXAMPLES, len(found))]
    return []


def thumbnails(files: list[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Write thumbnails into ``folder``; return each with its file. Files that are no images are left out."""
    made = []
    for file in files:
        thumbnail = folder / f"example_{uuid.uuid4().hex}.webp"
        try:
            save_thumbnail(file, thumbnail, SIDE)
        except BadImage:
            continue
        made.append((thumbnail, file))
    return made


def copied(file: Path, folder: Path) -> Path:
    """Copy an example into a folder of its own inside ``folder``, whose files the page may show.

    Raises:
        UserError: the file is gone.
    """
    target = folder / uuid.uuid4().hex / file.name
    target.parent.mkdir()
    try:
        shutil.copyfile(file, target)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from error
    return target
