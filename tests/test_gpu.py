"""On a CUDA device: training steps, resuming, and translations that agree with the CPU's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tiny import train_options, translate_options

from evaluation.set_translator import SetTranslator
from models import MODELS, Model
from models.precision import prepare
from options import RunFlags, SpeedFlags
from spatial_correlative import contrastive_loss, self_similarity
from train import train
from training.monitor import Monitor
from training.step import TrainingStep, build_step
from util.device import choose_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda", 0)
FLAGS = "--gpu_ids 0 --seed 1 --no_html --print_freq 1"
METHODS = {"FSeSim": "", "LSeSim": "--learned_attn --augment"}


def losses_of(root: Path, flags: str) -> list[dict[str, float]]:
    """Train on the GPU; returns the losses of every step that the run has logged."""
    train(train_options(root, f"--name run {FLAGS} {flags}"))
    lines = (root / "checkpoints" / "run" / "loss_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_step_has_finite_losses_and_takes_memory_of_the_device(root: Path, method: str) -> None:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    (losses,) = losses_of(root, f"--max_iters 1 {method}")
    assert {"G", "G_GAN", "G_spatial", "D_real", "D_fake"} <= losses.keys()
    assert ("F_contrastive" in losses) == bool(method)
    assert all(math.isfinite(value) for value in losses.values())
    assert torch.cuda.max_memory_allocated() > before


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_resumed_run_goes_on_with_the_same_finite_losses(root: Path, method: str) -> None:
    losses_of(root, f"--max_iters 2 {method}")
    losses = losses_of(root, f"--max_iters 4 {method} --continue_train")
    assert [step["step"] for step in losses] == [1, 2, 3, 4]
    assert all(step.keys() == losses[0].keys() for step in losses)
    assert all(math.isfinite(value) for step in losses for value in step.values())


def test_translations_agree_with_those_of_the_cpu(root: Path) -> None:
    train(train_options(root, f"--name run {FLAGS} --max_iters 1 --init_gain 0.5"))

    def outputs(device: str) -> dict[str, torch.Tensor]:
        options = translate_options(root / "trainA", root, f"--name run --no_tf32 --gpu_ids {device}")
        translator = SetTranslator(options, choose_device(device))
        translator.load(root / "checkpoints" / "run", "latest")
        return {of.path: of.images["fake_B"].float().cpu() for of in translator.translations()}

    on_cpu, on_gpu = outputs("-1"), outputs("0")
    assert on_cpu.keys() == on_gpu.keys()
    assert len(on_cpu) == 3
    for name, image in on_cpu.items():
        assert image.std() > 0.01
        torch.testing.assert_close(on_gpu[name], image, rtol=0, atol=1e-3)


@pytest.mark.parametrize("speed", ["", "--no_tf32"])
def test_products_of_the_losses_and_of_their_gradients_are_float32(root: Path, speed: str) -> None:
    options = train_options(root, f"{FLAGS} {speed}")
    prepare(MODELS["sc"](options, training=True), CUDA, options[SpeedFlags])
    features = torch.randn(3, 1, 256, 32, 32, generator=torch.Generator().manual_seed(0)).cuda()

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        given = features.detach().to(dtype).requires_grad_()
        contrastive_loss(*(self_similarity(of, patch_size=16, normalize=True) for of in given)).backward()
        assert given.grad is not None
        return given.grad.double()

    exact = gradient(torch.float64)
    assert (gradient(torch.float32) - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("speed", ["", "--amp bf16", "--amp fp16", "--channels_last false"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nothing_in_a_step_waits_for_the_device(root: Path, method: str, speed: str) -> None:
    step, model = prepared(root, f"{FLAGS} {method} {speed}")
    batch = on_device()
    monitor = Monitor(root, model.networks, {}, stop=False, warn=pytest.fail)

    def monitored(seen: int) -> None:
        monitor.before(CUDA)
        losses = step([batch])
        monitor.after(seen, [batch], losses, step.scale(), step.left_out)

    for seen in range(4):
        monitored(seen)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        monitored(4)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_step_on_spoilt_images_leaves_weights_alone_on_the_device(root: Path) -> None:
    step, model = prepared(root, f"{FLAGS} --learned_attn --augment")
    batch = on_device()
    for _ in range(2):
        step([batch])
    before = {name: [value.clone() for value in net.state_dict().values()] for name, net in model.networks.items()}
    step([batch | {"A": batch["A"] * math.nan}])
    assert step.left_out.item() == 1
    for name, network in model.networks.items():
        assert all(torch.equal(*pair) for pair in zip(before[name], network.state_dict().values(), strict=True)), name
    step([batch])
    assert step.left_out.item() == 0


def prepared(root: Path, flags: str) -> tuple[TrainingStep, Model]:
    """A model on the GPU, and its step."""
    options = train_options(root, flags)
    model = MODELS[options[RunFlags].model](options, training=True)
    prepare(model, CUDA, options[SpeedFlags])
    return build_step(model, CUDA, options), model


def on_device() -> dict[str, torch.Tensor]:
    return {name: torch.rand(1, 3, 16, 16, device="cuda") for name in ("A", "B", "A_aug", "B_aug")}
