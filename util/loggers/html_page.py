"""The training page: latest values, curves and samples over time; it refreshes itself."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from torch import Tensor

from util.files import move_aside
from util.images import image_size
from util.pages import fill_page
from util.picture_files import first_image, save_image
from util.starts import local_time, read_starts
from util.terminal import format_seconds
from util.words import counted

from .curves import Curves
from .json_lines import LOG, read_values
from .sink import SAMPLES, TOGETHER, TRAINING, LoggedRun, Sink, Warn, group_of, row_and_label

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
    """``web/index.html`` and the images of the samples.

    A sample has ``web/images/samples/NAME/input.png``, perhaps ``truth.png``, and ``output_00000400.png`` and so on
    over time. ``web/images/training/fake_B.png`` and so on are of the last step.

    Of a resumed run, samples after its checkpoint leave the page, and the curves so far are read from the log of
    `JsonLinesSink`. Images of an earlier run are moved aside if the run is new.

    Args:
        run: the training.
        warn: shows a warning where matplotlib is not installed and there are no curves.

    Attributes:
        refresh_seconds: seconds between two refreshes of an open page, and between two updates of its values.
    """

    tries_again = True
    refresh_seconds = 30

    def __init__(self, run: LoggedRun, warn: Warn) -> None:
        self.run, self.folder = run, run.folder / "web"
        starts = read_starts(run.folder)
        self._command = starts[-1]["command"] if starts else ""
        started = {name: local_time(starts[place]) for name, place in (("started", 0), ("resumed", -1))
                   if len(starts) > -place}
        self._facts = {**started, **run.facts}
        self._warn, self._step = warn, run.seen
        self._start, self._status = time.monotonic(), "running"
        self._saved: set[Path] = set()  # images that do not change
        self._latest: dict[str, float] = {}
        self._curves: Curves | None = Curves()
        self._charts: dict[str, str] = {}
        self._next_drawing = 0.0
        self._images = self.folder / "images"
        if run.seen == 0:
            move_aside(self._images)
        else:
            for step, values in read_values(run.folder / LOG, run.seen):
                self._latest |= values
                self._curves.add(step, values)
        self._frames = frames_until(self._images / SAMPLES, run.seen)
        self._last_step = [file.stem for file in sorted((self._images / TRAINING).glob("*.png"))]
        self._shown = max((step for labels in self._frames.values() for steps in labels.values() for step in steps),
                          default=0)
        self._write(self.refresh_seconds)

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
        if self._shown and step - self._shown < self.run.flags["update_html_freq"]:
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
            self.folder / "index.html", "training.html", "training", [self.run.folder],
            title=self.run.name, note="Training", refresh=refresh_seconds,
            written=now.timestamp(), written_text=f"{now:%Y-%m-%d %H:%M %Z}", status=self._status, seen=self._step,
            total=max(self.run.total, self._step), facts={**self._progress(), **self._facts}, command=self._command,
            flags=self.run.changed, image_width=self.run.flags["display_winsize"], steps=steps,
            flags_text=f"{counted(len(self.run.changed), 'flag')} with other values than their defaults",
            samples={name: [*self._figures(name)] for name in self._frames},
            strips={name: [*self._strip(name)] for name in self._frames},
            last_step=[self._figure(unquote(stem), f"{TRAINING}/{stem}.png") for stem in self._last_step],
            epoch=self.run.epoch, seen_at=partial(seen_at, epoch=self.run.epoch),
            seen_text=counted(self._step, "image"), main_values=values[True], more_values=values[False],
            main_charts=drawn[True], more_charts=drawn[False])
        self._written = time.monotonic()

    def _progress(self) -> dict[str, str]:
        """Return the images seen and the time left at the pace since the start of this process."""
        total, done = self.run.total, self._step - self.run.seen
        facts = {"images seen": f"{self._step:,} of {total:,}"}
        if epoch := self.run.epoch:
            facts["epochs"] = f"{decimal(self._step / epoch)} of {decimal(total / epoch)}"
        if done and self._status == "running":
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
