"""``python -m experiments.head_settings``: heads trained in several ways, and what their maps tell apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli import ROOT
from tiny import save_noise

from experiments import head_settings
from experiments.head_features import Features, recolour
from experiments.head_settings import LOSSES, SETTINGS, Setting, build, main, train


@pytest.fixture
def features(tmp_path: Path) -> Features:
    for number, folder in enumerate(("trainA", "trainB", "judgeA", "testA", "testB")):
        for index in range(2):
            save_noise(tmp_path / folder / f"{index}.png", 10 * number + index, (16, 16))
    return Features(tmp_path, None)


@pytest.mark.parametrize("positive", ["jitter", "recoloured", "translated", "true"])
def test_heads_learn_from_every_kind_of_positives(features: Features, positive: str) -> None:
    before, after = (train(Setting(positive=positive, updates=updates), features) for updates in (0, 1))
    assert all(not torch.equal(old, new) for old, new in zip(before.parameters(), after.parameters(), strict=True))


def test_positives_belong_to_their_anchors(features: Features) -> None:
    sheets, photographs = features.true
    torch.testing.assert_close(photographs, features.of(features.images("trainB")))
    torch.testing.assert_close(sheets, features.of(features.images("judgeA")))


def test_colours_change_and_regions_stay() -> None:
    image = torch.tensor([-1.0, -1.0, 0.5, 1.0]).expand(3, 2, 4)
    changed = recolour(image, torch.Generator().manual_seed(0))
    assert changed.shape == image.shape
    assert changed.abs().amax() < 1
    torch.testing.assert_close(changed[..., 0], changed[..., 1])
    assert not torch.allclose(changed, image, atol=0.2)


def test_losses_differ_by_their_negatives_alone() -> None:
    source, positive, other = torch.rand(3, 1, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = [torch.nn.functional.normalize(of[0], dim=1) for of in (source, positive, other)]
    likeness, own, foreign, between = (torch.exp(of / 0.5) for of in (
        (rows[0] * rows[1]).sum(dim=1), rows[0] @ rows[1].T, rows[0] @ rows[2].T, rows[1] @ rows[2].T))
    for name, sums in ("own", own.sum(dim=1)), ("other", likeness + foreign.sum(dim=1)), (
            "both", (own + foreign + between).sum(dim=1)):
        torch.testing.assert_close(LOSSES[name](source, positive, other, temperature=0.5),
                                   -(likeness / sums).log().mean())
    torch.testing.assert_close(LOSSES["none"](source, positive, other, temperature=0.5),
                               1 - (rows[0] * rows[1]).sum(dim=1).mean())


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.kind != "none"])
def test_settings_build_heads(name: str) -> None:
    channels = 256 + 64 if SETTINGS[name].kind == "residual" else 64
    assert build(SETTINGS[name], 256)(torch.rand(1, 256, 2, 2)).shape == (1, channels, 2, 2)


def test_equal_pairs_have_no_error(features: Features) -> None:
    sheets, _ = features.test
    features.test = sheets, sheets  # instead of the cached property
    found = head_settings.measure(torch.nn.Identity(), features, Setting())
    assert found["aligned"] == pytest.approx(0, abs=1e-6)
    assert found["retrieval"] == found["nearer"] == 1


def test_rows_are_recorded_and_not_trained_again(
    features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SETTINGS, "published", Setting(updates=1))
    arguments = ["--dataroot", str(tmp_path), "--records_dir", str(tmp_path / "records"), "--threads", "1",
                 "--rows", "no heads (FSeSim)", "published"]
    main(arguments)
    record = json.loads((tmp_path / "records" / "published.json").read_text())
    assert (record["row"], record["updates"], record["machine"]["torch"]) == ("published", 1, torch.__version__)
    monkeypatch.setattr(head_settings, "train", None)
    capsys.readouterr()
    main([*arguments, "--markdown"])
    assert f"| published         | {record['ratio']:>5.3g} |" in capsys.readouterr().out


def test_the_table_of_the_documentation_is_that_of_the_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(head_settings, "train", None)
    main(["--records_dir", str(ROOT / "docs" / "records" / "heads"), "--markdown"])
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").splitlines()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(printed) == len(SETTINGS) + 2
    assert not [line for line in printed if line not in page]
