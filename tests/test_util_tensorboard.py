"""TensorBoard is asked what it has read: a real server on this machine."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_folders, train_options

from train import train
from util.loggers.tensorboard_events import TensorBoardSink

pytest.importorskip("tensorboard")
RUN = "."


class Server:
    """What a TensorBoard answers."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def get(self, path: str, **query: object) -> bytes:
        with self.open(f"{self.address}/data/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def json(self, path: str, **query: object) -> Any:
        return json.loads(self.get(path, **query))

    def curve(self, tag: str) -> list[tuple[int, float]]:
        return [(step, value) for _, step, value in self.json("plugin/scalars/scalars", run=RUN, tag=tag)]

    def image(self, tag: str) -> np.ndarray[Any, Any]:
        (newest,) = self.json("plugin/images/images", run=RUN, tag=tag, sample=0)[-1:]
        path, _, query = newest["query"].partition("?")
        content = self.get("plugin/images/individualImage", **dict(urllib.parse.parse_qsl(query or path)))
        return np.asarray(Image.open(io.BytesIO(content)))


def until(get: Callable[[], Any], expected: Callable[[Any], bool], seconds: float = 30) -> Any:
    """What ``get`` returns as soon as it is as expected; the server reads the files when it pleases."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = get()
        except OSError:
            value = None
        if (value is not None and expected(value)) or time.monotonic() > deadline:
            return value
        time.sleep(0.1)


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port",
               str(port), "--reload_interval", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                   env={**os.environ, "HOME": str(log.parent)})
    try:
        server = Server(port)
        assert until(lambda: server.json("runs"), lambda runs: RUN in runs) is not None, log.read_text()
        yield server
    finally:
        process.kill()
        process.wait()


def test_a_resumed_training_is_one_curve_for_each_value(tmp_path: Path) -> None:
    root = save_folders(tmp_path)
    folder = root / "checkpoints" / "run" / "tensorboard"
    flags = "--name run --seed 3 --loggers json,tensorboard --print_freq 1 --display_freq 2 --save_latest_freq 3"
    train(train_options(root, f"{flags} --max_iters 3"))
    lost = TensorBoardSink(folder, resume_step=3)  # a process that was killed after its last save
    for step in (4, 5, 6, 7, 8):
        lost.scalars(step, {"G": 99.0})
    lost.close()
    train(train_options(root, f"{flags} --max_iters 6 --continue_train"))
    log = [json.loads(line) for line in (folder.parent / "loss_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    with serving(folder, tmp_path / "log.txt") as server:
        curve = until(lambda: server.curve("losses/G"), lambda points: points and points[-1][0] == 6)
        assert [step for step, _ in curve] == [1, 2, 3, 4, 5, 6]
        assert [value for _, value in curve] == pytest.approx([line["G"] for line in log], rel=1e-5)
        tags = set(server.json("plugin/scalars/tags")[RUN])
        assert {"lr/G", "gradient/G", "gradient/D", "speed/images_per_second", "speed/data_wait"} <= tags
        for tag in ("lr/G", "gradient/D"):
            assert [value for _, value in server.curve(tag)] == pytest.approx([line[tag] for line in log], rel=1e-5)
        assert set(server.json("plugin/images/tags")[RUN]) == {
            "samples/real_A", "samples/fake_B", "samples/real_B",
            "similarity/real_A_similarity", "similarity/fake_B_similarity"}
        assert server.image("samples/fake_B").shape == (16, 16, 3)


def test_images_arrive_as_they_are_and_numbers_that_are_none_do_no_harm(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path / "run")
    sink.scalars(1, {"G": float("nan"), "metrics/FID": 12.5})
    sink.scalars(2, {"G": 0.5})
    sink.images(2, {"grey": torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3), "red": torch.tensor(
        [1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 2, 4)})
    sink.close()
    with serving(tmp_path / "run", tmp_path / "log.txt") as server:
        curve = until(lambda: server.curve("losses/G"), lambda points: len(points) == 2)
        assert curve[1] == (2, 0.5)
        assert server.curve("metrics/FID") == [(1, 12.5)]
        assert (server.image("samples/red") == (255, 0, 0)).all()
        assert server.image("samples/grey").squeeze().tolist() in ([0, 128, 255], [[0] * 3, [128] * 3, [255] * 3])


def test_a_new_run_moves_an_earlier_ones_events_aside(tmp_path: Path) -> None:
    for _ in range(2):
        sink = TensorBoardSink(tmp_path / "tensorboard")
        sink.scalars(1, {"G": 1.0})
        sink.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert len(list((tmp_path / "tensorboard.1").iterdir())) == 1
