"""Losses and gradients that are not finite: the step leaves no trace, and the user learns what happened."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import steps
import torch
from cli import ROOT
from steps import build_model
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options

import train as program
from data import DATASETS
from models import MODELS, Model
from models.objective import Objective
from options import TRAIN, Options
from training import loop
from training.monitor import IN_A_ROW, Monitor, Step, Symptoms
from training.step import TrainingStep, build_step
from util.errors import UserError

CPU = torch.device("cpu")


def build(root: Path, flags: str = METHODS["LSeSim"]) -> Model:
    return build_model(root, flags, defaults=(NETWORKS, SIZES))


def batch(seed: int = 0, spoilt: float | None = None) -> dict[str, Any]:
    images = steps.batch(seed)
    if spoilt is not None:
        images["A"][0, 0, 3, 3] = spoilt
    return {**images, "A_paths": ["a.png"], "B_paths": ["b.png"]}


def state(model: Model) -> dict[str, Any]:
    """Return all that a step may change, but the image pool and the vectors of spectral normalisation, which follow
    the weights and see no image.
    """
    return copy.deepcopy({
        **{f"network {name}": {key: value for key, value in network.state_dict().items()
                               if not re.search(r"parametrizations\.weight\.0\._[uv]$", key)}
           for name, network in model.networks.items()},
        **{f"optimizer {name}": dict(enumerate(optimizer.state.values()))
           for name, optimizer in model.optimizers.items()},
    })


def differences(first: Any, second: Any, path: str = "", *, but: str | None = None) -> Iterator[str]:
    if isinstance(first, dict):
        for key in first.keys() | second.keys():
            if but is None or not str(key).endswith(but):
                yield from differences(first.get(key), second.get(key), f"{path}.{key}", but=but)
    elif not torch.equal(first, second):
        yield path


# --- the step itself


@pytest.mark.parametrize(("method", "spoilt"), [
    *((method, math.nan) for method in METHODS),
    *(pytest.param(method, math.inf, marks=[] if method == "LSeSim" else pytest.mark.slow) for method in METHODS)])
def test_a_step_on_spoilt_images_leaves_weights_and_moments_alone(tmp_path: Path, method: str, spoilt: float) -> None:
    model = build(tmp_path, f"{METHODS[method]} --ema 0.9")
    step = TrainingStep(model)
    step([batch()])
    before = state(model)
    step([batch(2, spoilt)])
    assert step.left_out == 1
    assert not list(differences(before, state(model), but="_ema"))
    losses = step([batch(3)])
    assert step.left_out == 0
    assert all(loss.isfinite() for loss in losses.values())
    assert list(differences(before, state(model))), "training goes on"


@pytest.mark.parametrize("faulty", ["F", "D", "G"])
@pytest.mark.parametrize("stop", [True, False])
def test_a_fault_leaves_out_its_own_optimizer_or_all_later_ones(tmp_path: Path, faulty: str, stop: bool) -> None:
    model = build(tmp_path)
    step = TrainingStep(model, stop_at_fault=stop)
    minimize = step.minimize

    def spoiling(name: str, objective: Callable[[], Objective]) -> None:
        factor = math.nan if name == faulty else 1.0
        minimize(name, lambda: objective()._replace(loss=objective().loss * factor))

    step.minimize = spoiling  # type: ignore[method-assign]
    before = state(model)
    step([batch()])
    assert step.left_out == 1
    left_out = {name for name in "FDG" if not list(differences(before[f"network {name}"],
                                                                state(model)[f"network {name}"]))}
    assert left_out == (set("FDG"["FDG".index(faulty):]) if stop else {faulty})


def test_a_fault_in_a_later_batch_leaves_out_the_optimizers_that_follow_in_it(tmp_path: Path) -> None:
    model = build(tmp_path)
    step = TrainingStep(model, stop_at_fault=True)
    minimize, calls = step.minimize, []

    def spoiling(name: str, objective: Callable[[], Objective]) -> None:
        calls.append(name)
        factor = math.nan if name == "F" and calls.count("F") == 2 else 1.0
        minimize(name, lambda: objective()._replace(loss=objective().loss * factor))

    step.minimize = spoiling  # type: ignore[method-assign]
    before = state(model)
    step([batch(0), batch(1)])
    assert step.left_out == 1
    for name in "FDG":
        assert not list(differences(before[f"network {name}"], state(model)[f"network {name}"])), name


def test_a_gradient_that_is_not_finite_is_a_fault_though_all_losses_are(tmp_path: Path) -> None:
    model = build(tmp_path)
    step = TrainingStep(model)
    before = state(model)
    weight = next(model.networks["G"].parameters())
    hook = weight.register_hook(lambda gradient: gradient * math.inf)
    losses = step([batch(1)])
    hook.remove()
    assert all(loss.isfinite() for loss in losses.values())
    assert step.left_out == 1
    assert not list(differences(before["network G"], state(model)["network G"]))


def test_one_spoilt_batch_of_several_leaves_the_whole_step_out(tmp_path: Path) -> None:
    model = build(tmp_path)
    step = TrainingStep(model)
    step([batch(0), batch(1)])
    before = state(model)
    step([batch(2, math.nan), batch(3)])
    assert step.left_out == 1
    assert not list(differences(before, state(model)))


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_discriminators_history_stays_finite(tmp_path: Path, size: int) -> None:
    model = build(tmp_path, f"{METHODS['LSeSim']} --pool_size {size}")
    step = TrainingStep(model)
    for seed in range(6):
        step([batch(seed, math.nan if seed < 4 else None)])
    assert step.left_out == 0
    assert all(image.isfinite().all() for image in model.memory["pool"].state_dict()["images"])


def test_when_asked_to_stop_no_later_step_touches_the_weights(tmp_path: Path) -> None:
    model = build(tmp_path)
    step = TrainingStep(model, stop_at_fault=True)
    step([batch(0)])
    before = state(model)
    for seed in range(1, 4):
        step([batch(seed, math.nan if seed == 1 else None)])
        assert step.left_out == 1
    assert not list(differences(before, state(model)))


@pytest.mark.parametrize("flag", ["--norm", "--normD"])
def test_running_statistics_and_skipped_steps_are_refused_together(tmp_path: Path, flag: str) -> None:
    options = train_options(tmp_path, f"{flag} batch --on_nan skip")
    with pytest.raises(UserError, match="--on_nan skip does not go with batch normalisation"):
        build_step(MODELS["sc"](options, training=True), CPU, options)


# --- half precision


def test_overflow_by_the_scale_of_fp16_is_no_fault_and_a_loss_that_is_none_is(tmp_path: Path) -> None:
    model = build(tmp_path, f"{METHODS['LSeSim']} --amp fp16")
    step = TrainingStep(model, torch.amp.GradScaler("cpu", init_scale=2.0**100))
    step([batch(0)])
    assert step.left_out == 0
    before = state(model)
    step = TrainingStep(model, torch.amp.GradScaler("cpu", init_scale=1.0))
    step([batch(1, math.nan)])
    assert step.left_out == 1
    for name in ("F", "D", "G"):
        assert not list(differences(before[f"network {name}"], state(model)[f"network {name}"])), name


@pytest.mark.parametrize(("scale", "told"), [(1024.0, 0), (0.5, 1)])
def test_a_collapsed_scale_of_fp16_is_told(tmp_path: Path, scale: float, told: int) -> None:
    step = TrainingStep(build(tmp_path), torch.amp.GradScaler("cpu", init_scale=scale))
    assert len(Symptoms().see({}, step.scale().item())) == told


# --- the program


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_folders(tmp_path / "data", counts=(4, 4))


def spoil(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Put NaN into the batches of these numbers, from 1, on their way to the model."""
    finish, count = loop.finish, 0

    def finished(images: dict[str, Any]) -> dict[str, Any]:
        nonlocal count
        count += 1
        done = finish(images)
        return {name: value * math.nan if name == "A" and count in numbers else value for name, value in done.items()}

    monkeypatch.setattr(loop, "finish", finished)


def flags_of(more: str) -> str:
    return f"--name run --seed 1 --no_html --print_freq 1 {more}"


def test_stop_names_losses_and_images_and_keeps_what_repeats_the_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 3)
    options = train_options(root, flags_of("--learned_attn --augment --max_iters 5"))
    with pytest.raises(UserError) as caught:
        program.train(options)
    file = root / "checkpoints/run/nonfinite_3.pth"
    text = str(caught.value)
    kept = torch.load(file, weights_only=True)
    assert "the step to image 3 has D_fake, F_contrastive, G, G_GAN, G_spatial not finite" in text
    assert str(file) in text
    assert kept["batches"][0]["A_paths"][0] in text
    assert "--on_nan skip" in text
    assert "\n" not in text

    torch.manual_seed(99)
    flags = kept["options"]
    method, dataset = MODELS[flags["model"]], DATASETS[flags["dataset_mode"]]
    groups = [*TRAIN.flags, *method.flags, *dataset.flags]  # as docs/reliability.md says
    options = Options([group(**{f.name: flags[f.name] for f in fields(group)}) for group in groups], flags)
    model = method(options, training=True)
    for name, network in model.networks.items():
        network.load_state_dict(kept["networks"][name])
    torch.set_rng_state(kept["random"]["cpu"])
    step = TrainingStep(model)
    losses = step(kept["batches"])
    assert {name for name, loss in losses.items() if not loss.isfinite()} == {
        name for name, loss in kept["losses"].items() if not math.isfinite(loss)}
    for name, loss in losses.items():
        if loss.isfinite():
            assert loss.item() == kept["losses"][name], name
    assert step.left_out == 1


def test_stop_keeps_the_last_checkpoint_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "checkpoints/run"
    program.train(train_options(root, flags_of("--max_iters 2")))
    before = {path.name: path.read_bytes() for path in folder.glob("*.pth")}
    spoil(monkeypatch, 1)
    with pytest.raises(UserError, match="not finite"):
        program.train(train_options(root, flags_of("--max_iters 4 --continue_train --save_latest_freq 1")))
    assert {path.name: path.read_bytes() for path in folder.glob("*.pth") if "nonfinite" not in path.name} == before


def test_skip_says_so_and_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, 2, 3, 5, 7, 8)
    program.train(train_options(root, flags_of("--max_iters 9 --on_nan skip")))
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("warning: the step to image")]
    assert [line.split()[5] for line in told] == ["2", "3", "5", "7", "8"]
    assert all("it was left out" in line for line in told)
    assert len(list((root / "checkpoints/run").glob("nonfinite_*.pth"))) == 3, "no more files than that"
    log = [json.loads(line) for line in (root / "checkpoints/run/loss_log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log if record["G"] == "nan"] == [2, 3, 5, 7, 8]
    for network in (root / "checkpoints/run").glob("latest_net_*.pth"):
        assert all(value.isfinite().all() for value in torch.load(network, weights_only=True).values())


def test_skip_ends_when_nothing_else_comes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, *range(3, 100))
    with pytest.raises(UserError, match=rf"the step to image {2 + IN_A_ROW} .*, the {IN_A_ROW}th in a row"):
        program.train(train_options(root, flags_of("--max_iters 50 --on_nan skip")))


def test_a_step_that_cannot_be_kept_is_told_all_the_same(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "file").write_text("in the way")
    model = build(tmp_path)
    monitor = Monitor(tmp_path / "file", model.networks, {}, stop=False, warn=told.append)
    monitor.before(CPU)
    monitor.after(1, [batch(0)], {"G": torch.tensor(math.nan)}, torch.ones(()), torch.ones(()))
    assert "could not be written" in told[0]
    assert "a.png, b.png" in told[0]


def test_numbers_of_a_gpu_are_read_some_steps_later_and_all_before_a_save(tmp_path: Path) -> None:
    class Event:
        def synchronize(self) -> None:
            waited.append(1)

    waited: list[int] = []
    told: list[str] = []
    monitor = Monitor(tmp_path, {}, {}, stop=False, warn=told.append)
    for seen in range(1, 5):
        monitor.queue(Step(seen, ("G",), torch.tensor([math.nan, 1.0, 1.0]), Event(), [batch(0)], {}))  # type: ignore[arg-type]
        assert len(told) == len(waited) == max(0, seen - 2)
    monitor.settle()
    assert len(told) == len(waited) == 4


# --- symptoms


def told_by(values: Callable[[int], dict[str, float]], steps: int) -> list[tuple[int, str]]:
    told: dict[str, int] = {}
    symptoms = Symptoms()
    for step in range(steps):
        for text in symptoms.see(values(step)):
            told.setdefault(text, step)
    return [(step, text) for text, step in told.items()]


def test_ordinary_losses_are_no_symptom() -> None:
    noise = torch.Generator().manual_seed(0)
    assert not told_by(lambda step: {"G": float(torch.rand((), generator=noise)) * 4, "D_real": 0.2 * (step % 3),
                                     "D_fake": 0.1 * (step % 2)}, 3000)


def test_a_leap_of_the_generators_loss_is_told_once() -> None:
    (step, text), = told_by(lambda step: {"G": 1.0 if step < 1000 else 100.0}, 1200)
    assert 1000 <= step < 1010
    assert "G has leapt" in text
    assert "--lr" in text


def test_the_end_of_identity_first_is_no_leap() -> None:
    assert not told_by(lambda step: {"G_first": 0.1, "G": 0.1} if step < 600 else {"G": 10.0}, 1300)


@pytest.mark.parametrize("name", ["D", "D_A"])
def test_a_discriminator_that_has_won_is_told_once(name: str) -> None:
    (step, text), = told_by(
        lambda step: {"G": 1.0, f"{name}_real": 0.25 if step < 100 else 1e-4, f"{name}_fake": 1e-4}, 8000)
    assert 500 < step < 4000
    assert f"discriminator {name} has won" in text


def test_a_discriminator_that_is_only_sure_of_real_images_has_not_won() -> None:
    assert not told_by(lambda _: {"G": 1.0, "D_real": 1e-4, "D_fake": 0.2}, 4000)


def test_warnings_reach_the_terminal_once(root: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Symptoms, "see", lambda self, losses, scale: ["look at this"])
    program.train(train_options(root, flags_of("--max_iters 4")))
    assert capsys.readouterr().out.count("warning: look at this\n") == 1


# --- several processes


def in_two_processes(root: Path, flags: str) -> subprocess.CompletedProcess[str]:
    """Train where the second process's second batch is spoilt."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         str(ROOT / "tests/faults/nan_on_one_rank.py"), "--dataroot", str(root), "--checkpoints_dir",
         str(root / "checkpoints"), "--gpu_ids", "-1", "--num_threads", "0",
         *shlex.split(f"{NETWORKS} {SIZES} {METHODS['LSeSim']} {flags_of(flags)}")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["no", "fp16"])
def test_all_processes_leave_out_the_step_that_one_cannot_take(root: Path, amp: str) -> None:
    done = in_two_processes(root, f"--max_iters 8 --on_nan skip --amp {amp}")  # a save refuses weights that differ
    assert done.returncode == 0, done.stderr
    (spoilt,) = (line.split()[1] for line in done.stderr.splitlines() if line.startswith("spoilt "))
    (told,) = (line for line in done.stdout.splitlines() if line.startswith("warning: the step to image 4"))
    assert f"(images {spoilt}, " in told
    assert "F_contrastive" in told
    files = {path.name for path in (root / "checkpoints/run").glob("nonfinite_*")}
    assert files == {"nonfinite_4.pth", "nonfinite_4_rank1.pth"}


@pytest.mark.slow
def test_all_processes_stop_at_the_step_that_one_cannot_take(root: Path) -> None:
    done = in_two_processes(root, "--max_iters 8")
    assert "train.py: error: the step to image 4 has D_fake, F_contrastive" in done.stderr
    assert len({line for line in done.stderr.splitlines() if line.startswith("train.py: error:")}) == 1
    assert not (root / "checkpoints/run/latest_net_G.pth").exists()
