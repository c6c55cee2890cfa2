"""``evaluate.py metrics`` from folders to table, JSON file and exit code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluate import main, parse
from evaluation.feature_extractors import VGGFeatures, weights_sha256
from metrics.frechet import frechet_distance
from metrics.kernel import kernel_distance
from util.errors import UserError
from util.images import find_images

ROOT = Path(__file__).parent.parent
COUNT = 4


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


def command(folders: Path, *more: str, leave_out: str = "") -> list[str]:
    """A complete command line, without one of the folders if asked."""
    flags = ["metrics", "--layer", "relu1_2", "--vgg_weights", "random", "--gpu_ids", "-1",
             "--cache_dir", str(folders / "cache"), "--bootstrap", "20"]
    for name in ("inputs", "outputs", "truth", "real"):
        if name != leave_out:
            flags += [f"--{name}", str(folders / name)]
    return [*flags, *more]


def run(folders: Path, *more: str, leave_out: str = "") -> dict[str, Any]:
    target = folders / "new" / "folder" / "metrics.json"
    main(command(folders, "--json", str(target), *more, leave_out=leave_out))
    assert [path.name for path in target.parent.iterdir()] == ["metrics.json"]  # nothing half-written stays
    result = json.loads(target.read_text(encoding="utf-8"))
    assert isinstance(result, dict)
    return result


def test_scores_are_those_of_the_folders(folders: Path):
    scores = run(folders)
    features = VGGFeatures("relu1_2", "random")
    outputs, inputs, real = (features(find_images(folders / name, "--x")) for name in ("outputs", "inputs", "real"))
    assert scores["frechet_outputs"] == pytest.approx(frechet_distance(outputs, real), rel=1e-5)
    assert scores["frechet_inputs"] == pytest.approx(frechet_distance(inputs, real), rel=1e-5)
    assert scores["kernel_outputs"] == pytest.approx(kernel_distance(outputs, real), rel=1e-5)
    pairs = [
        [np.asarray(Image.open(folders / name / f"{index}.png"), dtype=float) for name in ("outputs", "truth")]
        for index in range(COUNT)
    ]
    overlaps = [(output.max(-1) == 0).sum() / (truth.max(-1) == 0).sum() for output, truth in pairs]
    assert 0.5 < np.mean(overlaps) < 0.95
    assert scores["line_iou_outputs"] == pytest.approx(np.mean(overlaps))
    assert scores["line_iou_inputs"] == 0
    errors = [np.abs(output - truth).mean() / 255 for output, truth in pairs]
    assert scores["colour_error_outputs"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert scores["colour_error_inputs"] == pytest.approx(
        np.mean([(255 - truth).mean() / 255 for _, truth in pairs]), rel=1e-4
    )


def test_what_the_numbers_depend_on_is_written_beside_them(folders: Path):
    scores = run(folders, "--layer", "1")
    assert scores["images_outputs"] == COUNT
    assert scores["images_real"] == COUNT + 1
    assert scores["feature_layer"] == "relu1_2"
    assert scores["vgg_weights"] == "random"
    assert scores["vgg_weights_sha256"] is None
    assert scores["line_threshold"] == 0.5
    assert "torch_version" in scores
    bundled = run(folders, "--vgg_weights", "bundled")
    assert bundled["vgg_weights_sha256"] == weights_sha256("bundled")


def test_recorded_pairs_stand_at_top_level_and_numbers_are_numbers(folders: Path):
    pairs = ["page=results/a=b.html", "train_seconds=12.5", "steps=-3", "rate=4e-4", "commit=007", "x=NaN", "y=true"]
    scores = run(folders, "--record", *pairs[:3], "--record", *pairs[3:])
    found = {name: scores[name] for name in ("page", "train_seconds", "steps", "rate", "commit", "x", "y")}
    assert found == {"page": "results/a=b.html", "train_seconds": 12.5, "steps": -3, "rate": 4e-4,
                     "commit": "007", "x": "NaN", "y": "true"}
    assert isinstance(scores["steps"], int)


def test_only_the_scores_that_the_folders_allow_are_given(folders: Path):
    assert not any(key.startswith(("line_iou_", "colour_")) for key in run(folders, leave_out="truth"))
    without_inputs = run(folders, leave_out="inputs")
    assert "line_iou_outputs" in without_inputs
    assert not any(key.endswith("_inputs") for key in without_inputs)


def test_inputs_are_scored_on_the_images_that_have_an_output(folders: Path):
    everything = run(folders)
    (folders / "outputs" / "3.png").unlink()
    fewer = run(folders)
    for name in ("inputs", "truth"):
        (folders / name / "3.png").unlink()
    assert run(folders) == fewer
    assert fewer["colour_error_inputs"] != everything["colour_error_inputs"]


def test_several_styles_take_turns(folders: Path):
    outputs, inputs = folders / "outputs", folders / "inputs"  # the second style is blank
    turns = folders / "turns"
    turns.mkdir()
    for index in range(COUNT):
        shutil.copy((outputs, inputs)[index % 2] / f"{index}.png", turns)
    expected = run(folders, "--outputs", str(turns))
    found = run(folders, "--outputs", str(outputs), str(inputs))
    assert found.pop("styles") == 2
    assert found == expected
    assert found["line_iou_outputs"] < run(folders)["line_iou_outputs"]
    (inputs / "1.png").unlink()
    with pytest.raises(UserError, match=r"--outputs: .*1\.png' has no partner in .*inputs"):
        run(folders, "--outputs", str(outputs), str(inputs))


def test_table_has_a_row_for_each_measure_and_aligned_columns(folders: Path, capsys: pytest.CaptureFixture[str]):
    scores = run(folders)
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["inputs", "outputs"]
    titles = ["Fréchet", "kernel", "line", "colour", "SSIM", "PSNR"]
    assert [line.split()[0] for line in lines[1:]] == titles
    for line, name in zip(lines[1:], ("frechet", "kernel", "line_iou", "colour_error", "ssim", "psnr"), strict=True):
        cells = re.findall(r"(\S+) \[(\S+), (\S+)\]", line)
        for cell, column in zip(cells, ("inputs", "outputs"), strict=True):
            expected = [scores[f"{name}_{column}"], *scores[f"{name}_{column}_interval"]]
            assert [float(number) for number in cell] == pytest.approx(expected, rel=1e-2)
    main(command(folders, "--bootstrap", "0", leave_out="inputs"))
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[-2] == "-"
    assert float(row[-1]) == pytest.approx(scores["frechet_outputs"], rel=1e-3)


def spoil(folders: Path, how: str) -> None:
    if how == "partner":
        (folders / "truth" / "2.png").unlink()
    elif how == "input":
        (folders / "inputs" / "2.png").unlink()
    elif how == "size":
        Image.new("RGB", (16, 12)).save(folders / "truth" / "2.png")
    elif how == "broken":
        (folders / "outputs" / "2.png").write_bytes(b"no image")
    else:  # "no outputs", "one real"
        count, name = how.split()
        for path in sorted((folders / name).iterdir())[{"no": 0, "one": 1}[count] :]:
            path.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("partner", r"--truth: .*outputs/2\.png.*no partner.*truth"),
        ("input", r"--inputs: .*outputs/2\.png.*no partner.*inputs"),
        ("size", r"outputs/2\.png.*16x16.*truth/2\.png.*16x12"),
        ("broken", r"outputs/2\.png.*cannot be read"),
        ("one outputs", r"--outputs: .*outputs.*single image.*at least two"),
        ("no outputs", r"--outputs: no images directly in .*outputs"),
        ("one real", r"--real: .*real.*single image.*at least two"),
        ("no real", r"--real: no images directly in .*real"),
    ],
)
def test_mistakes_in_the_folders_are_named(folders: Path, how: str, message: str):
    spoil(folders, how)
    with pytest.raises(UserError, match=message):
        run(folders)
    assert not (folders / "new").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--record", "train_seconds"], "KEY=VALUE"),
        (["--record", "=3"], "KEY=VALUE"),
        (["--record", "frechet_outputs=3"], "frechet_outputs.*another key"),
        (["--layer", "relu9_1"], "relu9_1"),
        (["--vgg_weights", "/nowhere/vgg.pth"], "/nowhere/vgg.pth"),
        (["--gpu_ids", "99"], "--gpu_ids 99.*-1 for the CPU"),
        (["--gpu_ids", "first"], "--gpu_ids first"),
        (["--batch_size", "0"], "--batch_size.*positive"),
        (["--output", "x"], "--output"),
        (["--metrics", "ssim,fids"], r"--metrics: there is no 'fids'; choose from frechet, .*lpips"),
        (["--metrics", "prdc"], r"--metrics prdc: it needs 6 images in each folder, and one holds 4"),
        (["--metrics", "lpips", "--lpips_weights", "/nowhere.pth"], r"--lpips_weights: there is no file /nowhere\.pth"),
        (["--metrics", "fid", "--inception_weights", "/nowhere.pth"],
         r"--inception_weights: there is no file /nowhere\.pth; give .*weights-inception-2015-12-05-6726825d\.pth"),
        (["--resize", "bicubic"], "--resize.*clean"),
        (["--bootstrap", "-1"], "--bootstrap.*whole number"),
        (["--paired"], r"--paired: '.*outputs' holds 4 images and '.*real' 5"),
        (["--record", "bootstrap=3"], "bootstrap.*another key"),
        (["--json", "/dev/null/metrics.json"], "/dev/null/metrics.json.*cannot be written"),
    ],
)
def test_mistakes_on_the_command_line_are_named(folders: Path, more: list[str], message: str):
    with pytest.raises(UserError, match=message):
        main(command(folders, *more))


def test_every_score_has_an_interval_that_the_seed_determines(folders: Path):
    scores = run(folders)
    for name in ("frechet", "kernel", "line_iou", "colour_error", "ssim", "psnr"):
        low, high = scores[f"{name}_outputs_interval"]
        assert low < scores[f"{name}_outputs"] < high
    assert (scores["bootstrap"], scores["bootstrap_seed"], scores["confidence"]) == (20, 0, 0.95)
    assert run(folders) == scores
    assert run(folders, "--seed", "1")["frechet_outputs_interval"] != scores["frechet_outputs_interval"]
    assert not any(name.endswith("_interval") for name in run(folders, "--bootstrap", "0"))


def test_what_does_not_suit_few_or_small_images_is_left_out_or_warned_of(
    folders: Path, capsys: pytest.CaptureFixture[str]
):
    for name in ("inputs", "outputs", "truth"):
        for path in (folders / name).iterdir():
            Image.open(path).crop((0, 0, 16, 8)).save(path)
    scores = run(folders)
    expected = [r"ssim is left out: .*0\.png' has 16x8 pixels, and SSIM needs images of 11x11",
                r"frechet: 4 images are fewer than the 64 features.*larger",
                r"prdc is left out: it needs 6 images in each folder, and one holds 4"]
    assert len(scores["warnings"]) == len(expected)
    for warning, pattern in zip(scores["warnings"], expected, strict=True):
        assert re.match(pattern, warning)
    assert capsys.readouterr().err.splitlines() == [f"evaluate.py: warning: {text}" for text in scores["warnings"]]
    assert not any(name.startswith(("ssim", "precision")) for name in scores)
    with pytest.raises(UserError, match=r"--metrics ssim: .*11x11"):
        run(folders, "--metrics", "ssim")


def test_the_metrics_named_are_computed_and_no_others(folders: Path):
    scores = run(folders, "--metrics", "psnr,kernel")
    measures = {name.removesuffix("_outputs") for name in scores if name.endswith("_outputs") and name[:6] != "images"}
    assert measures == {"kernel", "psnr"}
    assert scores["images_truth"] == scores["images_inputs"] == COUNT
    assert "feature_network" not in run(folders, "--metrics", "psnr")
    with pytest.raises(UserError, match=r"--metrics psnr compares .*--truth"):
        run(folders, "--metrics", "psnr", leave_out="truth")


def test_paired_real_images_are_the_truth(folders: Path):
    by_truth = run(folders, "--real", str(folders / "truth"))
    assert run(folders, "--real", str(folders / "truth"), "--paired", leave_out="truth") == by_truth
    (folders / "truth" / "3.png").rename(folders / "truth" / "4.png")
    with pytest.raises(UserError, match=r"--paired: '.*3\.png' has no partner"):
        run(folders, "--real", str(folders / "truth"), "--paired", leave_out="truth")


def test_enough_images_have_precision_recall_density_and_coverage(folders: Path):
    for name in ("inputs", "outputs", "truth"):
        for index in range(4, 7):
            shutil.copy(folders / name / "1.png", folders / name / f"{index}.png")
    scores = run(folders, "--real", str(folders / "outputs"))
    assert scores["coverage_outputs"] > 0.5 > scores["coverage_inputs"] == 0
    assert scores["prdc_neighbours"] == 5


@pytest.mark.parametrize(("argv", "message"), [
    ([], "required: {metrics,diversity,epochs,compare,structure,cityscapes}"), (["metric"], "metrics"),
    (["metrics"], "--outputs")])
def test_an_unknown_or_missing_command_or_flag_is_named(argv: list[str], message: str):
    with pytest.raises(UserError, match=message):
        parse(argv)


def test_an_earlier_result_survives_a_failed_run(folders: Path):
    first = run(folders)
    spoil(folders, "size")
    with pytest.raises(UserError):
        run(folders)
    assert json.loads((folders / "new" / "folder" / "metrics.json").read_text()) == first


def test_help_tells_of_every_flag_whether_it_is_required_or_its_default(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse(["metrics", "--help"])
    entries = re.split(r"\n  (?=--)", capsys.readouterr().out)[1:]
    assert len(entries) == 29
    for entry in entries:
        assert "required" in entry or re.search(r"\(default:\s+\S", entry), entry
        assert "None" not in entry


def test_a_mistake_ends_the_program_with_one_line_and_code_2(tmp_path: Path):
    missing = str(tmp_path / "nowhere")
    finished = subprocess.run(
        [sys.executable, "evaluate.py", "metrics", "--outputs", missing, "--real", missing],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.startswith("evaluate.py: error: --outputs: there is no folder")
    assert finished.stderr.count("\n") == 1
