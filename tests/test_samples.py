"""The fixed samples of a training: the same images at each report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import METHODS, NETWORKS, SIZES, save_folders, save_noise, train_options
from torch import Tensor

from data.sampler import spread
from models import MODELS
from options import RunFlags
from training.samples import FixedSamples

CPU = torch.device("cpu")


def opened(root: Path, flags: str = "", method: str = "FSeSim") -> FixedSamples:
    options = train_options(root, flags, defaults=(NETWORKS, METHODS[method], SIZES))
    model = MODELS[options[RunFlags].model](options, training=True)
    warnings: list[str] = []
    samples = FixedSamples(options, model, CPU, warnings.append)
    assert warnings == []
    return samples


def change(samples: FixedSamples) -> None:
    """Change the weights that are being trained."""
    with torch.no_grad():
        for parameter in samples._model.networks["G"].parameters():
            parameter.mul_(1.5)


def test_samples_are_spread_over_the_folder() -> None:
    assert spread(4, 100) == [12, 37, 62, 87]
    assert spread(4, 3) == [0, 1, 2]
    assert spread(1, 10) == [5]
    assert spread(0, 10) == []


def test_the_same_images_are_translated_with_the_present_weights(root: Path) -> None:
    save_folders(root, "test", (9, 0))
    samples = opened(root, "--sample_images 3")
    first, again = samples.draw(), samples.draw()
    change(samples)
    later = samples.draw()
    assert list(first) == [f"samples/{name}/{label}" for name in "147"
                           for label in ("input", "output", "input_similarity", "output_similarity")]
    for name, image in first.items():
        assert image.shape == (3, 16, 16), name
        assert torch.equal(image, again[name]), name
        assert torch.equal(image, later[name]) == ("output" not in name), name


@pytest.mark.parametrize("flags", ["", "--eval_phase missing"])
def test_without_a_test_set_training_images_are_taken(root: Path, flags: str) -> None:
    if flags:
        save_folders(root, "test")
    assert list(opened(root, f"--sample_images 2 {flags}").samples) == ["0", "2"]


def test_the_truth_of_a_pair_is_shown(root: Path) -> None:
    for domain in "AB":
        save_noise(root / f"test{domain}" / "town 1" / "10.8S.v1.png", seed=ord(domain))
    drawn = opened(root).draw()
    name = "samples/town 1/10.8S.v1"  # as on the other pages
    assert list(drawn)[:3] == [f"{name}/{label}" for label in ("input", "output", "truth")]
    assert not torch.equal(drawn[f"{name}/input"], drawn[f"{name}/truth"])


def test_the_moving_average_is_shown_if_there_is_one(root: Path) -> None:
    samples = opened(root, "--ema 0.9")
    first = samples.draw()
    change(samples)
    assert torch.equal(samples.draw()["samples/0/output"], first["samples/0/output"])


def test_noise_and_dropout_are_the_same_at_each_report(root: Path) -> None:
    samples = opened(root, "--no_dropout false")
    state = torch.get_rng_state()
    first: Tensor = samples.draw()["samples/0/output"]
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(9)
    assert torch.equal(samples.draw()["samples/0/output"], first)


def test_a_large_single_image_is_shown_whole_and_scaled_as_for_the_training(tmp_path: Path) -> None:
    for domain in "AB":
        save_noise(tmp_path / f"train{domain}" / "x.png", seed=1, size=(60, 30))
    samples = opened(tmp_path, "--load_size 40", method="single-image FSeSim")
    assert samples.samples["x"]["input"].shape == (3, 20, 40)


def test_an_image_that_cannot_be_read_is_left_out_with_a_warning(root: Path) -> None:
    save_folders(root, "test", (3, 0))
    (root / "testA" / "1.png").write_bytes(b"no image")
    options = train_options(root)
    warnings: list[str] = []
    samples = FixedSamples(options, MODELS["sc"](options, training=True), CPU, warnings.append)
    assert list(samples.samples) == ["0", "2"]
    assert "1.png cannot be read as an image" in warnings[0]
