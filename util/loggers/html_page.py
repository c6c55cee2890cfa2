"""The training page: latest values, curves and samples over time; it refreshes itself."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from torch import Tensor

from util.files import move_aside
from util.images import first_image, save_image
from util.pages import charts, image_rows, new_page, value_table, write_page
from util.words import counted

from .curves import Curves
from .json_lines import read_values
from .sink import SAMPLES, TRAINING, Sink, Warn, row_and_label

FRAME = re.compile(r"(.+)_(\d+)\.png")
FIXED = ("input", "truth")
"""Labels of a sample's images that do not change."""
SHARE = 0.01  # of the run's time, at most, for drawing curves


class HtmlSink(Sink):
    """``folder/index.html`` and the images of the samples.

    A sample has ``folder/images/samples/NAME/input.png``, perhaps ``truth.png``, and ``output_00000400.png`` and so on
    over time. ``folder/images/training/fake_B.png`` and so on are of the last step.

    Args:
        folder: where the page goes.
        title: the page's title.
        image_width: width of an image in pixels, where the window is wide enough.
        refresh_seconds: seconds between two refreshes of an open page, and between two updates of its values.
        update_every: images seen between two samples; samples that come sooner are skipped.
        resume_step: images seen up to the checkpoint that the run continues from; later samples leave the page.
            With 0 the run is new, and images of an earlier run are moved aside.
        log: file of `JsonLinesSink` from which a resumed run reads the curves so far.
        warn: shows a warning where matplotlib is not installed and there are no curves.

    Raises:
        ImportError: ``dominate`` is not installed.
    """

    tries_again = True

    def __init__(
        self, folder: Path, title: str, *, image_width: int = 256, refresh_seconds: int = 30,
        update_every: int = 1, resume_step: int = 0, log: Path | None = None, warn: Warn = lambda text: None,
    ) -> None:
        self.folder, self.title, self.image_width = folder, title, image_width
        self.refresh_seconds, self.update_every = refresh_seconds, update_every
        self._warn, self._step = warn, resume_step
        self._latest: dict[str, float] = {}
        self._curves: Curves | None = Curves()
        self._charts: list[str] = []
        self._next_drawing = 0.0
        if resume_step == 0:
            move_aside(folder / "images")
        else:
            for step, values in read_values(log, resume_step) if log else ():
                self._latest |= values
                self._curves.add(step, values)
        self._images = folder / "images"
        self._frames = frames_until(self._images / SAMPLES, resume_step)
        self._shown = max((step for labels in self._frames.values() for steps in labels.values() for step in steps),
                          default=0)
        self._write(refresh_seconds)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values, and write the page if it is older than ``refresh_seconds``."""
        self._step = step
        self._latest |= values
        if self._curves is not None:
            self._curves.add(step, values)
        if time.monotonic() - self._written >= self.refresh_seconds:
            self._write(self.refresh_seconds)

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Save the images, and write the page, unless the last ones are too recent."""
        if self._shown and step - self._shown < self.update_every:
            return
        self._shown = step
        for name, image in images.items():
            row, label = row_and_label(name)
            path = self._images / row / f"{quote(label, safe='')}.png"
            if row != TRAINING and label not in FIXED:
                path = path.with_name(f"{path.stem}_{step:08d}.png")
                steps = self._frames.setdefault(path.parent.name, {}).setdefault(label, [])
                steps += [step] if step not in steps else []
            save_image(first_image(image), path)
        self._write(self.refresh_seconds)

    def close(self) -> None:
        """Write the page a last time, without refreshing."""
        self._next_drawing = 0.0
        self._write(0)

    def _draw(self) -> None:
        """Draw the curves, if enough time has passed."""
        start = time.monotonic()
        if self._curves is None or start < self._next_drawing:
            return
        try:
            self._charts = self._curves.charts()
        except ImportError:
            self._curves = None
            self._warn("no curves on the web page: the package matplotlib is not installed (pip install matplotlib)")
        end = time.monotonic()
        self._next_drawing = end + max(self.refresh_seconds, (end - start) / SHARE)

    def _write(self, refresh_seconds: int) -> None:
        self._draw()
        note = f"Newest first; every sample is in {self.folder.name}/images."
        page = new_page(self.title, note, image_width=self.image_width, refresh_seconds=refresh_seconds)
        if self._latest:
            page.add(value_table(f"Latest values, after {counted(self._step, 'image')}", self._latest))
        if self._charts:
            page.add(charts("Curves", self._charts))
        for sample, labels in self._frames.items():
            page.add(image_rows(sample, {
                label: f"images/{SAMPLES}/{sample}/{quote(label, safe='')}_{max(steps):08d}.png"
                for label, steps in labels.items()}))
        write_page(page, self.folder / "index.html")
        self._written = time.monotonic()


def frames_until(folder: Path, last_step: int) -> dict[str, dict[str, list[int]]]:
    """Find the images of each sample in ``folder`` up to ``last_step``: name to label to steps, in order."""
    frames: dict[str, dict[str, list[int]]] = {}
    for path in sorted(folder.glob("*/*.png")):
        match = FRAME.fullmatch(path.name)
        if match and int(match[2]) <= last_step:
            frames.setdefault(path.parent.name, {}).setdefault(unquote(match[1]), []).append(int(match[2]))
    return frames
