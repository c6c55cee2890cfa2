"""``evaluate.py judge``: labels from an atlas' colours, training of the network, and scores with the bundled one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli import ROOT, run
from PIL import Image
from test_user_errors import says

from evaluation.judge import WEIGHTS, judge_folder, load_judge, water_iou
from evaluation.relief_labels import NAMES, PALETTE, SHADE, relief_labels
from experiments.train_judge import main, save_judge, train_judge
from metrics.segmentation import merge_classes
from models.networks.segmentation_unet import SegmentationUNet
from util.images import load_normalized

DATA = ROOT / "datasets" / "atlas2satellite"
FEW = 12


def colour_of(height: int) -> torch.Tensor:
    return torch.tensor(dict(PALETTE)[height]).float() * SHADE


def few_pairs(root: Path) -> tuple[Path, Path]:
    """Link every seventh test pair."""
    for folder in ("testA", "testB"):
        (root / folder).mkdir(parents=True)
        for path in sorted((DATA / folder).iterdir())[::7][:FEW]:
            (root / folder / path.name).symlink_to(path)
    return root / "testA", root / "testB"


@pytest.mark.parametrize(("height", "name"), [
    (-5000, "deep sea"), (-2000, "deep sea"), (-500, "shelf"), (-1, "shelf"), (100, "lowland"), (200, "lowland"),
    (1000, "highland"), (1500, "highland"), (2500, "mountains"), (5500, "mountains"),
])
def test_a_colour_of_the_palette_gets_the_class_of_its_height_in_light_and_in_shade(height: int, name: str) -> None:
    shading = torch.tensor([0.85, 1.15]).repeat(8).repeat(16, 1)  # light and shadow of ridges side by side
    image = (colour_of(height)[:, None, None] * shading).clamp(max=255) / 127.5 - 1
    assert (relief_labels(image) == NAMES.index(name)).all()


def test_specks_are_removed_and_a_coast_stays_where_it_is() -> None:
    image = colour_of(-4000)[:, None, None].repeat(1, 24, 24)
    image[:, :, 12:] = colour_of(100)[:, None, None]
    image[:, 5, 18] = colour_of(-1)
    expected = torch.zeros(24, 24, dtype=torch.int64)
    expected[:, 12:] = NAMES.index("lowland")
    found = relief_labels(image / 127.5 - 1)
    assert (found[:, 14:] == expected[:, 14:]).all()
    assert ((found < 2) == (expected < 2)).float().mean() > 0.95


def test_green_lowlands_in_a_jpeg_are_not_water() -> None:
    green = torch.tensor([72.0, 184.0, 100.0])[:, None, None].expand(3, 16, 16)
    assert (relief_labels(green / 127.5 - 1) == NAMES.index("lowland")).all()


def test_groups_of_classes_have_the_sums_of_their_cells() -> None:
    counts = torch.arange(12).view(3, 4)
    assert merge_classes(counts, [0, 1, 1]).tolist() == [[0, 1 + 2, 3], [4 + 8, 5 + 6 + 9 + 10, 7 + 11]]


def test_water_counts_as_found_if_shelf_and_deep_sea_are_confused() -> None:
    counts = torch.zeros(5, 6, dtype=torch.int64)
    counts[0, 1], counts[1, 2], counts[2, 0], counts[3, 2] = 6, 1, 2, 5
    assert water_iou(counts) == pytest.approx(6 / 9)


def test_training_learns_a_made_up_set_and_is_fixed_by_its_seed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    labels = torch.randint(3, (8, 2, 2)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    colours = torch.tensor([[-0.9, -0.9, 0.0], [-0.8, 0.0, 0.4], [0.3, 0.1, -0.6]])
    images = colours[labels].permute(0, 3, 1, 2) + 0.05 * torch.randn(8, 3, 16, 16)
    state = torch.random.get_rng_state()
    network = train_judge(images, labels, epochs=30, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (network(images).argmax(dim=1) == labels).float().mean() > 0.9
    save_judge(network, tmp_path / "judge.safetensors")
    loaded = load_judge(tmp_path / "judge.safetensors")
    assert (loaded(images).argmax(dim=1) == network(images).argmax(dim=1)).float().mean() > 0.99
    again, other = (train_judge(images, labels, epochs=1, seed=seed)(images) for seed in (3, 4))
    assert torch.equal(again, train_judge(images, labels, epochs=1, seed=3)(images))
    assert not torch.equal(again, other)


def test_images_of_any_size_are_labelled() -> None:
    assert SegmentationUNet(5).eval()(torch.zeros(1, 3, 21, 1)).shape == (1, 5, 21, 1)


def test_the_bundled_network_is_small_and_scores_photographs_high_and_sheets_low(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    sheets, photographs = few_pairs(tmp_path)
    scores = judge_folder(photographs, sheets, photographs)
    assert scores["pixel_accuracy_truth"] == scores["pixel_accuracy_outputs"] == pytest.approx(0.6, abs=0.1)
    assert scores["water_iou_truth"] > 0.85
    assert scores["pixel_accuracy_inputs"] < 0.7 * scores["pixel_accuracy_truth"]
    assert scores["mean_iou_inputs"] < 0.5 * scores["mean_iou_truth"]
    assert scores["judge_frechet_outputs"] == pytest.approx(0, abs=1e-6)
    assert scores["judge_frechet_inputs"] > 1


def test_the_command_prints_and_writes_the_scores_of_resized_translations(tmp_path: Path) -> None:
    sheets, photographs = few_pairs(tmp_path)
    (tmp_path / "fake_B").mkdir()
    for path in sorted(photographs.iterdir())[:3]:
        Image.open(path).resize((96, 96)).save(tmp_path / "fake_B" / f"{path.stem}.png")
    file = tmp_path / "judge.json"
    outcome = run("evaluate.py", "judge", "--outputs", tmp_path / "fake_B", "--labels", sheets, "--truth", photographs,
                  "--json", file, "--record", "seconds=3", "--gpu_ids", "-1")
    assert (outcome.code, outcome.err) == (0, "")
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert (scores["images"], scores["seconds"]) == (3, 3)
    assert set(scores["segmentation"]) == {"inputs", "outputs", "truth"}
    row = next(line.split() for line in outcome.out.splitlines() if line.startswith("water IoU"))
    assert row[2:] == [f"{scores[f'water_iou_{name}']:.4g}" for name in ("inputs", "outputs", "truth")]


def test_odd_requests_end_with_a_sentence(tmp_path: Path) -> None:
    sheets, photographs = few_pairs(tmp_path)
    given = ("evaluate.py", "judge", "--labels", sheets, "--truth", photographs, "--gpu_ids", "-1", "--outputs")
    says(run(*given, tmp_path / "none"), "--outputs", "no folder")
    says(run(*given, photographs, "--weights", tmp_path / "none.safetensors"), "--weights", "none.safetensors")
    (tmp_path / "odd.safetensors").write_bytes(b"none")
    says(run(*given, photographs, "--weights", tmp_path / "odd.safetensors"), "--weights", "odd.safetensors")
    says(run(*given, photographs, "--weights", ROOT / "spatial_correlative" / "weights" / "vgg16_features.safetensors"),
         "--weights", "holds another network", "train_judge.py")
    says(run(*given, tmp_path / "none", "--record", "water_iou_outputs=1"), "--record water_iou_outputs", "another key")
    image = torch.zeros(3, 8, 8)
    alone = tmp_path / "alone"
    alone.mkdir()
    Image.fromarray(image.permute(1, 2, 0).byte().numpy()).save(alone / "a.png")
    says(run(*given, alone), "single image")
    Image.fromarray(image.permute(1, 2, 0).byte().numpy()).save(alone / "b.png")
    says(run(*given, alone), "--labels", "a.png", "no partner")


def test_the_training_program_reads_pairs_and_writes_weights(tmp_path: Path) -> None:
    for folder in ("trainB", "judgeA"):
        (tmp_path / folder).mkdir()
        for path in sorted((DATA / folder).iterdir())[:2]:
            Image.open(path).crop((0, 0, 16, 16)).save(tmp_path / folder / f"{path.stem}.png")
    out = tmp_path / "judge.safetensors"
    main(["--photographs", str(tmp_path / "trainB"), "--sheets", str(tmp_path / "judgeA"), "--epochs", "4",
          "--out", str(out)])
    image = load_normalized(next((tmp_path / "trainB").iterdir()), 3)[None]
    assert load_judge(out)(image).shape == (1, 5, 16, 16)
