"""``python -m experiments.heads`` trains heads that ``evaluate.py structure`` can measure with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import save_noise

from evaluation.trained_heads import load_heads
from experiments.heads import main, train_heads
from util.errors import UserError


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    for index in range(3):
        save_noise(tmp_path / "A" / f"{index}.png", index, (32, 32))
        save_noise(tmp_path / "B" / f"{index}.png", 10 + index, (32, 32))
    return ["--sources", str(tmp_path / "A"), "--aligned", str(tmp_path / "B"), "--out", str(tmp_path / "heads")]


@pytest.mark.slow
@pytest.mark.parametrize("positive", ["true", "jitter"])
def test_heads_learn_and_are_read_back(tmp_path: Path, flags: list[str], positive: str) -> None:
    main([*flags, "--positive", positive, "--updates", "2"])
    heads = load_heads(tmp_path / "heads")
    assert heads.layers == ("relu3_1", "relu4_1")
    files = [[tmp_path / name / f"{index}.png" for index in range(3)] for name in "AB"]
    untrained, trained = (train_heads(*files, positive=positive, updates=updates).heads for updates in (0, 2))
    for read, before, after in zip(heads.modules.parameters(), untrained.parameters(), trained.parameters(),
                                   strict=True):
        torch.testing.assert_close(read, after)
        assert not torch.equal(read, before)


def test_too_few_pairs_are_refused(flags: list[str]) -> None:
    with pytest.raises(UserError, match="--skip 2 leaves less than two of 3"):
        main([*flags, "--skip", "2"])
