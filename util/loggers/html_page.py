"""The training page: latest values, curves and sample images, newest first; it refreshes itself."""

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
from .sink import Sink, Warn, in_groups

IMAGE_NAME = re.compile(r"step(\d+)_(.+)\.png")
ROWS = 100  # on the page; older images remain in the folder
SHARE = 0.01  # of the run's time, at most, for drawing curves


class HtmlSink(Sink):
    """``folder/index.html`` and ``folder/images/step00000400_fake_B.png``.

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
        self._order: list[str] = []
        if resume_step == 0:
            move_aside(folder / "images")
        else:
            self._order = _labels_on(folder / "index.html")
            for step, values in read_values(log, resume_step) if log else ():
                self._latest |= values
                self._curves.add(step, values)
        self._rows = _rows_until(folder / "images", resume_step)
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
        """Save the images and put them on top of the page, unless the last ones are too recent."""
        if self._rows and step - max(self._rows) < self.update_every:
            return
        for label, image in images.items():
            name = f"images/step{step:08d}_{quote(label, safe='')}.png"
            save_image(first_image(image), self.folder / name)
            self._rows.setdefault(step, {})[label] = name
        self._order = list(images)
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
        for step in sorted(self._rows, reverse=True)[:ROWS]:
            row = self._rows[step]
            labels = sorted(row, key=lambda label: (self._order.index(label) if label in self._order else len(row)))
            groups = ({label: row[label] for label in group} for group in in_groups(labels))
            page.add(image_rows(f"After {counted(step, 'image')}", *groups))
        write_page(page, self.folder / "index.html")
        self._written = time.monotonic()


def _rows_until(folder: Path, last_step: int) -> dict[int, dict[str, str]]:
    """Find the images up to ``last_step``: step to label to path relative to the page."""
    rows: dict[int, dict[str, str]] = {}
    for path in sorted(folder.glob("step*.png")):
        match = IMAGE_NAME.fullmatch(path.name)
        if match and int(match[1]) <= last_step:
            rows.setdefault(int(match[1]), {})[unquote(match[2])] = f"{folder.name}/{path.name}"
    return rows


def _labels_on(page: Path) -> list[str]:
    """Read the labels of images, in their order, from the page of an earlier process."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    # File names are quoted labels, and addresses are quoted file names.
    return list(dict.fromkeys(unquote(unquote(label)) for label in re.findall(r'images/step\d+_([^"/]+)\.png', text)))
