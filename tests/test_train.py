"""train.py: repeatable to the bit, resumable to the bit, and everything that it leaves behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from states import content, differing
from tiny import save_folders, train_options

from models import MODELS, Model
from train import train
from training import job as program
from training.step import TrainingStep
from util.errors import UserError
from util.state_dicts import load_file, network_path

ROOT = Path(__file__).resolve().parent.parent
EPOCH = 5  # images in the larger folder


def run(root: Path, flags: str, name: str = "run") -> dict[str, Any]:
    """Train, and return every tensor and number of the final checkpoint."""
    train(train_options(root, f"--name {name} {flags}"))
    return content(root / "checkpoints" / name)


def log_of(root: Path, name: str = "run") -> list[dict[str, Any]]:
    lines = (root / "checkpoints" / name / "loss_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# --- repeatable -----------------------------------------------------------------------------------------------------


LSESIM = "--learned_attn --augment --no_dropout false --pool_size 2"


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(root: Path) -> None:
    flags = f"{LSESIM} --seed 3 --max_iters 8"
    first = run(root, flags, "a")
    assert differing(first, run(root, flags, "b")) == []
    assert differing(first, run(root, f"{flags} --num_threads 2", "c")) == []


# --- resumable ------------------------------------------------------------------------------------------------------


RUNS = [
    f"{LSESIM} --batch_size 2 --n_epochs 1",
    "--lr_policy plateau --pool_size 3 --n_epochs 1",
    pytest.param("--lr_policy cosine --n_epochs 3 --norm batch --preprocess none", marks=pytest.mark.slow),
    pytest.param("--lr_policy step --lr_decay_iters 1 --learned_attn --vgg_lr_scale 0.5 --lambda_gradient 1 "
                 "--lambda_identity 1", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("flags", RUNS)
def test_a_resumed_run_ends_like_an_uninterrupted_one(root: Path, flags: str) -> None:
    """Stopped in the middle of an epoch, at its end, and in another."""
    flags = f"{flags} --seed 3"
    expected = run(root, f"{flags} --max_iters 13", "whole")
    for stop in (3, EPOCH, EPOCH + 3, 13):
        resumed = run(root, f"{flags} --max_iters {stop}" + " --continue_train" * (stop > 3), "parts")
    assert differing(expected, resumed) == []
    assert expected["state.progress.images"] >= 13


class KilledError(Exception):
    """Stands for a process that is gone."""


@pytest.mark.parametrize(("images", "by"), [(4, "--save_by_iter"), (11, "")])
def test_a_killed_run_goes_on_from_its_last_save(
    root: Path, monkeypatch: pytest.MonkeyPatch, images: int, by: str
) -> None:
    flags = f"{LSESIM} --seed 3 --n_epochs 2 --save_latest_freq 3 --save_epoch_freq 1 {by}"
    expected = run(root, f"{flags} --max_iters 13", "whole")
    model_class = MODELS["sc"]
    step, steps = model_class.optimize_parameters, []

    def mortal(self: Model, minimize: Any) -> Any:
        steps.append(1)
        if len(steps) > images:
            raise KilledError
        return step(self, minimize)

    monkeypatch.setattr(model_class, "optimize_parameters", mortal)
    with pytest.raises(KilledError):
        run(root, f"{flags} --max_iters 13", "killed")
    monkeypatch.undo()
    saved = max(n for n in (0, 3, 5, 6, 9, 10) if n <= images)
    assert content(root / "checkpoints" / "killed")["state.progress.images"] == saved
    assert differing(expected, run(root, f"{flags} --max_iters 13 --continue_train", "killed")) == []
    steps_logged = [line["step"] for line in log_of(root, "killed")]
    assert steps_logged == sorted(set(steps_logged))


def test_an_epoch_whose_last_step_was_saved_but_not_its_end_is_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = f"--seed 3 --n_epochs 2 --n_epochs_decay 0 --save_epoch_freq 1 --save_latest_freq {EPOCH}"
    expected = run(root, flags, "whole")

    def die(self: Any) -> None:
        raise KilledError

    monkeypatch.setattr("training.job.Run.end_epoch", die)
    with pytest.raises(KilledError):
        run(root, flags, "killed")
    monkeypatch.undo()
    assert content(root / "checkpoints" / "killed")["state.progress.images_in_epoch"] == EPOCH
    assert differing(expected, run(root, f"{flags} --continue_train", "killed")) == []
    for epoch in "12":
        whole, killed = (content(root / "checkpoints" / name, epoch) for name in ("whole", "killed"))
        assert differing(whole, killed) == []


def test_a_drawn_seed_is_recorded_and_remembered(root: Path) -> None:
    seed = run(root, "--max_iters 3")["state.seed"]
    assert run(root, "--max_iters 1", "other")["state.seed"] != seed
    expected = run(root, f"--max_iters 7 --seed {seed}", "whole")
    assert differing(expected, run(root, "--max_iters 7 --continue_train")) == []
    options = json.loads((root / "checkpoints" / "run" / "train_opt.json").read_text(encoding="utf-8"))
    assert options["seed"] == seed


def test_saves_by_epoch_are_kept_and_can_be_gone_on_from(root: Path) -> None:
    flags = "--seed 3 --n_epochs 3 --n_epochs_decay 1 --save_epoch_freq 2"
    expected = run(root, flags)
    folder = root / "checkpoints" / "run"
    assert sorted(path.name for path in folder.glob("[0-9]*_net_G.pth")) == ["2_net_G.pth", "4_net_G.pth"]
    assert content(root / "checkpoints" / "run", "2")["state.progress.images"] == 2 * EPOCH
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]
    assert differing(expected, content(root / "checkpoints" / "run", "4")) == []
    assert differing(expected, run(root, f"{flags} --continue_train --epoch 2")) == []
    assert expected["state.progress.images"] == 4 * EPOCH
    assert expected["state.progress.epoch"] == 5


def test_rates_fall_from_epoch_to_epoch(root: Path) -> None:
    state = run(root, "--n_epochs 1 --n_epochs_decay 3 --max_iters 10 --lr 0.4 --learned_attn --vgg_lr_scale 0.5")
    rates = {key: value for key, value in state.items() if key.endswith(".lr")}
    assert rates == {"state.optimizers.G.param_groups.0.lr": pytest.approx(0.2),
                     "state.optimizers.D.param_groups.0.lr": pytest.approx(0.2),
                     "state.optimizers.F.param_groups.0.lr": pytest.approx(0.2),
                     "state.optimizers.F.param_groups.1.lr": pytest.approx(0.1)}


@pytest.mark.parametrize(("first", "resumed"), [("", "--epoch_count 3"), ("--epoch_count 3", "")])
def test_the_first_epoch_of_a_resumed_run_is_its_own(root: Path, first: str, resumed: str) -> None:
    flags = "--n_epochs 2 --n_epochs_decay 5 --seed 3"
    expected = run(root, f"{flags} {first} --max_iters 18", "whole")
    run(root, f"{flags} {first} --max_iters 8", "parts")
    state = run(root, f"{flags} {resumed} --max_iters 18 --continue_train", "parts")
    assert differing(expected, state) == []
    epoch = 6 if first else 4
    assert state["state.progress.epoch"] == epoch
    assert state["state.optimizers.G.param_groups.0.lr"] == pytest.approx(1e-4 * (1 - (epoch - 2) / 6))


@pytest.mark.parametrize(("policy", "rate"), [
    ("cosine", 0.25), *(pytest.param(policy, rate, marks=pytest.mark.slow)
                        for policy, rate in (("linear", 0.5), ("step", 0.01), ("plateau", 1.0)))])
def test_new_heads_join_the_schedule_at_the_epoch_of_the_run(root: Path, policy: str, rate: float) -> None:
    flags = f"--n_epochs {3 if policy == 'cosine' else 1} --n_epochs_decay 3 --lr_policy {policy} --lr_decay_iters 1"
    run(root, f"{flags} --max_iters 10")
    state = run(root, f"{flags} --max_iters 12 --continue_train --learned_attn")
    rates = {name: state[f"state.optimizers.{name}.param_groups.0.lr"] for name in "GDF"}
    assert rates == {name: pytest.approx(rate * 1e-4) for name in "GDF"}
    again = run(root, f"{flags} --max_iters 15 --continue_train --learned_attn")
    assert len({again[f"state.optimizers.{name}.param_groups.0.lr"] for name in "GDF"}) == 1


def test_the_plateau_policy_looks_at_the_mean_of_the_epoch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 1.0, 3.0, 2.0, 4.0, 7.0, 7.0, 7.0, 7.0, 7.0])
    monkeypatch.setattr(TrainingStep, "__call__", lambda *_, **__: {"G": torch.tensor(next(losses))})
    state = run(root, "--lr_policy plateau --max_iters 10")
    assert state["state.schedulers.G.best"] == pytest.approx(3)
    assert state["state.schedulers.G.num_bad_epochs"] == 1


# --- how long -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "images", "epoch", "in_epoch"), [
    ("--max_iters 4 --batch_size 3", 5, 2, 0),  # 3 and 2: the epoch's last batch is smaller
    ("--max_iters 12 --batch_size 2", 12, 3, 2),
    ("--n_epochs 2 --n_epochs_decay 0 --batch_size 4 --max_iters 1000", 10, 3, 0),
    ("--n_epochs 3 --n_epochs_decay 0 --epoch_count 3", 5, 4, 0),
])
def test_training_ends_after(root: Path, flags: str, images: int, epoch: int, in_epoch: int) -> None:
    state = run(root, flags)
    progress = {key.removeprefix("state.progress."): value for key, value in state.items() if "progress" in key}
    assert progress == {"images": images, "epoch": epoch, "images_in_epoch": in_epoch}


# --- what it leaves behind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "expected"), [(2, [4, 7, 9, 10]), (9, [5, 10])])
def test_batches_that_do_not_divide_the_frequencies_report_at_the_next_step(
    root: Path, batch: int, expected: list[int]
) -> None:
    run(root, f"--print_freq 3 --batch_size {batch} --max_iters 10")
    assert [line["step"] for line in log_of(root)] == expected


def test_the_last_losses_are_the_mean_of_what_was_not_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 1.0, 2.0])
    monkeypatch.setattr(TrainingStep, "__call__", lambda *_, **__: {"G": torch.tensor(next(losses))})
    run(root, "--max_iters 3 --print_freq 2")
    assert [line["G"] for line in log_of(root)] == [3.0, 2.0]
    losses = iter([6.0])
    run(root, "--max_iters 4 --print_freq 2 --continue_train")
    assert [line["G"] for line in log_of(root)] == [3.0, 2.0, 4.0]  # the third as if the run had not ended


def test_the_terminal_gets_plain_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(root, "--max_iters 6 --print_freq 2 --lr 0.0002 --verbose")
    out = capsys.readouterr().out
    assert "\r" not in out
    assert "\x1b" not in out
    assert [line.split("/")[0] for line in out.splitlines() if re.match(r"\d+/6 ", line)] == ["2", "4", "6"]
    assert re.search(r"lr: 0\.0002\t\[default: 0\.0001\]", out)
    assert "network G: ResnetGenerator" in out
    assert "Conv2d" in out
    assert "done: 6 images seen" in out
    last = next(line for line in out.splitlines() if line.startswith("6/6"))
    assert "G_spatial" in last
    assert "data_wait" in last
    assert not any(group in last for group in ("gradient", "lr/", "memory", "speed")), "details are for curves"


def test_a_published_generator_of_the_name_is_kept_aside(root: Path) -> None:
    (folder := root / "checkpoints" / "run").mkdir(parents=True)
    (folder / "latest_net_G.pth").write_bytes(b"downloaded")
    run(root, "--max_iters 1")
    assert (root / "checkpoints" / "run.1" / "latest_net_G.pth").read_bytes() == b"downloaded"


def test_sinks_are_closed_after_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    opened = program.open_sinks

    def recording(*args: Any) -> list[Any]:
        sinks = opened(*args)
        for sink in sinks:
            monkeypatch.setattr(sink, "close", lambda sink=sink: closed.append(sink))
        return sinks

    monkeypatch.setattr(program, "open_sinks", recording)
    (root / "trainA" / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1\.png"):
        run(root, "--max_iters 9 --max_bad_images 0 --no_html false")
    assert [type(getattr(sink, "sink", sink)).__name__ for sink in closed] == [
        "TerminalSink", "JsonLinesSink", "HtmlSink"]


# --- the published code's command line ------------------------------------------------------------------------------


def test_moving_average_is_the_recursion_over_the_steps(tmp_path: Path) -> None:
    root = save_folders(tmp_path)
    flags = "--seed 3 --ema 0.75 --max_iters 4 --save_latest_freq 1 --save_by_iter"
    train(train_options(root, f"{flags} --name whole"))
    folder = root / "checkpoints" / "whole"
    weights = [load_file(network_path(folder, f"iter_{step}", "G")) for step in range(1, 5)]
    averages = [load_file(network_path(folder, f"iter_{step}", "G_ema")) for step in range(1, 5)]
    for before, after, network in zip(averages, averages[1:], weights[1:], strict=False):
        for key in network:
            torch.testing.assert_close(after[key], 0.75 * before[key] + 0.25 * network[key], rtol=1e-5, atol=1e-7)


def test_moving_average_may_begin_late_but_is_not_dropped_unnoticed(tmp_path: Path, capsys: Any) -> None:
    root = save_folders(tmp_path)
    train(train_options(root, "--seed 3 --max_iters 2"))
    train(train_options(root, "--ema 0.9 --continue_train --max_iters 4"))
    assert "no moving average G_ema; it starts from the network" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"G_ema, which this run would drop.*--ema is 0\.0, was 0\.9"):
        train(train_options(root, "--continue_train --max_iters 6"))
