"""Diversity of styles: distances by hand, and ``evaluate.py diversity`` from folders to numbers."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
from cli import run
from tiny import save_noise
from torch import Tensor

from evaluate import main
from evaluation.feature_extractors import VGGExtractor
from metrics.diversity import style_diversity
from util.errors import UserError
from util.images import load_normalized


def test_distances_are_those_between_styles_and_those_between_images() -> None:
    features = torch.randn(4, 3, 7)
    apart = [(features[s, n] - features[t, n]).norm() for n in range(3) for s in range(4) for t in range(s)]
    between = [(features[s, n] - features[s, m]).norm() for s in range(4) for n in range(3) for m in range(n)]
    expected = (torch.stack(apart).mean().item(), torch.stack(between).mean().item())
    assert style_diversity(features) == pytest.approx(expected, rel=1e-5)
    for shape in ((1, 3, 4), (3, 1, 4), (3, 4)):
        with pytest.raises(ValueError, match="S and N >= 2"):
            style_diversity(torch.zeros(shape))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for style in range(3):
        for image in range(4):
            save_noise(tmp_path / f"fake_B_{style}" / f"{image}.png", seed=10 * style + image, size=(40, 33))
    return sorted(tmp_path.iterdir())


def score(folders: list[Path], *more: str) -> dict[str, object]:
    target = folders[0].parent / "scores.json"
    main(["diversity", "--outputs", *map(str, folders), "--layer", "relu1_2", "--vgg_weights", "random", "--gpu_ids",
          "-1", "--json", str(target), *more])
    return dict(json.loads(target.read_text(encoding="utf-8")))


class Difference:
    """In the place of LPIPS: the mean difference."""

    conditions = {"lpips_network": "none"}  # noqa: RUF012

    def __init__(self, *settings: object) -> None:
        del settings

    def __call__(self, images: Tensor, truths: Tensor) -> Tensor:
        return (images - truths).abs().mean(dim=(1, 2, 3))


def test_scores_are_those_of_the_folders(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evaluation.diversity.LPIPSDistance", Difference)
    scores = score(folders, "--lpips")
    images = torch.stack([torch.stack([load_normalized(path, 3) for path in sorted(folder.iterdir())])
                          for folder in folders])
    styles, between = style_diversity(torch.stack([VGGExtractor("relu1_2", "random", "cpu")(of) for of in images]))
    lpips = torch.stack([(one - other).abs().mean() for one, other in combinations(images, 2)]).mean().item()
    expected = [styles, between, styles / between, lpips]
    names = ("distance_styles", "distance_images", "style_diversity", "lpips_diversity")
    assert [scores[name] for name in names] == pytest.approx(expected)
    assert (scores["styles"], scores["images"], scores["feature_layer"]) == (3, 4, "relu1_2")
    assert len(scores["lpips_diversity_interval"]) == 2  # type: ignore[arg-type]
    printed = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert printed == pytest.approx(expected, rel=1e-3)


def test_mistakes_in_the_folders_are_named(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--outputs names one folder, .*fake_B_0: give one for each style"):
        score(folders[:1])
    monkeypatch.setattr("evaluation.diversity.LPIPSDistance", Difference)
    save_noise(folders[2] / "1.png", seed=0, size=(33, 40))
    with pytest.raises(UserError, match=r"33x40 pixels, .*40x33"):
        score(folders, "--lpips")
    (folders[1] / "2.png").unlink()
    with pytest.raises(UserError, match=r"--outputs: .*fake_B_0/2\.png.* no partner in .*fake_B_1"):
        score(folders)
    for image in range(1, 4):
        (folders[0] / f"{image}.png").unlink()
    outcome = run("evaluate.py", "diversity", "--outputs", *folders)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "fake_B_0' holds a single image" in outcome.err
    for folder in folders:
        save_noise(folder / "1.png", seed=0)
        save_noise(folder / "0.png", seed=0)
    with pytest.raises(UserError, match="same VGG16 features"):
        score(folders)
