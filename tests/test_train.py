"""train.py: repeatable to the bit, resumable to the bit, and everything that it leaves behind."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from states import content, differing
from tiny import save_folders, train_options, translate_options

import train as program
from data import DATASETS
from models import MODELS, Model
from options import TRAIN, parse
from test import translate
from train import train
from training.step import TrainingStep
from util.errors import UserError
from util.state_dicts import load_file, network_path

ROOT = Path(__file__).resolve().parent.parent
EPOCH = 5  # images in the larger folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_folders(tmp_path / "data")


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


def test_without_a_seed_runs_differ_and_record_theirs(root: Path) -> None:
    first, second = (run(root, "--max_iters 2", name) for name in "ab")
    assert differing(first, second)
    assert differing(first, run(root, f"--max_iters 2 --seed {first['state.seed']}", "c")) == []
    options = json.loads((root / "checkpoints" / "a" / "train_opt.json").read_text(encoding="utf-8"))
    assert options["seed"] == first["state.seed"]


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


def test_a_resumed_run_ends_like_an_uninterrupted_one_with_workers(root: Path) -> None:
    flags = f"{LSESIM} --batch_size 2 --seed 3 --n_epochs 1"
    expected = run(root, f"{flags} --max_iters 12", "whole")
    run(root, f"{flags} --max_iters 7 --num_threads 2", "parts")
    assert differing(expected, run(root, f"{flags} --max_iters 12 --num_threads 2 --continue_train", "parts")) == []


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

    monkeypatch.setattr("train.Run.end_epoch", die)
    with pytest.raises(KilledError):
        run(root, flags, "killed")
    monkeypatch.undo()
    assert content(root / "checkpoints" / "killed")["state.progress.images_in_epoch"] == EPOCH
    assert differing(expected, run(root, f"{flags} --continue_train", "killed")) == []
    for epoch in "12":
        whole, killed = (content(root / "checkpoints" / name, epoch) for name in ("whole", "killed"))
        assert differing(whole, killed) == []


def test_the_seed_of_a_run_is_remembered(root: Path) -> None:
    first = run(root, "--max_iters 3")
    seed = first["state.seed"]
    expected = run(root, f"--max_iters 7 --seed {seed}", "whole")
    assert differing(expected, run(root, "--max_iters 7 --continue_train")) == []
    options = json.loads((root / "checkpoints" / "whole" / "train_opt.json").read_text(encoding="utf-8"))
    assert options["seed"] == seed


def test_saves_by_iteration_are_kept_and_can_be_gone_on_from(root: Path) -> None:
    flags = "--seed 3 --save_latest_freq 4 --save_by_iter"
    expected = run(root, f"{flags} --max_iters 9")
    folder = root / "checkpoints" / "run"
    assert sorted(path.name for path in folder.glob("iter_*_state.pth")) == ["iter_4_state.pth", "iter_8_state.pth"]
    assert content(root / "checkpoints" / "run", "iter_4")["state.progress.images"] == 4
    assert differing(expected, run(root, f"{flags} --max_iters 9 --continue_train --load_iter 4")) == []
    with pytest.raises(UserError, match=r"iter_5_net_G\.pth"):
        run(root, f"{flags} --max_iters 9 --continue_train --load_iter 5")


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


def test_a_finished_training_goes_on_at_the_rate_of_the_longer_schedule(root: Path) -> None:
    finished = run(root, "--n_epochs 1 --n_epochs_decay 1 --seed 3")
    assert finished["state.optimizers.G.param_groups.0.lr"] == 0
    state = run(root, f"--n_epochs 3 --n_epochs_decay 1 --max_iters {2 * EPOCH + 2} --continue_train")
    assert {state[f"state.optimizers.{name}.param_groups.0.lr"] for name in "GD"} == {1e-4}
    assert {"state.networks.G.model.1.weight", "state.networks.D.model.0.weight"} <= set(differing(finished, state))


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
    monkeypatch.setattr(TrainingStep, "__call__", lambda *_: {"G": torch.tensor(next(losses))})
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


def test_a_finished_run_that_is_continued_changes_nothing(root: Path) -> None:
    flags = "--n_epochs 1 --n_epochs_decay 0"
    assert differing(run(root, flags), run(root, f"{flags} --continue_train")) == []


def test_networks_that_do_not_fit_are_told_with_the_flags_that_differ(root: Path) -> None:
    flags = "--n_epochs 1 --n_epochs_decay 0"
    run(root, f"{flags} --ngf 4")
    with pytest.raises(UserError, match=r"does not fit .*\. What differs: --ngf is 8, was 4$"):
        run(root, f"{flags} --ngf 8 --continue_train")


@pytest.mark.parametrize("flags", [
    "--direction BtoA --input_nc 1", "--dataset_mode aligned --learned_attn --augment", "--serial_batches --no_flip",
    "--preprocess scale_width_and_crop",
])
def test_training_works_with(root: Path, flags: str) -> None:
    if "aligned" in flags:
        for path in sorted((root / "trainB").glob("*.png"))[3:]:
            path.unlink()
    assert run(root, f"{flags} --max_iters 2")["state.progress.images"] == 2


# --- what it leaves behind ------------------------------------------------------------------------------------------


class Images(HTMLParser):
    """Collects the pictures of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[Path] = []
        self.folder = page.parent
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.found.append(self.folder / unquote(dict(attrs)["src"] or ""))


def test_losses_are_logged_as_json_lines_that_continue(root: Path) -> None:
    flags = "--print_freq 3 --learned_attn"
    run(root, f"{flags} --max_iters 7")
    run(root, f"{flags} --max_iters 13 --continue_train")
    log = log_of(root)
    assert [line["step"] for line in log] == [3, 6, 7, 9, 12, 13]
    for line in log:
        assert {"F_contrastive", "D_real", "D_fake", "G_GAN", "G_spatial", "G"} <= line.keys()
        assert all(isinstance(value, int | float) for value in line.values() if not isinstance(value, str))


@pytest.mark.parametrize(("batch", "expected"), [(2, [4, 7, 9, 10]), (9, [5, 10])])
def test_batches_that_do_not_divide_the_frequencies_report_at_the_next_step(
    root: Path, batch: int, expected: list[int]
) -> None:
    run(root, f"--print_freq 3 --batch_size {batch} --max_iters 10")
    assert [line["step"] for line in log_of(root)] == expected


def test_the_page_shows_samples_and_continues(root: Path) -> None:
    flags = "--display_freq 4 --update_html_freq 4 --display_winsize 16"
    page = root / "checkpoints" / "run" / "web" / "index.html"
    run(root, "--max_iters 1 --no_html", "none")
    assert not (root / "checkpoints" / "none" / "web").exists()
    run(root, f"{flags} --max_iters 5")
    first = Images(page).found
    run(root, f"{flags} --max_iters 9 --continue_train")
    both = Images(page).found
    assert len(first) == 5  # real_A, fake_B, real_B, and the self-similarity of the first two
    assert len(both) == 10
    assert set(first) < set(both)
    assert all(path.is_file() and path.stat().st_size > 0 for path in both)


def test_the_last_losses_are_the_mean_of_what_was_not_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 1.0, 2.0])
    monkeypatch.setattr(TrainingStep, "__call__", lambda *_: {"G": torch.tensor(next(losses))})
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
        run(root, "--max_iters 9 --max_bad_images 0")
    assert [type(getattr(sink, "sink", sink)).__name__ for sink in closed] == [
        "TerminalSink", "JsonLinesSink", "HtmlSink"]


# --- the published code's command line ------------------------------------------------------------------------------

PUBLISHED = (
    "--name horse2zebra --model sc --gpu_ids -1 --lambda_spatial 10 --lambda_gradient 0 --attn_layers 4,7,9 "
    "--loss_mode cos --gan_mode lsgan --display_port 8093 --direction AtoB --patch_size 64 --learned_attn --augment "
    "--load_size 64 --crop_size 64"
)


@pytest.mark.slow
def test_a_command_line_of_the_published_code_trains_continues_and_translates(tmp_path: Path) -> None:
    drawings = ROOT / "datasets" / "lineart2color"

    def full_size(flags: str) -> None:
        argv = ["--dataroot", str(drawings), "--checkpoints_dir", str(tmp_path / "checkpoints"), *PUBLISHED.split()]
        train(parse(TRAIN, MODELS, DATASETS, [*argv, *flags.split()]))

    full_size("--max_iters 4")
    full_size("--max_iters 6 --continue_train")
    folder = tmp_path / "checkpoints" / "horse2zebra"
    assert load_file(folder / "latest_state.pth")["progress"]["images"] == 6
    translate(translate_options(drawings, tmp_path, "--name horse2zebra --model sc --num_test 2"))
    assert len(list((tmp_path / "results").rglob("fake_B/*.png"))) == 2


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
