"""Training from Python: the flags as keywords, reports that may stop it, and steps on batches of one's own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import ROOT
from states import content, differing
from steps import batch, build_model, weights
from test_distributed import torchrun
from tiny import LOSSES, NETWORKS, SIZES, train_options, train_step

from data import DATASETS
from inference import load
from models import MODELS
from options import TRAIN, arguments, parse
from training import Report, build, job, train
from util.errors import UserError

TINY: dict[str, Any] = {
    "netG": "resnet_6blocks", "ngf": 2, "netD": "n_layers", "n_layers_D": 1, "ndf": 2, "gpu_ids": -1, "seed": 3,
    "attn_layers": ["relu1_2", "relu2_1"], "vgg_weights": "random", "patch_nums": 8, "patch_size": 4, "crop_size": 16}
"""`NETWORKS` and `LOSSES` of the tests of train.py."""


def run(root: Path, name: str, **more: Any) -> dict[str, Any]:
    """Train, and return every tensor and number of the final checkpoint."""
    folder = train(dataroot=root, checkpoints_dir=root / "checkpoints", name=name, load_size=20, num_threads=0,
                   loggers=["json"], **TINY, **more)
    return content(folder)


# --- flags ----------------------------------------------------------------------------------------------------------


def test_keywords_are_typed_flags(root: Path) -> None:
    typed = "--lr 3e-4 --attn_layers relu1_2 --no_flip --no_dropout false --diff_augment color,cutout --patch_nums inf"
    given = {"dataroot": root, "lr": 3e-4, "attn_layers": ["relu1_2"], "no_flip": True, "no_dropout": False,
             "diff_augment": ("color", "cutout"), "patch_nums": float("inf")}
    options = [parse(TRAIN, MODELS, DATASETS, argv)
               for argv in (["--dataroot", str(root), *shlex.split(typed)], arguments(given))]
    assert options[0].as_dict() == options[1].as_dict()
    assert options[0].typed == options[1].typed == given.keys()


@pytest.mark.parametrize(("flags", "words"), [
    ({"lambda_spatail": 5}, "--lambda_spatail is not a flag .* did you mean --lambda_spatial"),
    ({"lr": -1}, "--lr: -1 is too small"), ({"ngf": 2.5}, "--ngf: '2.5' is not a whole number"),
    ({"seed": None}, "seed=None: leave the flag out"), ({"model": "lsesim"}, "did you mean --model sc --learned_attn"),
])
def test_a_wrong_keyword_is_named(root: Path, flags: dict[str, Any], words: str) -> None:
    for function in (train, build):
        with pytest.raises(UserError, match=words):
            function(**{"dataroot": root, **flags})


# --- training -------------------------------------------------------------------------------------------------------

FLAGS = {"learned_attn": True, "augment": True, "n_epochs": 2, "n_epochs_decay": 0, "print_freq": 2}


def test_it_is_the_training_of_train_py_whatever_the_reports_look_at(root: Path) -> None:
    reports: list[Report] = []
    shapes = []

    def note(report: Report) -> None:
        reports.append(report)
        shapes.append({name: tuple(image.shape) for name, image in report.pictures().items()})

    given = run(root, "given", on_report=note, eval_freq=6, eval_phase="train", **FLAGS)
    job.train(train_options(root, f"{NETWORKS} {LOSSES} {SIZES} --learned_attn --augment --n_epochs 2 --n_epochs_decay "
                                  "0 --print_freq 2 --seed 3 --no_html --eval_freq 6 --eval_phase train --name typed"))
    assert differing(content(root / "checkpoints" / "typed"), given) == []
    assert [(report.images, report.epoch) for report in reports] == [
        (2, 1), (4, 1), (6, 2), (6, 2), (8, 2), (10, 2), (10, 2)], "two of them for scores"
    assert {report.total for report in reports} == {10}
    assert [bool(report.scores) for report in reports] == [False] * 3 + [True] * 4
    assert {"G", "G_GAN", "G_spatial", "D_real", "F_contrastive"} <= reports[0].losses.keys()
    assert reports[0].values["lr/G"] == 1e-4
    assert not {"lr/G", "data_wait", "eval_frechet"} & reports[-1].losses.keys()
    assert reports[-1].scores["frechet"] > 0
    assert shapes[0] == dict.fromkeys(["real_A", "fake_B", "real_B", "real_A_similarity", "fake_B_similarity"],
                                      (1, 3, 16, 16))


def test_a_report_may_stop_the_training_which_resumes_to_the_bit(root: Path) -> None:
    expected = run(root, "whole", **FLAGS)
    stopped = run(root, "parts", on_report=lambda report: report.images == 4, **FLAGS)
    assert stopped["state.progress.images"] == 4

    def fail(report: Report) -> None:
        raise ZeroDivisionError(report.images)

    with pytest.raises(ZeroDivisionError, match="6"):
        run(root, "parts", on_report=fail, continue_train=True, **FLAGS)
    with pytest.raises(TypeError, match="on_report returned dict: return True"):
        run(root, "parts", on_report=lambda report: report.losses, continue_train=True, **FLAGS)
    assert content(root / "checkpoints" / "parts")["state.progress.images"] == 8
    assert differing(expected, run(root, "parts", continue_train=True, **FLAGS)) == []


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_and_then_ends_the_script(
    root: Path, number: signal.Signals, error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests in the background may have ignored it
    try:
        with pytest.raises(error):
            run(root, "run", on_report=lambda report: os.kill(os.getpid(), number), **FLAGS)
    finally:
        signal.signal(number, before)
    assert content(root / "checkpoints" / "run")["state.progress.images"] == 2
    assert "stopped by a signal after 2 of 10 images" in capsys.readouterr().out


def test_it_runs_in_a_thread(root: Path) -> None:
    states: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: states.append(run(root, "run", max_iters=2)))
    thread.start()
    thread.join()
    assert [state["state.progress.images"] for state in states] == [2]


@pytest.mark.slow
def test_the_first_of_two_processes_reports_and_stops_both(root: Path, tmp_path: Path) -> None:
    flags = {**TINY, **FLAGS, "dataroot": str(root), "checkpoints_dir": str(root / "checkpoints"), "load_size": 20,
             "num_threads": 0, "loggers": ["json"]}
    (tmp_path / "script.py").write_text(f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from training import train

def say(*words):  # at once: torchrun may kill a process when the other has failed
    os.write(1, " ".join(map(str, (*words, "\\n"))).encode())

def fail(report):
    say("fails", report.images)
    raise ZeroDivisionError

rank, flags = os.environ["RANK"], {flags!r}
say("stopped", rank, train(**flags, on_report=lambda report: say("report", rank, report.images) or True).name)
train(**flags, continue_train=True, on_report=fail)
""")
    done = torchrun(2, tmp_path / "script.py")
    assert done.returncode == 1
    assert re.findall(r"report \d+ \d+", done.stdout) == ["report 0 2"]
    assert sorted(re.findall(r"stopped \d \w+", done.stdout)) == [
        "stopped 0 experiment_name", "stopped 1 experiment_name"]
    assert re.findall(r"fails \d+", done.stdout) == ["fails 7"]
    assert content(root / "checkpoints" / "experiment_name")["state.progress.images"] == 9, "a step later"


# --- batches of one's own -------------------------------------------------------------------------------------------


def test_a_step_on_tensors_is_that_of_a_training(root: Path) -> None:
    model, step = build(learned_attn=True, **TINY)
    expected = build_model(root, "--learned_attn")
    for name, network in expected.networks.items():
        model.networks[name].load_state_dict(network.state_dict())
    for seed in range(2):
        for other, take in ((model, step), (expected, lambda batches: train_step(expected, batches))):
            torch.manual_seed(seed)
            losses = take([batch(seed, 2)])
            other.losses = {name: loss.item() for name, loss in losses.items()}
        assert model.losses == expected.losses
    for name, network in expected.networks.items():
        for ours, theirs in zip(model.networks[name].parameters(), network.parameters(), strict=True):
            assert torch.equal(ours, theirs), name
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize(("on_nan", "learns"), [("stop", False), ("skip", True)])
def test_after_a_step_with_nan_the_weights_change_only_if_it_is_skipped(on_nan: str, learns: bool) -> None:
    model, step = build(**TINY, on_nan=on_nan)
    before = weights(model.networks["G"])
    step([batch() | {"A": torch.full((1, 3, 16, 16), torch.nan)}])
    assert step.left_out == 1
    assert all(map(torch.equal, before, weights(model.networks["G"])))
    step([batch()])
    assert step.left_out == (0 if learns else 1)
    assert all(map(torch.equal, before, weights(model.networks["G"]))) != learns


def test_the_seed_of_a_model_is_that_of_its_weights() -> None:
    first, second = (build(**TINY)[0].networks["G"].state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("flag", [{"init_from": "first"}, {"continue_train": True}, {"identity_first": 9}], ids=str)
def test_a_new_model_does_not_ignore_that_other_weights_are_asked_for(flag: dict[str, Any]) -> None:
    name, = flag
    with pytest.raises(UserError, match=rf"^{name}: build makes a new model, .*; leave it out, and load weights"):
        build(**TINY, **flag)


# --- the page -------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "from_python.md").read_text(encoding="utf-8")
QUICK = 'name="\\g<1>", max_iters=2, print_freq=1, loggers=["json"], **tiny'


def test_the_lines_of_the_page_train(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.search(r"## Train\n(.*)## The loss", PAGE, re.DOTALL)
    assert lines is not None
    blocks = re.findall(r"```python\n(.*?)```", lines[1], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "lineart2color").symlink_to(root)
    tiny = {**TINY, "attn_layers": ["relu3_1"], "load_size": 32, "crop_size": 32, "num_threads": 0}
    photos = 2 * torch.rand(2, 1, 3, 128, 128) - 1
    shown: list[torch.Tensor] = []
    names: dict[str, Any] = {"tiny": tiny, "batches": [photos], "show": shown.append}
    for block in blocks:
        quick = re.sub(r'name="(\w+)"', QUICK, block.replace(', attn_layers=["relu3_1"]', "").replace("% 1000", "% 2"))
        exec(quick.replace("crop_size=128", "**{**tiny, 'crop_size': 128}"), names)
    assert names["translator"](photos[0]).shape == (1, 3, 128, 128)
    assert len(names["history"]) == 2
    assert [image.shape for image in shown] == [(1, 3, 32, 32)]
    assert load(tmp_path / "mine.pth", device="-1")(photos[0]).shape == (1, 3, 128, 128)
