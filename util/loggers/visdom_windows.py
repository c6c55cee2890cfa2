"""Curves and sample images in the windows of a running visdom server."""

import importlib
import json
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt
from torch import Tensor

from util.picture_files import first_image, to_uint8
from util.words import counted

from .sink import LoggedRun, Sink, chart_of, row_and_label, rows_of, short

TIMEOUT = (3.0, 10.0)  # seconds to connect and to answer: a server that hangs must not stop a training
GAP = 4  # pixels between the images of a grid


class VisdomSink(Sink):
    """Losses in window ``--display_id``, and images in the following windows.

    Other curves are in windows named after the first one and their chart: ``1 lr``, ``1 data_wait``. Curves of a
    resumed run are cut at its checkpoint; those of a new run replace those of an earlier one.

    Raises:
        ImportError: visdom is not installed.
        ConnectionError: the server does not answer; so do all methods.
    """

    def __init__(self, run: LoggedRun) -> None:
        self._client = connect(*(run.flags[f"display_{name}"] for name in ("server", "port", "env")))
        self.title, self.display_id, self.resume_step = run.name, max(run.flags["display_id"] or 1, 1), run.seen
        self.ncols, self.win_size = run.flags["display_ncols"], run.flags["display_winsize"]
        self._windows: set[str] = set()  # whose curves of earlier processes have been cut
        self._open("losses")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append a point to each curve; a value that is not finite leaves a gap."""
        for name, value in values.items():
            chart = chart_of(name)
            options = {"title": f"{self.title}: {chart}", "xlabel": "images", "showlegend": True}
            self._client.line(
                X=np.array([step]), Y=np.array([value if math.isfinite(value) else math.nan]), name=short(name),
                win=self._open(chart), update="append", opts=options,
            )

    def _open(self, chart: str) -> str:
        """Return the window of a chart; cut its curves the first time."""
        window = str(self.display_id) if chart == "losses" else f"{self.display_id} {chart}"
        if window not in self._windows:
            self._windows.add(window)
            self._cut_curves(window, self.resume_step)
        return window

    def _cut_curves(self, window: str, last_step: int) -> None:
        client = self._client
        if not client.win_exists(window):
            return
        pane = json.loads(client.get_window_data(win=window))
        curves = pane["content"]["data"] if pane["type"] == "plot" else []
        if last_step == 0 or not any(step <= last_step for curve in curves for step in curve["x"]):
            client.close(win=window)  # the server cannot append to a plot without any curve
            return
        for curve in curves:
            steps, values = np.array(curve["x"]), np.array(curve["y"], dtype=float)  # null becomes NaN
            kept = steps <= last_step
            if not kept.any():
                client.line(X=None, Y=None, win=window, name=curve["name"], update="remove")
            elif not kept.all():
                client.line(X=steps[kept], Y=values[kept], win=window, name=curve["name"], update="replace")

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Show the images in the place of the last ones."""
        pictures = {name: to_uint8(first_image(image)) for name, image in images.items()}
        if self.ncols == 0:
            windows = {name: [[name]] for name in pictures}
        else:
            groups = rows_of(pictures)
            caption = "; ".join(f"{group}: {', '.join(row_and_label(name)[1] for name in row)}"
                                for group, row in groups.items())
            windows = {caption: [row[at : at + self.ncols] for row in groups.values()
                                 for at in range(0, len(row), self.ncols)]}
        for number, (caption, rows) in enumerate(windows.items(), start=self.display_id + 1):
            grid = image_grid([[pictures[label] for label in row] for row in rows])
            width = self.win_size * max(map(len, rows))
            options = {
                "title": f"{self.title}: {caption}", "caption": f"after {counted(step, 'image')}: {caption}",
                "width": width, "height": round(width * grid.shape[1] / grid.shape[2]),
            }
            self._client.image(grid, win=str(number), opts=options)


def image_grid(rows: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    """Put rows of pictures, [H, W] or [H, W, 3] of any sizes, on white: [3, H, W]."""
    height = max(picture.shape[0] for row in rows for picture in row) + GAP
    width = max(picture.shape[1] for row in rows for picture in row) + GAP
    grid = np.full((len(rows) * height - GAP, max(map(len, rows)) * width - GAP, 3), 255, dtype=np.uint8)
    for number, row in enumerate(rows):
        for place, picture in enumerate(row):
            y, x = number * height, place * width
            colour = picture if picture.ndim == 3 else picture[:, :, None]
            grid[y : y + picture.shape[0], x : x + picture.shape[1]] = colour
    channels_first: npt.NDArray[np.uint8] = grid.transpose(2, 0, 1)
    return channels_first


def connect(server: str, port: int, env: str) -> Any:
    """Return a quiet client of a visdom server.

    Args:
        server: the server's address without the port, for instance ``http://localhost``.
        port: its port.
        env: the visdom environment of the windows.

    Raises:
        ImportError: visdom is not installed.
        ConnectionError: no visdom server answers in time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # visdom's own, about its imports
        visdom: Any = importlib.import_module("visdom")  # optional
    logging.getLogger("visdom").setLevel(logging.CRITICAL)
    try:
        host = urlparse(server if "://" in server else f"http://{server}").hostname or ""
    except ValueError:
        host = ""

    class Client(visdom.Visdom):  # type: ignore[misc]
        """Visdom's client with a time limit, without prints, and with errors for refusals."""

        def _handle_post(self, url: str, data: str | None = None) -> str:
            if host in ("localhost", "127.0.0.1", "::1"):
                self.session.trust_env = False  # a web proxy cannot reach this machine's ports
            response = self.session.post(url, data=data, timeout=TIMEOUT)
            response.raise_for_status()
            return str(response.text)

        def win_exists(self, win: str, env: str | None = None) -> bool:
            answer = self._win_exists_wrap(win, env)
            if answer not in ("true", "false"):
                raise ConnectionError("what answers is not a visdom server")
            return bool(answer == "true")

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its logger
            client = Client(server=server, port=port, env=env, raise_exceptions=True, use_incoming_socket=False)
        client.win_exists("")
    except (ConnectionError, ValueError) as error:  # requests reports an address that is none as ValueError
        raise ConnectionError(
            f"no visdom server answers at {server}:{port}; to start one: visdom -port {port}") from error
    return client
