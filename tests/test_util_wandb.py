"""Weights & Biases: runs without a server, read from their files."""

from __future__ import annotations

import importlib
import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_folders, train_options

from train import train
from util.loggers.registry import open_loggers
from util.loggers.sink import LoggedRun
from util.loggers.wandb_run import WandbSink, run_id

pytest.importorskip("wandb")
BLOCK = 32768


@pytest.fixture(autouse=True)
def _private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's own account, and nothing in the home folder."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def chunks(content: bytes) -> Iterator[bytes]:
    """Return the records of a file in the log format of LevelDB, which may be cut into fragments."""
    if not content.startswith(b":W&B"):
        return  # not written yet
    at, parts = 7, []
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if kind == 0:
            break
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last fragment
            yield b"".join(parts)
            parts = []


class Run:
    """The content of an offline run's file."""

    def __init__(self, folder: Path) -> None:
        content = b"".join(path.read_bytes() for path in folder.glob("run-*.wandb"))
        protocol: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
        self.folder, self.rows, self.config = folder, list[dict[str, Any]](), dict[str, Any]()
        self.ended = False
        for chunk in chunks(content):
            record = protocol.Record()
            record.ParseFromString(chunk)
            kind = record.WhichOneof("record_type")
            self.ended |= kind == "exit"
            if kind == "run":
                self.id, self.project, self.name = record.run.run_id, record.run.project, record.run.display_name
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                self.rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json)
                                  for item in record.history.item})

    def curve(self, name: str) -> list[tuple[int, float]]:
        return [(row["_step"], row[name]) for row in self.rows if name in row]

    def pictures(self, name: str) -> list[np.ndarray[Any, Any]]:
        paths = [row[f"{name}/path"] for row in self.rows if f"{name}/path" in row]
        return [np.asarray(Image.open(self.folder / "files" / path)) for path in paths]


def runs(folder: Path) -> list[Run]:
    """Return all runs below a training's folder, as soon as wandb's own process has written them to their ends."""
    folders = sorted((folder / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime)
    deadline = time.monotonic() + 60
    while True:
        found = [Run(path) for path in folders]
        if all(run.ended for run in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_an_offline_training_can_be_read_back_and_goes_on_under_its_id(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = save_folders(tmp_path)
    flags = ("--name run --seed 3 --loggers json,wandb --wandb_mode offline --wandb_project_name zebras --print_freq 1 "
             "--display_freq 2 --sample_images 1")
    train(train_options(root, f"{flags} --max_iters 2"))
    train(train_options(root, f"{flags} --max_iters 4 --continue_train"))
    folder = root / "checkpoints" / "run"
    first, second = runs(folder)
    assert first.id == second.id == (folder / "wandb_id.txt").read_text().strip()
    assert (first.project, first.name, first.config["ngf"]) == ("zebras", "run", 2)
    log = [json.loads(line) for line in (folder / "loss_log.jsonl").read_text().splitlines()]
    for tag, name in (("losses/G", "G"), ("lr/G", "lr/G"), ("gradient/D", "gradient/D"),
                      ("speed/data_wait", "data_wait")):
        assert first.curve(tag) + second.curve(tag) == [(line["step"], line[name]) for line in log], tag
    for name, count in (("samples/1/output", 2), ("samples/1/input_similarity", 2), ("training/fake_B", 1)):
        assert [picture.shape for picture in first.pictures(name)] == [(16, 16, 3)] * count
    out, err = capfd.readouterr()
    assert "warning" not in out
    assert err == ""


def test_red_stays_red_nan_does_no_harm_and_nothing_is_advertised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "groq", ModuleType("groq"))  # beside it wandb advertises another package
    monkeypatch.delenv("WANDB_DISABLE_WEAVE", raising=False)
    sink = WandbSink(LoggedRun(tmp_path, "t", 10, 0, {"wandb_project_name": "p", "wandb_mode": "offline"}))
    sink.scalars(1, {"G": float("nan")})
    sink.scalars(2, {"G": 0.5})
    sink.images(2, {"training/red": torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 2, 4)})
    sink.close()
    (run,) = runs(tmp_path)
    assert run.curve("losses/G")[-1] == (2, 0.5)
    assert (run.pictures("training/red")[0] == (255, 0, 0)).all()
    assert capfd.readouterr() == ("", "")


def test_without_the_server_the_training_continues_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("util.loggers.wandb_run.SECONDS", 2)
    flags = train_options(tmp_path, "--wandb_mode online").as_dict()
    assert len(open_loggers(["terminal", "wandb"], LoggedRun(tmp_path / "run", "run", 10, 0, flags), [])) == 1
    assert capsys.readouterr().out.count("warning: the logger wandb cannot run: ") == 1


def test_a_new_run_has_a_new_id_and_a_resumed_one_the_old(tmp_path: Path) -> None:
    path = tmp_path / "id.txt"
    first = run_id(path, new=False)
    assert run_id(path, new=False) == first
    assert run_id(path, new=True) != first
