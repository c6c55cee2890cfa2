"""Curves and sample images in the browser, by a visdom server that the user started."""

from __future__ import annotations

import importlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt
from torch import Tensor

from util.images import first_image, to_uint8
from util.words import counted

from .sink import Sink, Warn, chart_of, in_groups, short

TIMEOUT = (3.0, 10.0)  # seconds to connect and to answer: a server that hangs must not hold up a training run
GAP = 4  # pixels between the images of a grid


class VisdomSink(Sink):
    """Losses in window ``display_id``, images in the windows after it.

    Other curves are in windows named after the first one and what they show: ``1 lr``, ``1 data_wait``.

    When the server stops answering, the sink warns once and sends nothing more.

    Args:
        client: a ``visdom.Visdom`` that raises ``ConnectionError`` (see `open_visdom`).
        title: goes before the windows' titles.
        display_id: number of the first window.
        ncols: images in a row of the grid; 0: one window an image.
        win_size: width of an image in pixels.
        resume_step: images seen up to the checkpoint that the run goes on from: its curves are cut there.
            With 0 the run is new and its curves replace those of an earlier one.
        warn: takes the warning.
    """

    def __init__(
        self, client: Any, title: str, *, display_id: int, ncols: int, win_size: int, resume_step: int,
        warn: Warn,
    ) -> None:
        self._client = client
        self.title = title
        self.display_id = display_id
        self.ncols = ncols
        self.win_size = win_size
        self._warn = warn
        self.resume_step = resume_step
        self._windows: set[str] = set()  # whose curves of earlier processes have been cut
        self._try(lambda client: self._open(client, "losses"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append a point to each curve; a value that is not finite leaves a gap."""
        self._try(lambda client: self._append(client, step, values))

    def images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Show the images instead of the last ones."""
        pictures = {label: to_uint8(first_image(image)) for label, image in images.items()}
        self._try(lambda client: self._show(client, step, pictures))

    def close(self) -> None:
        """Stop sending; the windows stay."""
        self._client = None

    def _try(self, send: Callable[[Any], object]) -> None:
        if self._client is None:
            return
        try:
            send(self._client)
        except ConnectionError:
            self._client = None
            self._warn("the visdom server stopped answering; the run goes on without it")

    def _append(self, client: Any, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            chart = chart_of(name)
            options = {"title": f"{self.title}: {chart}", "xlabel": "images", "showlegend": True}
            client.line(
                X=np.array([step]), Y=np.array([value if math.isfinite(value) else math.nan]), name=short(name),
                win=self._open(client, chart), update="append", opts=options,
            )

    def _open(self, client: Any, chart: str) -> str:
        """The window of a chart; when it is first asked for, its curves are cut."""
        window = str(self.display_id) if chart == "losses" else f"{self.display_id} {chart}"
        if window not in self._windows:
            self._windows.add(window)
            self._cut_curves(client, window, self.resume_step)
        return window

    def _cut_curves(self, client: Any, window: str, last_step: int) -> None:
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

    def _show(self, client: Any, step: int, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        if self.ncols == 0:
            windows = {label: [[label]] for label in pictures}
        else:
            windows = {", ".join(pictures): [
                group[at : at + self.ncols]
                for group in in_groups(pictures) for at in range(0, len(group), self.ncols)]}
        for number, (caption, rows) in enumerate(windows.items(), start=self.display_id + 1):
            grid = image_grid([[pictures[label] for label in row] for row in rows])
            width = self.win_size * max(map(len, rows))
            options = {
                "title": f"{self.title}: {caption}", "caption": f"after {counted(step, 'image')}: {caption}",
                "width": width, "height": round(width * grid.shape[1] / grid.shape[2]),
            }
            client.image(grid, win=str(number), opts=options)


def image_grid(rows: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    """Rows of pictures, [H, W] or [H, W, 3] of any sizes, on white: [3, H, W]."""
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


def open_visdom(
    server: str, port: int, env: str, title: str, *, display_id: int, ncols: int, win_size: int,
    resume_step: int, warn: Warn,
) -> VisdomSink | None:
    """A `VisdomSink`, or a warning and ``None`` where visdom is not installed or no server answers.

    Args:
        server: the server's address without the port, for instance ``http://localhost``.
        port: its port.
        env: the visdom environment that the windows belong to.
        title, display_id, ncols, win_size, resume_step, warn: see `VisdomSink`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # visdom's own, about its imports and its logger
            client = _connect(server, port, env)
    except ImportError:
        warn("--display_id: the package visdom is not installed (docs/troubleshooting.md says how); going on without "
             "it")
        return None
    except ConnectionError:
        warn(
            f"--display_id: no visdom server answers at {server}:{port}; going on without it (to start one: "
            f"visdom -port {port})"
        )
        return None
    return VisdomSink(
        client, title, display_id=display_id, ncols=ncols, win_size=win_size, resume_step=resume_step,
        warn=warn,
    )


def _connect(server: str, port: int, env: str) -> Any:
    """A quiet client; ``ConnectionError`` where no visdom server answers in time."""
    visdom: Any = importlib.import_module("visdom")  # optional
    logging.getLogger("visdom").setLevel(logging.CRITICAL)
    try:
        host = urlparse(server if "://" in server else f"http://{server}").hostname or ""
    except ValueError as error:
        raise ConnectionError(f"{server} is no address") from error

    class Client(visdom.Visdom):  # type: ignore[misc]
        """Visdom's client sets no time limit, prints where it cannot connect, and ignores refusals."""

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

    client = Client(server=server, port=port, env=env, raise_exceptions=True, use_incoming_socket=False)
    client.win_exists("")
    return client
