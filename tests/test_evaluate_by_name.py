"""``evaluate.py metrics --name``: a checkpoint and a test set in place of folders."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import Outcome, run
from PIL import Image
from test_user_errors import says
from tiny import save_folders, save_noise, train_options, translate_options

from test import translate
from train import train
from util.files import locked

SETUP = "--seed 3 --lr 0.02 --init_gain 0.5 --no_html --name one --n_epochs 2 --n_epochs_decay 0 --save_epoch_freq 1"
PAIRED = ("line_iou", "colour_error", "ssim", "psnr")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a test set of pairs, and an experiment; to be copied before it is changed."""
    root = save_folders(save_folders(tmp_path_factory.mktemp("trained")), "test", (3, 3))
    train(train_options(root, f"{SETUP} --ema 0.5"))
    return root


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "data"))


def metrics(root: Path, *flags: object) -> Outcome:
    """Run it with the folders below ``root``; flags given later win."""
    return run("evaluate.py", "metrics", "--name", "one", "--dataroot", root, "--checkpoints_dir", root / "checkpoints",
               "--results_dir", root / "results", "--gpu_ids", "-1", "--layer", "relu1_2", "--bootstrap", "5",
               "--cache_dir", "none", *flags)


def scores_of(root: Path, *flags: object, folder: str = "test_latest_metrics") -> dict[str, Any]:
    outcome = metrics(root, *flags)
    assert outcome.code == 0, outcome.err
    found = json.loads((root / "results" / "one" / folder / "metrics.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def unpair(root: Path) -> None:
    """Let the test set be two folders of which nobody knows what belongs together."""
    (root / "testB" / "0.png").rename(root / "testB" / "x.png")


def test_scores_are_those_of_the_folders_that_test_py_writes(root: Path) -> None:
    found = scores_of(root)
    translate(translate_options(root, root, "--name one --model sc --dataset_mode unaligned"))
    run("evaluate.py", "metrics", "--outputs", root / "results/one/test_latest/images/fake_B", "--real", root / "testB",
        "--truth", root / "testB", "--inputs", root / "testA", "--gpu_ids", "-1", "--layer", "relu1_2", "--bootstrap",
        "5", "--cache_dir", "none", "--json", root / "expected.json")
    expected = json.loads((root / "expected.json").read_text(encoding="utf-8"))
    assert {name: found[name] for name in expected} == expected
    assert all(f"{name}_{column}" in found for name in PAIRED for column in ("inputs", "outputs"))
    made = found["translation"]
    assert (made["experiment"], made["checkpoint"], made["epochs"], made["images"]) == ("one", "latest", 2, 10)
    assert len(made["sha256"]["G"]) == 64


def test_without_pairs_the_target_domain_is_what_is_real(root: Path) -> None:
    unpair(root)
    save_noise(root / "testB" / "inner" / "x.png", 9)
    found = scores_of(root)
    assert found["images_real"] == 4, "subfolders count, as for test.py"
    assert not any(name.startswith(PAIRED) for name in found)
    shutil.rmtree(root / "testB")
    says(metrics(root), "no folder", "testB", "--real")
    assert scores_of(root, "--real", root / "trainB")["images_real"] == 5


def test_checkpoints_and_averages_have_folders_of_their_own(root: Path) -> None:
    latest = scores_of(root)
    first = scores_of(root, "--epoch", "1", folder="test_1_metrics")
    averaged = scores_of(root, "--use_ema", folder="test_latest_ema_metrics")
    assert len({scores["frechet_outputs"] for scores in (latest, first, averaged)}) == 3
    assert first["translation"]["epochs"] == 1
    assert list(averaged["translation"]["sha256"]) == ["G_ema"]


def test_inputs_real_images_and_truths_are_scaled_as_translations_are(root: Path) -> None:
    unpair(root)
    scores_of(root, "--load_size", "16")
    files = list((root / "results/one/test_latest_metrics/images").glob("*/*.png"))
    assert {path.parent.name for path in files} == {"real_A", "fake_B", "real"}
    assert {Image.open(path).size for path in files} == {(16, 16)}


def test_images_of_an_earlier_run_are_not_scored(root: Path) -> None:
    assert scores_of(root)["images_outputs"] == 3
    left = root / "results/one/test_latest_metrics/images/fake_B/left.png"
    save_noise(left, 1)
    assert scores_of(root, "--num_test", "2")["images_outputs"] == 2
    assert not left.exists()


def test_the_page_of_test_py_stays_as_it_is(root: Path) -> None:
    translate(translate_options(root, root, "--name one --model sc --dataset_mode unaligned"))
    folder = root / "results/one/test_latest"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    scores_of(root, "--load_size", "16")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_names_of_any_kind_keep_their_partners(root: Path) -> None:
    for name in ("a b#?%20.png", "-x.png", "ü.png", "a.b.c.png", "a&<b>.png"):
        for domain, seed in (("testA", 1), ("testB", 2)):
            save_noise(root / domain / name, seed)
    found = scores_of(root)
    assert found["images_outputs"] == found["images_truth"] == found["images_inputs"] == 8


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_grey_and_transparent_images_are_scored_as_test_py_reads_them(root: Path, mode: str) -> None:
    for domain in ("testA", "testB"):
        save_noise(root / domain / "1.png", 4, mode=mode)
    assert scores_of(root)["images_outputs"] == 3


def test_a_generator_of_grey_images_is_compared_with_grey_ones(root: Path) -> None:
    train(train_options(root, f"{SETUP} --name grey --output_nc 1 --input_nc 1"))
    unpair(root)
    assert metrics(root, "--name", "grey").code == 0
    files = list((root / "results/grey/test_latest_metrics/images").glob("*/*.png"))
    assert {Image.open(path).mode for path in files} == {"L"}


@pytest.mark.parametrize(("flags", "words"), [
    (("--outputs", "x"), ("--outputs", "not allowed with", "--name")),
    (("--epoch", "7"), ("7_net_G.pth",)),
    (("--epoch", "../one/latest"), ("--epoch", "letters")),
    (("--name", "two"), ("there is no experiment two", "one")),
    (("--name", "../checkpoints/one"), ("--name", "inside --checkpoints_dir")),
    (("--phase", "../test"), ("--phase", "letters")),
    (("--phase", "val"), ("no folder", "valA")),
    (("--num_test", "1"), ("single image",)),
    (("--record", "translation=x"), ("--record", "another key")),
    (("--metrics", "nothing"), ("--metrics", "nothing")),
])
def test_what_cannot_be_done_is_one_sentence(root: Path, flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    says(metrics(root, *flags), *words)


@pytest.mark.parametrize("flag", ["--epoch 1", "--use_ema", "--dataroot x", "--num_test 3", "--load_size 8",
                                  "--phase val", "--pairs no"])
def test_flags_of_a_translation_contradict_outputs(tmp_path: Path, flag: str) -> None:
    name, *values = flag.split()
    says(run("evaluate.py", "metrics", "--outputs", tmp_path, "--real", tmp_path, name, *values), name, "needs --name")


def test_outputs_need_real_images(tmp_path: Path) -> None:
    says(run("evaluate.py", "metrics", "--outputs", tmp_path), "--outputs needs --real")


def test_a_second_run_at_once_is_refused(root: Path) -> None:
    folder = root / "results/one/test_latest_metrics"
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(folder, ready, done))
    other.start()
    try:
        assert ready.wait(60)
        says(metrics(root), "another process is writing into", "test_latest_metrics")
    finally:
        done.set()
        other.join()
    assert metrics(root).code == 0


def hold(folder: Path, ready: Any, done: Any) -> None:
    """In another process: keep a folder until told otherwise."""
    with locked(folder):
        ready.set()
        done.wait(60)


def test_a_results_folder_that_cannot_be_made_is_one_sentence(root: Path) -> None:
    (root / "results").write_text("a file")
    says(metrics(root), "results")


@pytest.mark.parametrize("content", [[1], {1: 2}, {"mixed": 3}, {"networks": {"G": {}}}, "text"])
@pytest.mark.parametrize("flag", ["inception", "lpips"])
def test_weights_of_another_kind_are_one_sentence(root: Path, content: object, flag: str) -> None:
    torch.save(content, root / "weights.pth")
    metric = {"inception": "fid", "lpips": "lpips"}[flag]
    says(metrics(root, "--metrics", metric, f"--{flag}_weights", root / "weights.pth"), f"--{flag}_weights",
         "weights.pth")


@pytest.mark.parametrize("flag", ["inception", "lpips"])
def test_a_generator_is_no_feature_network(root: Path, flag: str) -> None:
    weights = root / "checkpoints" / "one" / "latest_net_G.pth"
    metric = {"inception": "fid", "lpips": "lpips"}[flag]
    says(metrics(root, "--metrics", metric, f"--{flag}_weights", weights), f"--{flag}_weights", "latest_net_G.pth")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_names_that_are_no_text_reach_the_file(tmp_path: Path) -> None:
    for folder in ("outputs", "real"):
        for index in range(3):
            save_noise(tmp_path / folder / os.fsdecode(b"\xff%d.png" % index), index, (8, 8))
    outcome = run("evaluate.py", "metrics", "--outputs", tmp_path / "outputs", "--real", tmp_path / "real", "--paired",
                  "--gpu_ids", "-1", "--layer", "relu1_2", "--bootstrap", "0", "--cache_dir", "none", "--json",
                  tmp_path / "scores.json")
    assert outcome.code == 0, outcome.err
    warnings = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["warnings"]
    assert any(os.fsdecode(b"\xff0.png") in warning for warning in warnings), warnings


@pytest.mark.parametrize("place", ["folder", "file/scores.json"])
def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    says(run("evaluate.py", "metrics", "--outputs", tmp_path / "none", "--real", tmp_path, "--json", tmp_path / place),
         "cannot be written", place)
