"""``evaluate.py metrics``, from folders or from a checkpoint, to table, JSON file and exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import Outcome, locked_elsewhere, run
from PIL import Image
from test_user_errors import says
from tiny import save_folders, save_noise, train_options, translate_options

from evaluate import main
from evaluation.feature_extractors import VGGExtractor
from metrics.bootstrap import ones
from metrics.frechet import frechet_distance
from metrics.kernel import kernel_statistic
from test import translate
from train import train
from util.errors import UserError
from util.image_folders import find_images
from util.images import load_normalized
from util.pages import Grid, fill_page

COUNT = 4
PAIRED = ("line_iou", "colour_error", "ssim", "psnr")
SETTINGS = ("--layer", "relu1_2", "--vgg_weights", "random", "--gpu_ids", "-1", "--bootstrap", "20", "--cache_dir",
            "none")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Outputs that are nearly the truth, inputs that are white, and some real images."""
    random = np.random.default_rng(0)
    for name in ("inputs", "outputs", "truth", "real"):
        (tmp_path / name).mkdir()
    for index in range(COUNT):
        truth = np.where(random.random((16, 16, 1)) < 0.3, 0, random.integers(200, 256, (16, 16, 3)))
        output = truth.copy()
        output[:, :4] = 255
        for name, array in (("inputs", truth * 0 + 255), ("outputs", output), ("truth", truth)):
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / name / f"{index}.png")
    for index in range(COUNT + 1):
        array = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / "real" / f"real{index}.png")
    return tmp_path


def score(folders: Path, *more: str, leave_out: str = "") -> dict[str, Any]:
    target = folders / "new" / "folder" / "metrics.json"
    given = [item for name in ("inputs", "outputs", "truth", "real") if name != leave_out
             for item in (f"--{name}", str(folders / name))]
    main(["metrics", *SETTINGS, *given, "--json", str(target), *more])
    assert [path.name for path in target.parent.iterdir()] == ["metrics.json"]  # no partial file stays
    return dict(json.loads(target.read_text(encoding="utf-8")))


# --- folders


def test_scores_are_those_of_the_folders_with_what_they_depend_on(folders: Path) -> None:
    scores = score(folders)
    extractor = VGGExtractor("relu1_2", "random", "cpu")
    outputs, inputs, real = (
        extractor(torch.stack([load_normalized(path, 3) for path in find_images(folders / name, "--x")]))
        for name in ("outputs", "inputs", "real"))
    assert scores["frechet_outputs"] == pytest.approx(frechet_distance(outputs, real), rel=1e-5)
    assert scores["frechet_inputs"] == pytest.approx(frechet_distance(inputs, real), rel=1e-5)
    assert scores["kernel_outputs"] == pytest.approx(
        kernel_statistic(outputs, real)(ones(outputs), ones(real)).item(), rel=1e-5)
    pairs = [[np.asarray(Image.open(folders / name / f"{index}.png"), dtype=float) for name in ("outputs", "truth")]
             for index in range(COUNT)]
    overlaps = [(output.max(-1) == 0).sum() / (truth.max(-1) == 0).sum() for output, truth in pairs]
    assert scores["line_iou_outputs"] == pytest.approx(np.mean(overlaps))
    assert scores["line_iou_inputs"] == 0
    errors = [np.abs(output - truth).mean() / 255 for output, truth in pairs]
    assert scores["colour_error_outputs"] == pytest.approx(np.mean(errors), rel=1e-4)
    expected = {"images_outputs": COUNT, "images_real": COUNT + 1, "feature_layer": "relu1_2", "vgg_weights": "random",
                "vgg_weights_sha256": None, "line_threshold": 0.5, "bootstrap": 20, "bootstrap_seed": 0,
                "confidence": 0.95, "prdc_neighbours": 5, "device": "cpu"}
    assert {name: scores[name] for name in expected} == expected
    assert "torch_version" in scores
    low, high = scores["psnr_outputs_interval"]
    assert low < scores["psnr_outputs"] < high


def test_the_table_has_a_row_for_each_score(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score(folders)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["inputs", "outputs"]
    names = ("frechet", "kernel", *PAIRED)
    assert [line.split()[0] for line in lines[1:]] == ["Fréchet", "kernel", "line", "colour", "SSIM", "PSNR"]
    for line, name in zip(lines[1:], names, strict=True):
        cells = re.findall(r"(\S+) \[(\S+), (\S+)\]", line)
        for cell, column in zip(cells, ("inputs", "outputs"), strict=True):
            expected = [scores[f"{name}_{column}"], *scores[f"{name}_{column}_interval"]]
            assert [float(number) for number in cell] == pytest.approx(expected, rel=1e-2)
    assert captured.err.splitlines() == [f"warning: {text}" for text in scores["warnings"]]
    assert scores["warnings"][1] == "prdc is left out: it needs 6 images in each folder, and one holds 4"
    without = score(folders, "--bootstrap", "0", leave_out="inputs")
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["-", f"{scores['frechet_outputs']:.4g}"]
    assert not any(key.endswith(("_inputs", "_interval")) for key in without)


def test_the_metrics_named_are_computed_and_no_others(folders: Path) -> None:
    scores = score(folders, "--metrics", "psnr,kernel")
    found = {name.removesuffix("_outputs") for name in scores if name.endswith("_outputs") and name[:6] != "images"}
    assert found == {"kernel", "psnr"}
    assert "feature_network" not in score(folders, "--metrics", "psnr")
    with pytest.raises(UserError, match=r"--metrics psnr compares .*--truth"):
        score(folders, "--metrics", "psnr", leave_out="truth")
    assert not any(key.startswith(PAIRED) for key in score(folders, leave_out="truth"))


def test_inputs_are_scored_on_the_images_that_have_an_output(folders: Path) -> None:
    everything = score(folders)
    (folders / "outputs" / "3.png").unlink()
    fewer = score(folders)
    for name in ("inputs", "truth"):
        (folders / name / "3.png").unlink()
    assert score(folders) == fewer
    assert fewer["colour_error_inputs"] != everything["colour_error_inputs"]


def test_several_styles_take_turns(folders: Path) -> None:
    outputs, inputs, turns = (folders / name for name in ("outputs", "inputs", "turns"))  # the second style is blank
    turns.mkdir()
    for index in range(COUNT):
        shutil.copy((outputs, inputs)[index % 2] / f"{index}.png", turns)
    found = score(folders, "--outputs", str(outputs), str(inputs))
    assert found.pop("styles") == 2
    assert found == score(folders, "--outputs", str(turns))


def test_paired_real_images_are_the_truth(folders: Path) -> None:
    by_truth = score(folders, "--real", str(folders / "truth"))
    assert score(folders, "--real", str(folders / "truth"), "--paired", leave_out="truth") == by_truth


def test_real_images_and_inputs_are_cached_and_outputs_are_not(folders: Path) -> None:
    first = score(folders, "--cache_dir", str(folders / "cache"))
    assert len(list((folders / "cache").iterdir())) == 2
    assert score(folders, "--cache_dir", str(folders / "cache")) == first


def test_recorded_pairs_stand_at_top_level_and_numbers_are_numbers(folders: Path) -> None:
    pairs = ["page=results/a=b.html", "steps=-3", "rate=4e-4", "commit=007", "x=NaN", "y=true"]
    scores = score(folders, "--metrics", "psnr", "--record", *pairs[:3], "--record", *pairs[3:])
    assert {name: scores[name] for name in ("page", "steps", "rate", "commit", "x", "y")} == {
        "page": "results/a=b.html", "steps": -3, "rate": 4e-4, "commit": "007", "x": "NaN", "y": "true"}


@pytest.mark.parametrize(("spoiled", "count", "message"), [
    ("truth", 3, r"--truth: .*outputs/3\.png.*no partner.*truth"),
    ("inputs", 3, r"--inputs: .*outputs/3\.png.*no partner.*inputs"),
    ("outputs", 1, r"--outputs: .*outputs.*single image.*at least two"),
    ("real", 1, r"--real: .*real.*single image.*at least two"),
    ("real", 0, r"--real: no images in .*real"),
])
def test_missing_images_are_named(folders: Path, spoiled: str, count: int, message: str) -> None:
    for path in sorted((folders / spoiled).iterdir())[count:]:
        path.unlink()
    with pytest.raises(UserError, match=message):
        score(folders)
    assert not (folders / "new").exists()


def test_an_earlier_result_survives_a_run_that_fails(folders: Path) -> None:
    first = score(folders)
    Image.new("RGB", (16, 12)).save(folders / "truth" / "2.png")
    with pytest.raises(UserError, match=r"outputs/2\.png.*16x16.*truth/2\.png.*16x12"):
        score(folders)
    (folders / "truth" / "2.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"truth/2\.png.*cannot be read"):
        score(folders)
    assert json.loads((folders / "new" / "folder" / "metrics.json").read_text()) == first


@pytest.mark.parametrize(("more", "message"), [
    (["--record", "train_seconds"], "KEY=VALUE"),
    (["--record", "frechet_outputs=3"], "frechet_outputs.*another key"),
    (["--record", "bootstrap=3"], "bootstrap.*another key"),
    (["--layer", "relu9_1"], "relu9_1"),
    (["--batch_size", "0"], "--batch_size.*least value is 1"),
    (["--metrics", "ssim,fids"], r"--metrics: there is no 'fids'; choose from frechet, .*lpips"),
    (["--metrics", "prdc"], r"--metrics prdc: it needs 6 images in each folder, and one holds 4"),
    (["--metrics", "fid", "--inception_weights", "/nowhere.pth"], r"--inception_weights: there is no file /nowhere"),
    (["--resize", "bicubic"], "--resize.*clean"),
    (["--bootstrap", "-1"], "--bootstrap.*least value is 0"),
    (["--paired"], r"--paired: '.*outputs' holds 4 images and '.*real' 5"),
    (["--json", "/dev/null/metrics.json"], "/dev/null/metrics.json.*cannot be written"),
    (["--epoch", "1"], "--epoch.*needs --name"),
    (["--pairs", "no"], "--pairs.*needs --name"),
])
def test_mistakes_on_the_command_line_are_named(folders: Path, more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(folders, *more)


def test_an_unknown_or_missing_command_or_flag_is_named(tmp_path: Path) -> None:
    for argv, message in (([], "one of metrics, diversity, epochs, compare, structure, cityscapes"),
                          (["metric"], "metrics"), (["metrics"], "--outputs")):
        with pytest.raises(UserError, match=message):
            main(argv)
    says(run("evaluate.py", "metrics", "--outputs", tmp_path), "--outputs needs --real")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_names_that_are_no_text_reach_the_file(tmp_path: Path) -> None:
    for folder in ("outputs", "real"):
        for index in range(3):
            save_noise(tmp_path / folder / os.fsdecode(b"\xff%d.png" % index), index, (8, 8))
    outcome = run("evaluate.py", "metrics", "--outputs", tmp_path / "outputs", "--real", tmp_path / "real", "--paired",
                  *SETTINGS, "--json", tmp_path / "scores.json")
    assert outcome.code == 0, outcome.err
    warnings = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["warnings"]
    assert any(os.fsdecode(b"\xff0.png") in warning for warning in warnings), warnings


# --- a checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a test set of pairs, and an experiment; to be copied before it is changed."""
    root = save_folders(save_folders(tmp_path_factory.mktemp("trained")), "test", (3, 3))
    train(train_options(root, "--seed 3 --lr 0.02 --init_gain 0.5 --no_html --name one --n_epochs 2 --n_epochs_decay 0 "
                              "--save_epoch_freq 1 --ema 0.5"))
    return root


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "data"))


def metrics(root: Path, *flags: object) -> Outcome:
    """Run it with the folders below ``root``; later flags win."""
    return run("evaluate.py", "metrics", "--name", "one", "--dataroot", root, "--checkpoints_dir", root / "checkpoints",
               "--results_dir", root / "results", *SETTINGS, *flags)


def scores_of(root: Path, *flags: object, folder: str = "test_latest_metrics") -> dict[str, Any]:
    outcome = metrics(root, *flags)
    assert outcome.code == 0, outcome.err
    return dict(json.loads((root / "results" / "one" / folder / "metrics.json").read_text(encoding="utf-8")))


def test_the_pages_of_the_experiment_link_the_scores(root: Path) -> None:
    fill_page(root / "page.html", "results.html", "results", [root / "checkpoints" / "one"], title="t", note="",
              grid=Grid((), [], 64))
    scores_of(root)
    assert 'href="results/one/test_latest_metrics/metrics.json">metrics of test_latest<' in (
        root / "page.html").read_text(encoding="utf-8")


def unpair(root: Path) -> None:
    (root / "testB" / "0.png").rename(root / "testB" / "x.png")


def test_scores_are_those_of_the_folders_that_test_py_writes(root: Path) -> None:
    for name in ("a b#?%20.png", "ü.png", "a.b.c.png"):  # names of any kind
        for domain, seed in (("testA", 1), ("testB", 2)):
            save_noise(root / domain / name, seed, mode="LA")
    translate(translate_options(root, root, "--name one --model sc --dataset_mode unaligned"))
    page = root / "results/one/test_latest"
    before = {path: path.stat().st_mtime_ns for path in page.glob("images/**/*")}
    found = scores_of(root)
    assert {path: path.stat().st_mtime_ns for path in page.glob("images/**/*")} == before
    main(["metrics", "--outputs", str(page / "images" / "fake_B"), "--real", str(root / "testB"), "--truth",
          str(root / "testB"), "--inputs", str(root / "testA"), *SETTINGS, "--json", str(root / "expected.json")])
    expected = json.loads((root / "expected.json").read_text(encoding="utf-8"))
    assert {name: found[name] for name in expected} == expected
    assert all(f"{name}_{column}" in found for name in PAIRED for column in ("inputs", "outputs"))
    made = found["translation"]
    assert (made["experiment"], made["checkpoint"], made["epochs"], made["images"]) == ("one", "latest", 2, 10)
    assert len(made["sha256"]["G"]) == 64


def test_without_pairs_the_target_domain_is_what_is_real(root: Path) -> None:
    unpair(root)
    save_noise(root / "testB" / "inner" / "x.png", 9)
    found = scores_of(root, "--load_size", "16")
    assert found["images_real"] == 4, "subfolders count, as for test.py"
    assert not any(name.startswith(PAIRED) for name in found)
    files = list((root / "results/one/test_latest_metrics/images").glob("*/*.png"))
    assert {path.parent.name for path in files} == {"real_A", "fake_B", "real"}
    assert {Image.open(path).size for path in files} == {(16, 16)}
    shutil.rmtree(root / "testB")
    says(metrics(root), "no folder", "testB", "--real")
    assert scores_of(root, "--real", root / "trainB")["images_real"] == 5


def test_checkpoints_and_averages_have_folders_of_their_own(root: Path) -> None:
    first = scores_of(root, "--epoch", "1", folder="test_1_metrics")
    averaged = scores_of(root, "--use_ema", folder="test_latest_ema_metrics")
    assert first["frechet_outputs"] != averaged["frechet_outputs"]
    assert first["translation"]["epochs"] == 1
    assert list(averaged["translation"]["sha256"]) == ["G_ema"]


def test_images_of_an_earlier_run_are_not_scored(root: Path) -> None:
    left = root / "results/one/test_latest_metrics/images/fake_B/left.png"
    save_noise(left, 1)
    assert scores_of(root, "--num_test", "2")["images_outputs"] == 2
    assert not left.exists()


def test_a_generator_of_grey_images_is_compared_with_grey_ones(root: Path) -> None:
    train(train_options(root, "--no_html --name grey --output_nc 1 --input_nc 1 --max_iters 1"))
    unpair(root)
    assert metrics(root, "--name", "grey").code == 0
    files = list((root / "results/grey/test_latest_metrics/images").glob("*/*.png"))
    assert {Image.open(path).mode for path in files} == {"L"}


@pytest.mark.parametrize(("flags", "words"), [
    (("--outputs", "x"), ("either --outputs", "or --name")),
    (("--epoch", "7"), ("7_net_G.pth",)),
    (("--epoch", "../one/latest"), ("--epoch", "letters")),
    (("--record", "translation=x"), ("--record", "another key")),
])
def test_what_cannot_be_translated_is_one_sentence(root: Path, flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    says(metrics(root, *flags), *words)


def test_a_second_run_at_once_is_refused(root: Path) -> None:
    with locked_elsewhere(root / "results/one/test_latest_metrics"):
        says(metrics(root), "another process is writing into", "test_latest_metrics")
    assert metrics(root).code == 0
