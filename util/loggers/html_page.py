"""The training page: latest values, curves and samples over time; it refreshes itself."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from torch import Tensor

from util.files import move_aside
from util.images import image_size
from util.pages import fill_page
from util.picture_files import first_image, save_image
from util.terminal import format_seconds
from util.words import counted

from .curves import Curves
from .json_lines import read_values
from .sink import SAMPLES, TOGETHER, TRAINING, Sink, Warn, group_of, row_and_label

FRAME = re.compile(r"(.+)_(\d+)\.png")
FIXED = ("input", "truth")
"""Labels of a sample's images that do not change."""
ORDER = ("input", "output", "truth", "input_similarity", "output_similarity")
"""Labels from left to right; others follow."""
FIRST = ("losses", "scores")
"""Groups of values that the page shows first; the others are folded."""
STRIP = 8  # pictures of a sample over time, below it
SHARE = 0.01  # of the run's time, at most, for drawing curves


@dataclass(frozen=True)
class About:
    """Facts about a training that its page shows beside the values."""

    total: int = 0
    """Images seen at its end; 0: unknown."""
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """By name, such as the data and the device."""
    flags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value and default of the flags that differ from their defaults."""
    run: Path | None = None
    """Folder of the experiment, whose other pages are linked."""
    epoch: int = 0
    """Images of an epoch; 0: unknown."""


@dataclass(frozen=True)
class Figure:
    """A picture of the page, or a series of pictures over time of which the last one is shown at first."""

    label: str
    file: str
    """Relative to the page, unquoted."""
    width: int
    height: int
    steps: Sequence[int] = ()
    """Images seen, of a series."""
    start: str = ""
    """The files of a series without their steps of eight digits and suffix."""
    step: int = 0


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
        about: what the page says of the training.
        warn: shows a warning where matplotlib is not installed and there are no curves.
    """

    tries_again = True

    def __init__(
        self, folder: Path, title: str, *, image_width: int = 256, refresh_seconds: int = 30,
        update_every: int = 1, resume_step: int = 0, log: Path | None = None, about: About | None = None,
        warn: Warn = lambda text: None,
    ) -> None:
        self.folder, self.title, self.image_width, self.about = folder, title, image_width, about or About()
        self.refresh_seconds, self.update_every = refresh_seconds, update_every
        self._warn, self._step, self._resumed = warn, resume_step, resume_step
        self._start, self._status = time.monotonic(), "running"
        self._saved: set[Path] = set()  # images that do not change
        self._latest: dict[str, float] = {}
        self._curves: Curves | None = Curves()
        self._charts: dict[str, str] = {}
        self._next_drawing = 0.0
        if resume_step == 0:
            move_aside(folder / "images")
        else:
            for step, values in read_values(log, resume_step) if log else ():
                self._latest |= values
                self._curves.add(step, values)
        self._images = folder / "images"
        self._frames = frames_until(self._images / SAMPLES, resume_step)
        self._last_step = [file.stem for file in sorted((self._images / TRAINING).glob("*.png"))]
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
        self._step = self._shown = step
        self._last_step = [quote(label, safe="") for row, label in map(row_and_label, images) if row == TRAINING]
        for name, image in images.items():
            row, label = row_and_label(name)
            path = self._images / row / f"{quote(label, safe='')}.png"
            if path in self._saved:
                continue
            if row != TRAINING and label in FIXED:
                self._saved.add(path)
            elif row != TRAINING:
                path = path.with_name(f"{path.stem}_{step:08d}.png")
                steps = self._frames.setdefault(row.removeprefix(f"{SAMPLES}/"), {}).setdefault(label, [])
                steps += [step] if step not in steps else []
            save_image(first_image(image), path)
        self._write(self.refresh_seconds)

    def ended(self, outcome: str) -> None:
        """Show the outcome in the place of ``running``."""
        self._status = outcome

    def close(self) -> None:
        """Write the page a last time, without refreshing."""
        self._next_drawing = 0.0
        self._write(0)

    def _draw(self) -> None:
        """Draw the curves, if enough time has passed."""
        if self._curves is None or not self._latest or time.monotonic() < self._next_drawing:
            return
        try:
            import matplotlib.figure  # noqa: F401, PLC0415 - optional, and slow only the first time

            start = time.monotonic()
            self._charts = self._curves.charts()
        except ImportError:
            self._curves = None
            self._warn("no curves on the web page: the package matplotlib is not installed (pip install matplotlib)")
            return
        end = time.monotonic()
        self._next_drawing = end + max(self.refresh_seconds, (end - start) / SHARE)

    def _write(self, refresh_seconds: int) -> None:
        self._draw()
        steps = sorted({step for labels in self._frames.values() for of in labels.values() for step in of})
        now = datetime.now().astimezone()
        values = {first: {name: value for name, value in self._latest.items() if (group_of(name) in FIRST) == first}
                  for first in (True, False)}
        drawn = {first: [svg for chart, svg in self._charts.items() if (group_of_chart(chart) in FIRST) == first]
                 for first in (True, False)}
        fill_page(
            self.folder / "index.html", "training.html", "training",
            [self.about.run] if self.about.run else [], title=self.title, note="Training", refresh=refresh_seconds,
            written=now.timestamp(), written_text=f"{now:%Y-%m-%d %H:%M %Z}", status=self._status, seen=self._step,
            total=max(self.about.total, self._step, 1), facts={**self._progress(), **self.about.facts},
            command=self.about.command, flags=self.about.flags, image_width=self.image_width, steps=steps,
            flags_text=f"{counted(len(self.about.flags), 'flag')} with other values than their defaults",
            samples={name: [*self._figures(name)] for name in self._frames},
            strips={name: [*self._strip(name)] for name in self._frames},
            last_step=[self._figure(unquote(stem), f"{TRAINING}/{stem}.png") for stem in self._last_step],
            epoch=self.about.epoch, seen_at=partial(seen_at, epoch=self.about.epoch),
            seen_text=counted(self._step, "image"), main_values=values[True], more_values=values[False],
            main_charts=drawn[True], more_charts=drawn[False])
        self._written = time.monotonic()

    def _progress(self) -> dict[str, str]:
        """Return the images seen and the time left at the pace since the start of this process."""
        total, done = self.about.total, self._step - self._resumed
        facts = {"images seen": f"{self._step:,} of {total:,}" if total else f"{self._step:,}"}
        if (epoch := self.about.epoch) and total:
            facts["epochs"] = f"{decimal(self._step / epoch)} of {decimal(total / epoch)}"
        if done and total and self._status == "running":
            left = (total - self._step) / done * (time.monotonic() - self._start)
            facts["time left"] = format_seconds(max(left, 0))
        return facts

    def _figures(self, sample: str) -> Iterable[Figure]:
        """Return the input, the pictures over time and the truth of a sample, each after the one before it."""
        series = self._frames[sample]
        for label in sorted({*FIXED, *series}, key=lambda of: ORDER.index(of) if of in ORDER else len(ORDER)):
            if label in series:
                yield self._frame(sample, label, series[label][-1], series[label])
            elif (self._images / SAMPLES / sample / f"{label}.png").is_file():
                yield self._figure(label, f"{SAMPLES}/{sample}/{label}.png")

    def _strip(self, sample: str) -> Iterable[Figure]:
        """Return the outputs of a sample at steps that are evenly spread, the first and the last among them."""
        steps = self._frames[sample].get("output", [])
        places = {round(place * (len(steps) - 1) / (STRIP - 1)) for place in range(STRIP)} if steps else set()
        return (self._frame(sample, "output", steps[place]) for place in sorted(places))

    def _frame(self, sample: str, label: str, step: int, steps: Sequence[int] = ()) -> Figure:
        start = f"{SAMPLES}/{sample}/{quote(label, safe='')}_"
        return self._figure(label, f"{start}{step:08d}.png", steps, f"images/{start}", step)

    def _figure(self, label: str, file: str, steps: Sequence[int] = (), start: str = "", step: int = 0) -> Figure:
        height, width = image_size(self._images / file)
        return Figure(label.replace("_similarity", " similarity"), f"images/{file}", width, height, steps, start, step)


def seen_at(step: int, epoch: int) -> str:
    """Say how many images have been seen, and how many epochs that is if their length is known; as in training.js."""
    return f"{step:,} images seen" + (f", {decimal(step / epoch)} epochs" if epoch else "")


def decimal(number: float) -> str:
    """Format a number with at most two decimals: ``1,000``, ``0.5``."""
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def group_of_chart(chart: str) -> str:
    """Return the group of the values of a chart."""
    return chart if chart in TOGETHER else group_of(chart)


def frames_until(folder: Path, last_step: int) -> dict[str, dict[str, list[int]]]:
    """Find the images of each sample in ``folder`` up to ``last_step``: name to label to steps, in order."""
    frames: dict[str, dict[str, list[int]]] = {}
    for path in sorted(folder.rglob("*.png")):
        match = FRAME.fullmatch(path.name)
        if match and int(match[2]) <= last_step:
            name = path.parent.relative_to(folder).as_posix()
            frames.setdefault(name, {}).setdefault(unquote(match[1]), []).append(int(match[2]))
    return frames
