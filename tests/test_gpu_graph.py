"""CUDA graphs of the step: every method is captured, draws the same random numbers, and resumes.

No test here looks at a computed number, so all pass on the device that computes nothing (test_null_device.py). That a
replayed step computes the same as an eager one is tested on the CPU, in test_graph.py.
"""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import null_device
import pytest
import torch
from steps import batch
from test_gpu import CUDA, options_of, reported
from tiny import LOSSES, METHODS, NETWORKS, SIZES, images_for
from torch import Tensor

from models import MODELS, Model
from models.precision import prepare
from options import RunFlags, SpeedFlags
from training.graph import StepGraphs
from training.job import train
from training.step import TrainingStep, build_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
KINDS = {
    **METHODS,
    "LSeSim in bf16": f"{METHODS['LSeSim']} --amp bf16",
    "LSeSim in fp16": f"{METHODS['LSeSim']} --amp fp16",
    "moving averages and augmentation": f"--model sc {LOSSES} --ema 0.9 --diff_augment color,translation,cutout",
    "spectral D": f"--model sc {LOSSES} --normD spectral",
    "dropout and batch normalisation": f"--model sc {LOSSES} --no_dropout false --norm batch",
}
NO_POOL = ("pix2pix", "UNSB")


def prepared(root: Path, kind: str, flags: str) -> tuple[TrainingStep, Model]:
    """Return the step of a kind, with a pool that one step fills."""
    pool = "" if kind.startswith(NO_POOL) else "--pool_size 2"
    options = options_of(root, "", f"{NETWORKS} {SIZES} {KINDS[kind]} {pool} {flags}")
    torch.manual_seed(0)
    model = MODELS[options[RunFlags].model](options, training=True)
    prepare(model, CUDA, options[SpeedFlags])
    return build_step(model, CUDA, options), model


def on_device() -> dict[str, Tensor]:
    return {name: images.to(CUDA) for name, images in batch(count=2).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_captured_and_draw_what_eager_steps_draw(tmp_path: Path, kind: str) -> None:
    drawn = []
    for flag in ("on", "off"):
        step, _ = prepared(tmp_path, kind, f"--cuda_graph {flag}")
        images = on_device()
        torch.manual_seed(1)
        for _ in range(14):
            losses = step([images])
        drawn.append((torch.cuda.get_rng_state().tolist(), torch.get_rng_state().tolist(), set(losses)))
        assert bool(step.graphs and step.graphs.graphs) == (flag == "on")
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("kind", ["LSeSim", "pix2pix", "LSeSim in fp16"])
def test_a_replay_waits_for_nothing_and_launches_little(tmp_path: Path, kind: str) -> None:
    step, _ = prepared(tmp_path, kind, "--cuda_graph on")
    images = on_device()
    for _ in range(10):
        step([images])
    counters = null_device.counters()
    if counters:
        counters.null_reset()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            losses = step([images])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if counters:
        assert counters.null_waits() == 0
        assert counters.null_launches() < 20
    assert {value.device.type for value in (*losses.values(), step.left_out, step.scale())} == {"cuda"}


def test_after_a_failed_capture_eager_steps_have_the_memory_and_draw_the_next_random_numbers(tmp_path: Path) -> None:
    drawn, pools = [], memory_pools()
    for flag in ("auto", "off"):
        step, model = prepared(tmp_path, "LSeSim in fp16", f"--cuda_graph {flag}")
        read_a_number(model)
        images = on_device()
        torch.manual_seed(1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(12):
                step([images])
        assert sum("not permitted when stream is capturing" in str(of.message) for of in told) == (flag == "auto")
        drawn.append(torch.cuda.get_rng_state().tolist())
    assert drawn[0] == drawn[1]
    assert memory_pools() <= pools


def memory_pools() -> set[tuple[int, int]]:
    """Numbers of the pools of graphs, and of the pool of all else, that hold memory."""
    gc.collect()
    torch.cuda.empty_cache()
    return {(0, 0), *(tuple(of["segment_pool_id"]) for of in torch.cuda.memory_snapshot())}


def read_a_number(model: Any) -> None:
    """Let the host read a number in each step of a model."""
    terms = model.generator_terms
    model.generator_terms = lambda *given: {name: value * (2 + value.item()) for name, value in terms(*given).items()}


def test_a_loaded_state_is_captured_while_results_of_earlier_graphs_live(tmp_path: Path) -> None:
    step, model = prepared(tmp_path, "LSeSim", "--cuda_graph on")
    images = on_device()
    for _ in range(10):
        step([images])
    assert step.graphs
    assert step.graphs.graphs
    kept = model.images
    for optimizer in model.optimizers.values():
        optimizer.load_state_dict(optimizer.state_dict())
    step([images])
    assert not step.graphs.graphs
    for _ in range(6):
        step([images])
    assert step.graphs.graphs
    assert kept is not model.images


@pytest.mark.parametrize("kind", ["LSeSim", "FastCUT"])
def test_training_with_graphs_runs_saves_and_resumes(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat, replays = StepGraphs._repeat, 0

    def counted(*given: Any) -> Any:
        nonlocal replays
        replays += 1
        return repeat(*given)

    monkeypatch.setattr(StepGraphs, "_repeat", counted)
    root = images_for(tmp_path, kind, 6)
    for flags in ("--max_iters 14", "--max_iters 28 --continue_train"):
        before = replays
        train(options_of(root, kind, f"--cuda_graph on --pool_size 1 --ema 0.9 --display_freq 4 {flags}"))
        assert replays > before + 2
    assert reported(root) == list(range(1, 29))
