"""LPIPS: the package's numbers, from trunks that the test makes up; of pairs and between styles."""

from __future__ import annotations

import json
import warnings
from itertools import combinations
from pathlib import Path

import pytest
import torch
from cli import Outcome, run
from tiny import save_noise
from torch import Tensor, nn

from evaluation.folder_scores import Request, score
from evaluation.lpips_distance import PerceptualDistance
from evaluation.pairing import Unsuited, read_image
from models.networks.vgg import VGG16Features
from util.errors import UserError

lpips = pytest.importorskip("lpips")


def alexnet() -> nn.Sequential:
    """The convolutions of torchvision's AlexNet, at their places."""
    sizes = {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)}
    layers = [nn.Conv2d(*sizes[index]) if index in sizes else nn.Identity() for index in range(13)]
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.manual_seed(0)
    torch.save({f"features.{key}": value for key, value in alexnet().state_dict().items()}, path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for style in range(3):
        for image in range(2):
            save_noise(tmp_path / f"fake_B_{style}" / f"{image}.png", seed=10 * style + image, size=(40, 33))
    return sorted(tmp_path.iterdir())


def test_distance_is_that_of_the_package_with_these_weights(weights: Path) -> None:
    distance = PerceptualDistance("alex", weights, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = torch.load(weights, weights_only=True)
    for key, parameter in package.net.named_parameters():
        parameter.data = state[f"features.{key.partition('.')[2]}"]
    image, truth = torch.rand(2, 3, 40, 33) * 2 - 1, torch.rand(2, 3, 40, 33) * 2 - 1
    found = distance(image, truth)
    torch.testing.assert_close(found, package(image, truth).flatten())
    assert found.shape == (2,)
    assert (found > 1e-4).all()
    assert distance(image[0], image[0]).item() == 0
    assert distance(image[0], truth[0]).item() == pytest.approx(found[0].item(), rel=1e-5)
    with pytest.raises(Unsuited, match="31x31"):
        distance(image[..., :30], truth[..., :30])


def test_the_networks_own_weights_count_and_the_random_numbers_of_others_do_not(tmp_path: Path) -> None:
    network = VGG16Features(["relu5_3"], "random")
    torch.save({key: value * 2 for key, value in network.state_dict().items() if "features" in key}, tmp_path / "v.pth")
    before = torch.random.get_rng_state()
    distance = PerceptualDistance("vgg", tmp_path / "v.pth", "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    parameters = {key.partition(".")[2]: value for key, value in distance._network.net.named_parameters()}
    assert torch.equal(parameters["28.weight"], 2 * network.features[28].weight)
    assert distance.conditions["lpips_network"] == "vgg"


def test_weights_of_another_network_are_named(weights: Path, folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--lpips_weights: .*alexnet\.pth has no .*vgg16-397923af.*--lpips_net vgg"):
        PerceptualDistance("vgg", weights, "cpu")


def test_pairs_have_a_distance_where_weights_are_given(weights: Path, folders: list[Path]) -> None:
    scores = score(Request(outputs=folders[0], real=folders[1], truth=folders[1], lpips_weights=weights,
                           metrics=["lpips"], bootstrap=5))
    distance = PerceptualDistance("alex", weights, "cpu")
    expected = [distance(*(read_image(folder / f"{index}.png") for folder in folders[:2])) for index in range(2)]
    assert scores["lpips_outputs"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    low, high = scores["lpips_outputs_interval"]
    assert low <= scores["lpips_outputs"] <= high
    assert (scores["lpips_network"], len(scores["lpips_weights_sha256"])) == ("alex", 64)


def diversity(folders: list[Path], *more: object) -> Outcome:
    return run("evaluate.py", "diversity", "--outputs", *folders, "--layer", "relu1_2", "--vgg_weights", "random",
               "--gpu_ids", "-1", *more)


def test_diversity_is_the_mean_over_all_pairs_of_styles(weights: Path, folders: list[Path], tmp_path: Path) -> None:
    outcome = diversity(folders, "--lpips", "--lpips_weights", weights, "--json", tmp_path / "scores.json")
    assert outcome.code == 0, outcome.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    distance = PerceptualDistance("alex", weights, "cpu")
    images: list[list[Tensor]] = [[read_image(folder / f"{index}.png") for folder in folders] for index in range(2)]
    expected = torch.stack([distance(*pair) for of_image in images for pair in combinations(of_image, 2)]).mean()
    assert scores["lpips_diversity"] == pytest.approx(expected.item(), rel=1e-5)
    assert len(scores["lpips_diversity_interval"]) == 2
    assert float(outcome.out.split()[-1]) == pytest.approx(expected.item(), rel=1e-3)


def test_diversity_without_weights_or_with_two_sizes_is_one_sentence(
    weights: Path, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_noise(folders[2] / "1.png", seed=0, size=(33, 40))
    outcome = diversity(folders, "--lpips", "--lpips_weights", weights)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "33x40 pixels" in outcome.err
    assert "40x33" in outcome.err
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("unreachable")))
    outcome = diversity(folders, "--lpips")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "alexnet-owt-7be5be79.pth cannot be downloaded (unreachable)" in outcome.err
