"""Broken checkpoint files: each loads or is one sentence."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from util.errors import UserError
from util.state_dicts import load_networks, network_path


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3))


def written(content: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


GOOD = written(network().state_dict())


class Evil:
    """Would end the process if it were unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return os._exit, (77,)


def cut(chance: random.Random) -> bytes:
    return GOOD[:chance.randrange(len(GOOD))]


def flip(chance: random.Random) -> bytes:
    broken = bytearray(GOOD)
    for _ in range(chance.choice((1, 3, 30, 300))):
        broken[chance.randrange(len(broken))] ^= chance.randrange(1, 256)
    return bytes(broken)


def noise(chance: random.Random) -> bytes:
    start = chance.choice((b"", b"PK\x03\x04", b"\x80\x02", GOOD[:40]))
    return start + chance.randbytes(chance.choice((0, 1, 40, 4000)))


def foreign_pickle(chance: random.Random) -> bytes:
    """Write pickles that are no checkpoint, some of which would run something."""
    content = chance.choice((
        Evil(), {"model": Evil()}, [Evil()], datetime.now(tz=timezone.utc), np.zeros(3), Path("x"), {1, 2}, None, 3,
        "x", {"a": 1}, [{}], nn.Linear, random.Random(), {"0.weight": Evil()}))
    return chance.choice((lambda: pickle.dumps(content, protocol=chance.randrange(6)), lambda: written(content)))()


def rezipped(chance: random.Random) -> bytes:
    """Write the good file, one member of which is missing, empty, noise, or under another name."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(file, "w") as new:
        victim = chance.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            way = chance.randrange(4)
            if name == victim and way == 0:
                continue
            if name == victim:
                content = (b"", chance.randbytes(len(content)), content)[way - 1]
                new.writestr("../evil" if way == 3 else name, content)
            else:
                new.writestr(name, content)
    return file.getvalue()


def odd_values(chance: random.Random) -> bytes:
    """Write state dicts whose values are not what they should be."""
    state: dict[Any, Any] = dict(network().state_dict())
    key = chance.choice(list(state))
    value: Tensor = state[key].float()
    changes: tuple[Callable[[], Any], ...] = (
        lambda: state.pop(key), lambda: state.update({key: None}), lambda: state.update({key: "text"}),
        lambda: state.update({key: value.tolist()}), lambda: state.update({key: value.reshape(-1)[:1]}),
        lambda: state.update({key: value.to(torch.complex64)}), lambda: state.update({key: value.to_sparse()}),
        lambda: state.update({key: value.to("meta")}), lambda: state.update({key: value.to(torch.bool)}),
        lambda: state.update({key: value.half()}), lambda: state.update({key: value.to(torch.float8_e4m3fn)}),
        lambda: state.update({7: value}), lambda: state.update({"": value}), lambda: state.update({"a.b.c": {}}),
        lambda: state.update({key: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)}),
        lambda: state.update({key: torch.nested.nested_tensor([value, value])}),
        lambda: state.update({key: torch.empty(0)}), lambda: state.update({key: nn.Parameter(value)}),
    )
    chance.choice(changes)()
    return written(chance.choice((dict, OrderedDict))(state))


def other_layout(chance: random.Random) -> bytes:
    """Write the network as older versions and other projects did."""
    state = network().state_dict()
    return chance.choice((
        lambda: written(state, _use_new_zipfile_serialization=False),
        lambda: written(state, _use_new_zipfile_serialization=False)[:-chance.randrange(1, 500)],
        lambda: written({"state_dict": state, "epoch": 3}), lambda: written({"netG": state}),
        lambda: written({f"module.{name}": value for name, value in state.items()}),
        lambda: written(list(state.values())), lambda: written(network()), lambda: written({}),
        lambda: written(state, pickle_protocol=4),
    ))()


DAMAGES = (cut, flip, noise, foreign_pickle, rezipped, odd_values, other_layout)


@pytest.mark.filterwarnings("ignore")  # torch's, about deprecated kinds of tensors
@pytest.mark.parametrize(("seed", "count"), [(0, 70), pytest.param(1, 500, marks=pytest.mark.slow)])
def test_a_broken_checkpoint_loads_or_is_one_sentence(seed: int, count: int, tmp_path: Path) -> None:
    chance, refused = random.Random(seed), 0
    folder = tmp_path / "run"
    folder.mkdir()
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        path = network_path(folder, "latest", "G")
        path.write_bytes(damage(chance))
        mine = network()
        try:
            load_networks(folder, "latest", {"G": mine})
        except UserError as error:
            sentence = " ".join(str(error).split())
            assert sentence.startswith(str(path)), damage.__name__
            refused += 1
        except BaseException as error:
            pytest.fail(f"{type(error).__name__}: {error} (seed {seed}, number {number}, {damage.__name__})")
        else:
            shapes = [value.shape for value in mine.state_dict().values()]
            assert shapes == [value.shape for value in network().state_dict().values()]
            assert {value.dtype for value in mine.parameters()} == {torch.float32}
            mine(torch.zeros(1, 3, 8, 8))
    assert refused > count // 2
    assert [file.name for file in folder.iterdir()] == ["latest_net_G.pth"], "nothing was written"
    assert not (tmp_path / "evil").exists()
