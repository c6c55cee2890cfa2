"""Find and load the generators below ``--checkpoints_dir``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inference import BUNDLED, Translator, load
from options import recorded_flags
from util.errors import UserError
from util.hub_folders import CONFIG, is_hub_folder, read_config
from util.loggers.json_lines import LOG, last_time
from util.state_dicts import AVERAGE, BEST, LATEST, generator_of, weights_path

KEPT = 6  # generators in memory


@dataclass(frozen=True)
class Checkpoint:
    """The generator in ``root/name/TAG_net_G<suffix>.pth``, or in the hub folder ``root/name``."""

    root: Path
    name: str
    tag: str
    suffix: str
    """Empty, or ``_A`` or ``_B`` for half of a cycle; then ``_ema`` for a moving average."""

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def label(self) -> str:
        """Its name on the page."""
        way, average, _ = self.suffix.partition(AVERAGE)
        return ", ".join([self.name, self.tag, *([f"G{way}"] if way else []), *(["moving average"] if average else [])])

    def recorded(self) -> dict[str, Any]:
        """Read the options of its training; empty without a file.

        Raises:
            UserError: the file is damaged.
        """
        return recorded_flags(self.folder) or {}

    def changed(self) -> int:
        """Return the modification time of its file, in nanoseconds.

        Raises:
            UserError: the file is gone.
        """
        path = weights_path(self.folder, self.tag, "G" + self.suffix)
        try:
            return path.stat().st_mtime_ns
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; refresh the list") from None


def find_checkpoints(root: Path) -> dict[str, Checkpoint]:
    """Return every generator below ``root``, and every bundled one, by its label.

    The experiment with the newest report in its log comes first, the bundled ones come last. Saves are sorted: latest,
    best, epochs and iterations from the last to the first, others. Modification times are not used, since copied files
    have new ones.
    """
    found = []
    for path in root.rglob("*_net_G*.pth"):
        if (name := generator_of(path)) and path.parent != root:
            tag, half, average = name
            found.append(Checkpoint(root, path.parent.relative_to(root).as_posix(), tag, half + average))
    found += _shared(root, root)
    if root.resolve() != BUNDLED:
        found += _shared(BUNDLED, BUNDLED.parent)
    times = {checkpoint.folder: last_time(checkpoint.folder / LOG) for checkpoint in found}
    found.sort(key=lambda checkpoint: (
        checkpoint.root != root, -times[checkpoint.folder], checkpoint.name, _place(checkpoint.tag), checkpoint.tag,
        checkpoint.suffix))
    return {checkpoint.label: checkpoint for checkpoint in found}


def _shared(folder: Path, root: Path) -> Iterator[Checkpoint]:
    """Find the generators of the hub folders below a folder. Their names begin below ``root``."""
    for path in folder.rglob(CONFIG):
        if is_hub_folder(path.parent) and path.parent != root:
            try:
                names = [str(name) for name in read_config(path.parent)["networks"]]
            except UserError:
                names = ["G"]  # to choose it is the error
            for name in names:
                if name.startswith("G"):
                    yield Checkpoint(root, path.parent.relative_to(root).as_posix(), LATEST, name[1:])


def _place(tag: str) -> tuple[int, int]:
    """Return a key that sorts the saves of one experiment."""
    if number := re.fullmatch(r"(iter_)?(\d+)", tag):
        return 3 if number[1] else 2, -int(number[2])
    return {LATEST: 0, BEST: 1}.get(tag, 4), 0


@lru_cache(KEPT)
def load_generator(checkpoint: Checkpoint, changed: int, gpu_ids: str, tile: int, *, long: bool = False) -> Translator:
    """Load a generator as test.py does, with the architecture in the experiment's options file.

    Args:
        checkpoint: the generator.
        changed: `Checkpoint.changed`, so that a replaced file is loaded again.
        gpu_ids: see `choose_device`.
        tile: ``--tile`` of test.py; tiles overlap by half of it, at most 128 pixels.
        long: of long translations, which have a generator of their own: a translator is used by one thread at a time.

    Raises:
        UserError: the file is missing, damaged or of another architecture, or the tile does not fit it.
    """
    del changed, long
    way, average, _ = checkpoint.suffix.partition(AVERAGE)
    return load(checkpoint.folder, epoch=checkpoint.tag, ema=bool(average), model_suffix=way, device=gpu_ids, tile=tile)
