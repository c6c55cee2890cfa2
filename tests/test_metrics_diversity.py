"""Diversity of styles: distances by hand, and ``evaluate.py diversity`` from folders to numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import save_noise

from evaluate import main
from evaluation.feature_extractors import VGGFeatures
from metrics.diversity import style_diversity
from util.errors import UserError


def test_distances_are_those_between_styles_and_those_between_images() -> None:
    styles, images = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 10.0]])
    features = torch.stack([torch.cat([image, image + 0.5 * images]) + style
                            for style, image in ((0 * styles, 0 * images), (styles, 0 * images))])
    assert style_diversity(features) == (5.0, 5.0)
    features = torch.randn(4, 3, 7)
    apart = [(features[s, n] - features[t, n]).norm() for n in range(3) for s in range(4) for t in range(s)]
    between = [(features[s, n] - features[s, m]).norm() for s in range(4) for n in range(3) for m in range(n)]
    expected = (torch.stack(apart).mean().item(), torch.stack(between).mean().item())
    assert style_diversity(features) == pytest.approx(expected, rel=1e-5)


def test_styles_that_change_nothing_are_at_distance_0() -> None:
    within, between = style_diversity(torch.randn(1, 5, 7).expand(3, -1, -1))
    assert within == 0
    assert between > 1


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 1, 4), (3, 4)])
def test_too_few_styles_or_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="S and N >= 2"):
        style_diversity(torch.zeros(shape))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for style in range(3):
        for image in range(4):
            save_noise(tmp_path / f"fake_B_{style}" / f"{image}.png", seed=10 * style + image)
    return sorted(tmp_path.iterdir())


def run(folders: list[Path], *more: str) -> dict[str, object]:
    target = folders[0].parent / "scores.json"
    main(["diversity", "--outputs", *map(str, folders), "--layer", "relu1_2", "--vgg_weights", "random", "--gpu_ids",
          "-1", "--json", str(target), *more])
    scores: dict[str, object] = json.loads(target.read_text(encoding="utf-8"))
    return scores


def test_scores_are_those_of_the_folders(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    scores = run(folders)
    features = torch.stack([VGGFeatures("relu1_2", "random")(sorted(folder.iterdir()))
                            for folder in folders])
    styles, images = style_diversity(features)
    assert scores["distance_styles"] == pytest.approx(styles)
    assert scores["distance_images"] == pytest.approx(images)
    assert scores["style_diversity"] == pytest.approx(styles / images)
    assert (scores["styles"], scores["images"], scores["feature_layer"]) == (3, 4, "relu1_2")
    printed = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert printed == pytest.approx([styles, images, styles / images], rel=1e-3)


def test_mistakes_in_the_folders_are_named(folders: list[Path]) -> None:
    with pytest.raises(UserError, match=r"--outputs names one folder, .*fake_B_0: give one for each style"):
        run(folders[:1])
    (folders[1] / "2.png").unlink()
    with pytest.raises(UserError, match=r"--outputs: .*fake_B_0/2\.png.* no partner in .*fake_B_1"):
        run(folders)
    for image in range(1, 4):
        (folders[0] / f"{image}.png").unlink()
    with pytest.raises(UserError, match="fake_B_0' holds a single image"):
        run(folders)
    for folder in folders:
        save_noise(folder / "1.png", seed=0)
        save_noise(folder / "0.png", seed=0)
    with pytest.raises(UserError, match="look alike to VGG16"):
        run(folders)
