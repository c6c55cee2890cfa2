"""TensorBoard's own reader reads the event files."""

from __future__ import annotations

import io
import json
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


class Events:
    """The events of a folder as TensorBoard shows them."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        self.read: Any = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()

    def curve(self, tag: str) -> list[tuple[int, float]]:
        return [(event.step, event.value) for event in self.read.Scalars(tag)]

    def image(self, tag: str) -> np.ndarray[Any, Any]:
        return np.asarray(Image.open(io.BytesIO(self.read.Images(tag)[-1].encoded_image_string)))


def test_a_resumed_training_is_one_curve_for_each_value(tmp_path: Path) -> None:
    root = save_folders(tmp_path)
    folder = root / "checkpoints" / "run" / "tensorboard"
    flags = "--name run --seed 3 --loggers json,tensorboard --print_freq 1 --display_freq 2 --save_latest_freq 3"
    flags += " --sample_images 2"
    train(train_options(root, f"{flags} --max_iters 3"))
    lost = TensorBoardSink(folder, resume_step=3)  # a process that was killed after its last save
    for step in (4, 5, 6, 7, 8):
        lost.scalars(step, {"G": 99.0})
    lost.close()
    train(train_options(root, f"{flags} --max_iters 6 --continue_train"))
    log = [json.loads(line) for line in (folder.parent / "loss_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    events = Events(folder)
    for tag, name in {"losses/G": "G", "lr/G": "lr/G", "gradient/D": "gradient/D", "speed/data_wait": "data_wait",
                      "speed/images_per_second": "speed/images_per_second"}.items():
        assert events.curve(tag) == [(line["step"], pytest.approx(line[name], rel=1e-5)) for line in log], tag
    assert set(events.read.Tags()["images"]) == {
        "training/real_A", "training/fake_B", "training/real_B",
        *(f"samples/{name}/{label}" for name in "02"
          for label in ("input", "output", "input_similarity", "output_similarity"))}
    assert [event.step for event in events.read.Images("samples/0/output")] == [0, 2, 3, 4, 6]
    assert events.image("samples/0/output").shape == (16, 16, 3)


def test_images_keep_their_pixels_and_nan_does_no_harm(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    sink.scalars(1, {"G": float("nan"), "metrics/FID": 12.5})
    sink.scalars(2, {"G": 0.5})
    sink.images(2, {"training/grey": torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3), "training/red": torch.tensor(
        [1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 2, 4)})
    sink.close()
    events = Events(tmp_path)
    assert events.curve("losses/G")[1] == (2, 0.5)
    assert events.curve("metrics/FID") == [(1, 12.5)]
    assert (events.image("training/red") == (255, 0, 0)).all()
    assert events.image("training/grey")[0, :, 0].tolist() == [0, 128, 255]


def test_a_new_run_moves_the_events_of_an_earlier_one_aside(tmp_path: Path) -> None:
    for _ in range(2):
        sink = TensorBoardSink(tmp_path / "tensorboard")
        sink.scalars(1, {"G": 1.0})
        sink.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert len(list((tmp_path / "tensorboard.1").iterdir())) == 1
