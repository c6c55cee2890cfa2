"""``--cache`` and ``--augment_on``, from the command line to the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import save_folders, train_options

from options import LoadingFlags
from train import train


def weights(root: Path, flags: str) -> dict[str, torch.Tensor]:
    train(train_options(root, f"--name run --seed 1 --no_html --max_iters 3 --learned_attn --augment {flags}"))
    return torch.load(root / "checkpoints/run/latest_net_G.pth", weights_only=True)


def test_the_cache_and_the_place_of_the_jitter_do_not_change_a_bit_of_the_result(tmp_path, capsys):
    root = save_folders(tmp_path)
    plain = weights(root, "")
    other = weights(root, "--cache ram --augment_on device --num_threads 1")
    assert all(torch.equal(other[name], value) for name, value in plain.items())
    assert "8/8" in capsys.readouterr().out, "the cache reports its progress"


@pytest.mark.parametrize(("where", "device", "by_workers"), [
    ("auto", "cpu", True), ("auto", "cuda", False), ("auto", "mps", False),
    ("workers", "cuda", True), ("device", "cpu", False),
])
def test_augment_on_says_who_finishes_the_batches(where, device, by_workers):
    assert LoadingFlags(augment_on=where).finished_by_workers(device) == by_workers
