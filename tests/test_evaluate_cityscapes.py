"""``evaluate.py cityscapes`` on label maps whose scores are known, and the label maps themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import Outcome, run
from PIL import Image
from test_user_errors import says
from torch import Tensor, nn

from evaluation.label_maps import CLASSES, VOID_COLOURS, read_labels
from evaluation.segmenter import Segmenter
from metrics.segmentation import IGNORED, confusion, resize_labels, segmentation_scores
from util.errors import UserError

ROAD, CAR, SKY = 0, 13, 10
# True: 8 road, 4 car, 2 sky, 2 void. Of the roads 2 are taken for cars and 1 for nothing, of the cars 1 for road.
TRUTH = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [13, 13, 13, 13], [10, 10, 255, 255]], dtype=np.uint8)
FOUND = np.array([[0, 0, 0, 0], [0, 13, 13, 255], [13, 13, 13, 0], [10, 10, 0, 13]], dtype=np.uint8)
SCORES = {
    "pixel_accuracy": (5 + 3 + 2) / 14, "class_accuracy": (5 / 8 + 3 / 4 + 1) / 3,
    "mean_iou": (5 / 9 + 3 / 6 + 1) / 3, "mAP": (5 / 9 + 3 / 6 + 1) / 3, "mean_precision": (5 / 6 + 3 / 5 + 1) / 3,
}


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def coloured(train_ids: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(CLASSES)] = [label.colour for label in CLASSES]
    return table[train_ids]


def with_ids(train_ids: np.ndarray) -> np.ndarray:
    table = np.full(256, 3, dtype=np.uint8)  # out of roi
    table[: len(CLASSES)] = [label.id for label in CLASSES]
    return table[train_ids]


def score(root: Path, *more: object, leave_out: str = "") -> Outcome:
    flags = {"--labels": root / "labels", "--predictions": root / "predictions", "--out": root / "out"}
    given = [item for flag, path in flags.items() if flag != leave_out for item in (flag, path)]
    return run("evaluate.py", "cityscapes", *given, "--gpu_ids", "-1", *more)


def scores_of(root: Path, outcome: Outcome) -> dict[str, Any]:
    assert (outcome.code, outcome.err) == (0, "")
    return dict(json.loads((root / "out" / "cityscapes.json").read_text(encoding="utf-8")))


def test_scores_of_known_maps() -> None:
    counts = confusion(torch.from_numpy(TRUTH), torch.from_numpy(FOUND), 19)
    assert counts.shape == (19, 20)
    assert counts.sum() == 14
    assert {(t, p): n for t, row in enumerate(counts.tolist()) for p, n in enumerate(row) if n} == {
        (ROAD, ROAD): 5, (ROAD, CAR): 2, (ROAD, 19): 1, (CAR, CAR): 3, (CAR, ROAD): 1, (SKY, SKY): 2}
    scores = segmentation_scores(counts)
    for name in ("pixel_accuracy", "class_accuracy", "mean_iou", "mean_precision"):
        assert getattr(scores, name) == pytest.approx(SCORES[name]), name
    assert scores.iou[CAR].item() == pytest.approx(3 / 6)
    assert math.isnan(scores.iou[1].item())  # nowhere true, nowhere predicted: no score, and not in the mean


def test_a_class_that_is_only_predicted_counts_as_an_iou_of_0() -> None:
    scores = segmentation_scores(confusion(torch.tensor([0, 0]), torch.tensor([0, 5]), 19))
    assert scores.iou[5] == 0
    assert scores.mean_iou == pytest.approx(0.25)
    assert math.isnan(scores.accuracy[5].item())
    assert scores.class_accuracy == pytest.approx(0.5)


def test_labels_out_of_range_and_maps_without_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 18"):
        confusion(torch.tensor([19]), torch.tensor([0]), 19)
    with pytest.raises(ValueError, match="differ in shape"):
        confusion(torch.tensor([1, 1]), torch.tensor([0]), 19)
    with pytest.raises(ValueError, match="no pixel"):
        segmentation_scores(confusion(torch.tensor([IGNORED]), torch.tensor([0]), 19))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (8, 4), (3, 5)])
def test_resized_labels_are_those_under_the_pixels_centres(height: int, width: int) -> None:
    labels = torch.arange(16).view(4, 4)
    resized = resize_labels(labels, height, width)
    assert resized.dtype == labels.dtype
    expected = [[labels[int((y + 0.5) * 4 / height), int((x + 0.5) * 4 / width)] for x in range(width)]
                for y in range(height)]
    assert resized.tolist() == expected


@pytest.mark.parametrize(("name", "values", "stored"), [
    ("a_gtFine_labelTrainIds.png", TRUTH, "auto"), ("a_gtFine_labelIds.png", with_ids(TRUTH), "auto"),
    ("a_gtFine_color.png", coloured(TRUTH), "auto"), ("a.png", coloured(TRUTH), "auto"), ("a.png", TRUTH, "train_ids"),
    ("a.png", with_ids(TRUTH), "ids"), ("a.png", with_ids(TRUTH).astype(np.uint16), "ids"),
    ("a.png", np.clip(coloured(TRUTH).astype(int) + 4, 0, 255).astype(np.uint8), "nearest_colours"),
])
def test_label_maps_in_every_way_of_storing_them(tmp_path: Path, name: str, values: np.ndarray, stored: str) -> None:
    assert read_labels(save(tmp_path / name, values), stored).tolist() == TRUTH.tolist()


def test_a_palettes_indices_are_the_labels_and_not_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(TRUTH).convert("P")
    image.putdata(TRUTH.flatten())
    image.putpalette([7, 7, 7] * 256)
    image.save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png", "train_ids").tolist() == TRUTH.tolist()


def test_every_void_colour_and_id_is_ignored(tmp_path: Path) -> None:
    colours = np.array([VOID_COLOURS], dtype=np.uint8)
    assert (read_labels(save(tmp_path / "a.png", colours)) == IGNORED).all()
    ids = np.array([[label for label in (*range(34), 255) if label not in {of.id for of in CLASSES}]], dtype=np.uint8)
    assert (read_labels(save(tmp_path / "b.png", ids), "ids") == IGNORED).all()


@pytest.mark.parametrize(("values", "stored", "words"), [
    (TRUTH, "auto", "ids or train ids"), (TRUTH + 100, "ids", "100"),
    (np.full((2, 2), 19, np.uint8), "train_ids", "19"),
    (coloured(TRUTH) + 1, "colours", "nearest_colours"), (coloured(TRUTH), "ids", "RGB"),
])
def test_values_that_are_no_labels_are_named(tmp_path: Path, values: np.ndarray, stored: str, words: str) -> None:
    with pytest.raises(UserError, match=r"a\.png.*" + words):
        read_labels(save(tmp_path / "a.png", values), stored)


def test_cityscapes_own_folders_give_the_known_scores_a_table_and_a_figure(tmp_path: Path) -> None:
    for scene in ("bonn/bonn_000001_000019", "ulm/ulm_000001_000019"):
        save(tmp_path / "labels" / f"{scene}_gtFine_labelIds.png", with_ids(TRUTH))
        save(tmp_path / "labels" / f"{scene}_gtFine_color.png", coloured(TRUTH))
        save(tmp_path / "labels" / f"{scene}_gtFine_instanceIds.png", TRUTH)
        save(tmp_path / "predictions" / f"{Path(scene).name}_leftImg8bit.png", coloured(FOUND))
    save(tmp_path / "labels" / "ulm" / "more_gtFine_labelIds.png", with_ids(TRUTH))
    outcome = score(tmp_path)
    scores = scores_of(tmp_path, outcome)
    assert {name: scores[name] for name in SCORES} == pytest.approx(SCORES)
    assert (scores["images"], scores["labels_without_prediction"]) == (2, 1)
    assert scores["classes"]["road"] == pytest.approx({"iou": 5 / 9, "accuracy": 5 / 8, "precision": 5 / 6})
    assert scores["classes"]["train"] == {"iou": None, "accuracy": None, "precision": None}
    assert scores["confusion"][CAR][ROAD] == 2
    lines = outcome.out.splitlines()
    assert any(line.split() == ["car", "50.00", "75.00", "60.00", "28.57"] for line in lines), outcome.out
    assert any(line.startswith("pixel accuracy") and line.endswith("71.43") for line in lines)
    assert "1 label map without prediction" in lines[0]
    assert Image.open(tmp_path / "out" / "confusion.png").size[0] > 500


@pytest.mark.parametrize("size", ["labels", "predictions"])
def test_sizes_are_made_alike_by_nearest_neighbour(tmp_path: Path, size: str) -> None:
    save(tmp_path / "labels" / "a.png", TRUTH.repeat(2, 0).repeat(2, 1))
    save(tmp_path / "predictions" / "a.png", FOUND)
    scores = scores_of(tmp_path, score(tmp_path, "--labels_format", "train_ids", "--predictions_format", "train_ids",
                                       "--size", size))
    assert scores["mean_iou"] == pytest.approx(SCORES["mean_iou"])
    assert np.sum(scores["confusion"]) == (14 if size == "predictions" else 56)


class Reds(nn.Module):
    """Takes pixels without red for roads, others for cars; half the size."""

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, :1, ::2, ::2]
        scores = torch.zeros(1, 19, red.shape[2], red.shape[3])
        scores[:, 0:1] += 1 - red
        scores[:, 13:14] += red
        return scores


def test_a_network_that_the_user_names_segments_the_images(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[:, 4:, 0] = 255
    save(tmp_path / "images" / "a.png", red)
    save(tmp_path / "labels" / "a_gtFine_labelIds.png", with_ids(np.where(red[..., 0], CAR, ROAD).astype(np.uint8)))
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Reds(), (torch.zeros(1, 3, 8, 8),)), path)
    scores = scores_of(tmp_path, score(tmp_path, "--images", tmp_path / "images", "--network", path,
                                       leave_out="--predictions"))
    assert (scores["pixel_accuracy"], scores["mean_iou"], scores["network"]) == (1, 1, str(path))


def test_a_network_of_torchvision_takes_weights_of_the_user(tmp_path: Path) -> None:
    from torchvision import models

    name, weights = "torchvision/lraspp_mobilenet_v3_large", tmp_path / "weights.pth"
    network = models.get_model(name.partition("/")[2], weights=None, weights_backbone=None, num_classes=19)
    torch.save(network.state_dict(), weights)
    assert Segmenter(name, weights, 19)(torch.zeros(3, 32, 32)).shape == (32, 32)
    with pytest.raises(UserError, match=r"--network_weights, a state dict with the 19 classes"):
        Segmenter(name, None, 19)
    with pytest.raises(UserError, match=r"'resnet18'; use one of .*lraspp_mobilenet_v3_large"):
        Segmenter("torchvision/resnet18", None, 19)


def test_odd_requests_end_with_a_sentence(tmp_path: Path) -> None:
    says(score(tmp_path), "--labels", "no folder")
    save(tmp_path / "labels" / "a.png", coloured(TRUTH))
    says(score(tmp_path), "--predictions", "no folder")
    says(score(tmp_path, leave_out="--predictions"), "either --predictions, or --images")
    says(score(tmp_path, "--network_weights", "x"), "--network_weights")
    predicted = save(tmp_path / "predictions" / "b.png", coloured(FOUND))
    says(score(tmp_path), "b.png", "no label map")
    predicted.rename(tmp_path / "predictions" / "a.png")
    save(tmp_path / "labels" / "inner" / "a.png", coloured(TRUTH))
    says(score(tmp_path), "of one scene")
    (tmp_path / "labels" / "inner" / "a.png").unlink()
    says(score(tmp_path, "--labels_format", "ids"), "a.png", "RGB")
    save(tmp_path / "labels" / "a.png", coloured(np.full((4, 4), 255, dtype=np.uint8)))
    says(score(tmp_path), "no pixel")
    images = ("--images", tmp_path / "predictions", "--network")
    network = tmp_path / "net.pt2"
    says(score(tmp_path, *images, network, leave_out="--predictions"), "net.pt2", "neither torchvision/NAME")
    network.write_bytes(b"none")
    says(score(tmp_path, *images, network, leave_out="--predictions"), "net.pt2", "cannot be read")
    torch.export.save(torch.export.export(nn.Conv2d(3, 5, 1), (torch.zeros(1, 3, 4, 4),)), network)
    says(score(tmp_path, *images, network, leave_out="--predictions"), "[1, 5, 4, 4]", "[1, 19, h, w]")


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    for command in (("cityscapes", "--labels", tmp_path / "none", "--predictions", tmp_path / "none"),
                    ("structure", "--sources", tmp_path / "none", "--aligned", tmp_path / "none")):
        says(run("evaluate.py", *command, "--out", tmp_path / "out"), "cannot be written")
