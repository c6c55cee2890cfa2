"""Translate an uploaded file, and write the pictures for the page. Independent of Gradio."""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from inference import Translator
from util.errors import UserError
from util.images import image_size, load_normalized
from util.picture_files import save_image
from util.shown import picture, scaled_down, size_within

from .checkpoints import Checkpoint, load_generator
from .jobs import LONG, Check, Jobs, interruptible
from .similarity import draw, ringed, similarity

VIEW = 320  # side of an enlarged picture on the page, in pixels, at most
LARGE = 2**21  # pixels of an image that may need --tile


class Shown(NamedTuple):
    """Files of one translation."""

    input: Path
    output: Path
    other: Path
    """The comparison: another checkpoint's translation, or the input."""
    views: tuple[Path, Path]
    """Input and output, enlarged if small."""
    styles: int
    """Number of translations that the checkpoint has for an image."""
    note: str
    """Its size and the time that it took."""


class Studio:
    """Translates images with checkpoints into ``folder``; ``gpu_ids`` and ``tile`` are as in test.py."""

    def __init__(self, folder: Path, gpu_ids: str, tile: int) -> None:
        self.folder, self.gpu_ids, self.tile, self.jobs = folder, gpu_ids, tile, Jobs()
        self._paces: dict[Checkpoint, float] = {}  # seconds per pixel

    def translate(
        self, upload: Path, into: Path, checkpoint: Checkpoint, other: Checkpoint | None, *, style: int, side: int,
        page: str = "",
    ) -> Shown:
        """Translate an uploaded image, and write input, translation and comparison as PNG into a folder.

        Args:
            other: generator to compare with; without it the input is the comparison.
            style: number of the style, from 1; the last one where there are fewer.
            side: larger images are scaled down to this side.
            page: the page that wants the image; an earlier translation for it is cancelled.

        Raises:
            UserError: the file is no image, or a checkpoint cannot be loaded.
            Cancelled: the page no longer wants the image.
        """
        height, width = size_of_upload(upload, side)[1]
        long = height * width > LONG

        def run(chosen: Checkpoint, check: Check) -> tuple[Translator, Tensor, Tensor, float]:
            generator = load_generator(chosen, chosen.changed(), self.gpu_ids, self.tile, long=long)
            image = read_image(upload, generator.read, side)
            start = time.monotonic()
            with interruptible(generator, check):
                output = generator(image, style=min(style, generator.styles))
            return generator, image, output, time.monotonic() - start

        with self.jobs.job(page, long=long) as check:
            generator, image, output, seconds = run(checkpoint, check)
            height, width = image.shape[1:]
            self._paces[checkpoint] = seconds / (height * width)
            name = re.sub(r"[^\w.-]+", "_", f"{upload.stem}_{checkpoint.label}")[-60:]  # at most 240 bytes
            shown = Shown(
                into / "input.png", into / f"{name}.png", into / ("other.png" if other else "input.png"),
                (into / "view_input.png", into / "view_output.png"), generator.styles,
                f"{width}x{height} pixels, translated in {seconds:.2g} s")
            for made, path, view in zip((image, output), (shown.input, shown.output), shown.views, strict=True):
                seen = picture(made, generator.bands)
                save_image(seen, path)
                save_image(enlarged(seen), view)
            if other:
                generator, _, output, _ = run(other, check)
                save_image(picture(output, generator.bands), shown.other)
        return shown

    def note(self, upload: Path, checkpoint: Checkpoint | None, side: int) -> str:
        """Say how large an uploaded image is, at which size it is translated, how long that takes, and if it is large.

        Raises:
            UserError: the file is no image.
        """
        (height, width), (down, across) = size_of_upload(upload, side)
        parts = [f"{width}x{height} pixels"]
        if (height, width) != (down, across):
            parts.append(f"scaled down to {across}x{down}")
        if checkpoint in self._paces:
            parts.append(f"about {self._paces[checkpoint] * down * across:.2g} s")
        if down * across > LARGE and not self.tile:
            parts.append("if the memory is too small, start app.py with --tile 512")
        return ", ".join(parts)

    def ringed(self, shown: Shown, point: tuple[float, float]) -> list[Path]:
        """Draw a ring around a point of input and output, and return the files."""
        made = []
        for view in shown.views:
            made.append(view.with_name(f"ring_{uuid.uuid4().hex}.png"))
            save_image(ringed(load_normalized(view, 3), point), made[-1])
        return made

    def maps(self, shown: Shown, point: tuple[float, float], features: str, checkpoint: Checkpoint) -> list[Path]:
        """Draw the self-similarity of a point in input and output, and return the files; see `similarity`."""
        made = []
        for path in (shown.input, shown.output):
            image = load_normalized(path, 3)
            cosines = similarity(image, point, features, checkpoint, self.gpu_ids)
            made.append(path.with_name(f"map_{uuid.uuid4().hex}.png"))  # a new address, since browsers cache pictures
            save_image(draw(cosines, enlarged(image), point), made[-1])
        return made


def enlarged(image: Tensor) -> Tensor:
    """Enlarge an image [C, H, W] to the largest whole multiple of its size within `VIEW` pixels."""
    times = max(VIEW // max(image.shape[1:]), 1)
    return image.repeat_interleave(times, 1).repeat_interleave(times, 2)


def read_image(path: Path, read: Callable[[Path], Tensor], side: int) -> Tensor:
    """Read an uploaded image, [C, H, W] in [-1, 1], and scale it down if a side is longer than ``side``.

    Raises:
        UserError: the file is no image for this generator; the message does not name the folder.
    """
    with named_without_folder(path):
        image = read(path)
    return scaled_down(image[None], side)[0].clamp(-1, 1)


def size_of_upload(path: Path, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Read the (height, width) of an uploaded image from its header; return it, and the same scaled down to ``side``.

    Raises:
        UserError: the file is no image; the message does not name the folder.
    """
    with named_without_folder(path):
        size = image_size(path)
    return size, size_within(size, side)


@contextmanager
def named_without_folder(path: Path) -> Iterator[None]:
    """Name only the file in errors about an uploaded image."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
