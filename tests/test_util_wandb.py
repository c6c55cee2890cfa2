"""Weights & Biases offline: its files are read back."""

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
from cli import TINY, run_process
from PIL import Image
from tiny import save_folders, train_options

from train import train
from util.loggers import registry
from util.loggers.sink import Guarded
from util.loggers.wandb_run import open_wandb, run_id

pytest.importorskip("wandb")
BLOCK = 32768


@pytest.fixture(autouse=True)
def _private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's own account, and nothing in the home folder."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def chunks(content: bytes) -> Iterator[bytes]:
    """The records of a file in the log format of LevelDB, which may be cut into fragments."""
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
    """What an offline run's file holds."""

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
    """All runs below a training's folder, as soon as wandb's own process has written them to their ends."""
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
             "--display_freq 2")
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
    for label in ("samples/fake_B", "similarity/real_A_similarity", "similarity/fake_B_similarity"):
        assert [picture.shape for picture in first.pictures(label)] == [(16, 16, 3)]
    out, err = capfd.readouterr()
    assert "warning" not in out
    assert err == ""


def test_nothing_is_advertised_beside_packages_that_wandb_would_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "groq", ModuleType("groq"))
    monkeypatch.delenv("WANDB_DISABLE_WEAVE", raising=False)
    sink = open_wandb(tmp_path, "t", project="p", mode="offline", config={}, resume_step=0, warn=pytest.fail)
    assert sink is not None
    sink.close()
    assert capfd.readouterr() == ("", "")


def test_numbers_that_are_none_and_single_images_do_no_harm(tmp_path: Path) -> None:
    sink = open_wandb(tmp_path, "t", project="p", mode="offline", config={}, resume_step=0, warn=pytest.fail)
    assert sink is not None
    sink.scalars(1, {"G": float("nan")})
    sink.scalars(2, {"G": 0.5})
    sink.images(2, {"red": torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 2, 4)})
    sink.close()
    (run,) = runs(tmp_path)
    assert run.curve("losses/G")[-1] == (2, 0.5)
    assert (run.pictures("samples/red")[0] == (255, 0, 0)).all()


def test_the_mode_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    root = save_folders(tmp_path)
    outcome = run_process("train.py", "--dataroot", root, "--checkpoints_dir", tmp_path, "--name", "run", *TINY,
                          "--loggers", "terminal,wandb")
    assert (outcome.code, outcome.err) == (0, "")
    assert [run.project for run in runs(tmp_path / "run")] == ["spatially-correlative"]


def test_without_the_server_the_training_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("util.loggers.wandb_run.SECONDS", 2)
    root = save_folders(tmp_path)
    train(train_options(root, "--name run --loggers terminal,wandb --wandb_mode online --max_iters 1"))
    out = capsys.readouterr().out
    assert out.count("warning: the logger wandb cannot run (") == 1
    assert "done: 1 image seen" in out


def test_a_service_that_dies_in_mid_run_is_mentioned_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    sink = open_wandb(tmp_path, "t", project="p", mode="offline", config={}, resume_step=0, warn=warnings.append)
    assert sink is not None
    guarded = Guarded(sink, "wandb", warnings.append)
    guarded.scalars(1, {"G": 1.0})
    sink._run.finish()  # what is sent after it is refused, as after the end of wandb's own process
    for step in (2, 3):
        guarded.scalars(step, {"G": 1.0})
    guarded.close()
    assert len(warnings) == 1
    assert warnings[0].startswith("the logger wandb has failed (")


def test_a_new_run_has_a_new_id_and_a_resumed_one_the_old(tmp_path: Path) -> None:
    path = tmp_path / "id.txt"
    first = run_id(path, new=False)
    assert run_id(path, new=False) == first
    assert run_id(path, new=True) != first
    assert set(registry.OPENERS) >= {"wandb"}
