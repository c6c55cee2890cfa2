"""train.py --eval_freq: the test set's scores on the way, and the best generator, beside an untouched training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from states import content, differing
from test_distributed import TINY, torchrun
from test_train import log_of
from tiny import save_folders, save_noise, train_options, translate_options

from evaluation.generator_scores import GeneratorScorer
from models import MODELS, Model
from test import translate
from train import train
from training.evaluation import evaluation_options
from util.errors import UserError
from util.state_dicts import load_file, network_path

SETUP = "--seed 3 --n_epochs 1 --lr 0.01 --init_gain 0.5"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five training images, and a test set of three true pairs."""
    return save_folders(save_folders(tmp_path / "data"), "test", (3, 3))


def run(root: Path, flags: str, name: str = "run") -> dict[str, Any]:
    train(train_options(root, f"{SETUP} --no_html --name {name} {flags}"))
    return content(root / "checkpoints" / name)


def best_of(root: Path, name: str = "run") -> dict[str, Any]:
    found = json.loads((root / "checkpoints" / name / "best.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def scores_of(root: Path, name: str = "run") -> dict[int, dict[str, float]]:
    """Return the scores in the log, by images seen."""
    return {line["step"]: {key: value for key, value in line.items() if key.startswith("eval_")}
            for line in log_of(root, name) if "eval_frechet" in line}


def weights_of(root: Path, name: str) -> dict[str, Any]:
    """Return every published weight of the latest checkpoint."""
    folder = root / "checkpoints" / name
    return {f"{path.name} {key}": value.numpy().tobytes() for path in sorted(folder.glob("latest_net_*.pth"))
            for key, value in load_file(path).items()}


@pytest.mark.parametrize("flags", [
    "--no_dropout false --pool_size 2 --norm batch --batch_size 2 --ema 0.9",
    "--netG smallstylegan2 --netD n_layers --ngf 1",
    pytest.param("--model munit_sc --style_dim 3", marks=pytest.mark.slow),
    pytest.param("--model cycle_gan", marks=pytest.mark.slow),
])
def test_evaluation_changes_nothing_about_the_training(root: Path, flags: str) -> None:
    for name, more in (("plain", ""), ("scored", "--eval_freq 2")):
        train(train_options(root, f"{SETUP} --no_html --max_iters 8 --name {name} {flags} {more}"))
    assert weights_of(root, "plain") == weights_of(root, "scored")
    assert len(scores_of(root, "scored")) >= 4


def test_the_best_generator_is_kept_with_its_score(root: Path) -> None:
    run(root, "--max_iters 10 --eval_freq 2 --save_latest_freq 2 --save_by_iter")
    scores = scores_of(root)
    best = best_of(root)
    assert best["frechet"] == min(of["eval_frechet"] for of in scores.values())
    assert scores[best["images"]]["eval_frechet"] == best["frechet"]
    assert scores[best["images"]]["eval_line_iou"] == best["line_iou"]
    folder = root / "checkpoints" / "run"
    kept, saved = (load_file(network_path(folder, tag, "G")) for tag in ("best", f"iter_{best['images']}"))
    assert all(torch.equal(kept[key], saved[key]) for key in kept)
    assert (best["images_real"], best["feature_layer"]) == (3, "relu4_3")


def test_test_py_translates_with_the_best(root: Path) -> None:
    run(root, "--max_iters 4 --eval_freq 2 --ema 0.9")
    for flags in ("", "--use_ema"):
        translate(translate_options(root / "testA", root, f"--name run --epoch best {flags}"))
        assert len(list((root / "results" / "run" / "test_best" / "images" / "fake_B").glob("*.png"))) == 3


def test_a_resumed_run_has_the_scores_and_the_best_of_an_uninterrupted_one(root: Path) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    flags = "--eval_freq 3 --save_latest_freq 2 --max_iters 11"
    expected = run(root, flags, "whole")
    step, steps = MODELS["sc"].optimize_parameters, []

    def mortal(self: Model, minimize: Any) -> Any:
        steps.append(1)
        if len(steps) > 5:
            raise Killed
        return step(self, minimize)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODELS["sc"], "optimize_parameters", mortal)
        with pytest.raises(Killed):
            run(root, flags, "parts")
    assert differing(expected, run(root, f"{flags} --continue_train", "parts")) == []
    assert scores_of(root, "parts") == scores_of(root, "whole")
    assert best_of(root, "parts") == best_of(root, "whole")


def test_a_signal_puts_the_evaluation_off_to_the_resumed_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    expected = run(root, "--eval_freq 3 --max_iters 6", "whole")
    scores = GeneratorScorer.scores

    def interrupted(self: GeneratorScorer, stopped: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return scores(self, stopped)

    monkeypatch.setattr(GeneratorScorer, "scores", interrupted)
    options = train_options(root, f"{SETUP} --no_html --name parts --eval_freq 3 --max_iters 6")
    assert train(options) == 143
    assert content(root / "checkpoints" / "parts")["state.progress.images"] == 3
    assert scores_of(root, "parts") == {}
    monkeypatch.undo()
    assert differing(expected, run(root, "--eval_freq 3 --max_iters 6 --continue_train", "parts")) == []
    assert scores_of(root, "parts") == scores_of(root, "whole")


def test_another_test_set_has_a_best_score_of_its_own(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(root, "--eval_freq 2 --max_iters 2")
    save_noise(root / "testA" / "3.png", 77)
    run(root, "--eval_freq 2 --max_iters 4 --continue_train")
    assert "the test set is another one, so the best score starts afresh" in capsys.readouterr().out
    assert best_of(root)["images_real"] == 3


def test_a_run_that_goes_on_without_evaluation_remembers_the_best(root: Path) -> None:
    first = run(root, "--eval_freq 2 --max_iters 2")
    second = run(root, "--max_iters 4 --continue_train")
    assert first["state.evaluation.best.frechet"] == second["state.evaluation.best.frechet"]


def test_with_a_moving_average_that_is_what_is_scored(root: Path) -> None:
    run(root, "--eval_freq 4 --max_iters 4 --ema 0.9")
    options = train_options(root, f"{SETUP} --ema 0.9")
    examiner = GeneratorScorer(evaluation_options(options, averaged=True), torch.device("cpu"))
    examiner.translator.load(root / "checkpoints" / "run", "latest")
    assert examiner.scores() == pytest.approx({
        key.removeprefix("eval_"): value for key, value in scores_of(root)[4].items()})
    assert (root / "checkpoints" / "run" / "best_net_G_ema.pth").is_file()
    assert best_of(root)["averaged"] is True


@pytest.mark.slow
def test_two_processes_share_the_images_and_find_the_same_scores(root: Path) -> None:
    done = torchrun(2, "train.py", "--dataroot", root, "--checkpoints_dir", root / "checkpoints", *TINY, "--max_iters",
                    "4", "--eval_freq", "2", "--init_gain", "0.5", "--name", "two")
    assert done.returncode == 0, done.stderr
    options = train_options(root, "--init_gain 0.5")
    examiner = GeneratorScorer(evaluation_options(options, averaged=False), torch.device("cpu"))
    examiner.translator.load(root / "checkpoints" / "two", "latest")
    found = scores_of(root, "two")
    assert sorted(found) == [2, 4]
    assert examiner.scores() == pytest.approx({
        key.removeprefix("eval_"): value for key, value in found[4].items()}, rel=1e-4)
    assert best_of(root, "two")["images"] in found


def test_few_images_at_another_size_are_enough(root: Path) -> None:
    run(root, "--eval_freq 2 --max_iters 2 --eval_num 2 --eval_load_size 16")
    assert (best_of(root)["images_real"], best_of(root)["load_size"]) == (2, 16)


@pytest.mark.parametrize(("flags", "damage", "message"), [
    ("--eval_dataroot nowhere", "", r"--eval_freq: --dataroot: nowhere does not exist"),
    ("--eval_phase val", "", r"--eval_freq: --dataroot: there is no folder .*valA"),
    ("--eval_num 1", "", r"--eval_freq: --dataroot: the test set has a single image"),
    ("", "testB", r"--eval_freq: --dataroot: there is no folder .*testB"),
    ("", "testA/1.png", r"--eval_freq: .*1\.png cannot be read as an image"),
])
def test_a_test_set_that_cannot_be_scored_is_told_before_the_first_step(
    root: Path, flags: str, damage: str, message: str
) -> None:
    if damage.endswith(".png"):
        (root / damage).write_bytes(b"no image")
    elif damage:
        (root / damage).rename(root / "elsewhere")
    with pytest.raises(UserError, match=message):
        run(root, f"--eval_freq 2 --max_iters 2 {flags}")
    assert not (root / "checkpoints" / "run").exists()


def test_a_best_generator_that_cannot_be_written_is_one_sentence(root: Path) -> None:
    run(root, "--max_iters 2")
    (root / "checkpoints" / "run" / "best_net_G.pth").mkdir()
    with pytest.raises(UserError, match=re.escape("best could not be written to")):
        run(root, "--eval_freq 2 --max_iters 4 --continue_train")
