"""On a CUDA device that computes: the same numbers as on the CPU, and finite ones."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import null_device
import pytest
import torch
import torch.distributed as dist
from steps import batch, build_model
from tiny import LOSSES, METHODS, NETWORKS, SIZES, train_options, translate_options
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from evaluation.set_translator import SetTranslator
from models import MODELS, Model
from models.networks.blocks import BatchNorm, Downsample, InstanceNorm, ReflectionPad, Upsample
from models.networks.chain import Chain
from models.precision import prepare
from options import RunFlags, SpeedFlags
from spatial_correlative import contrastive_loss, self_similarity
from train import train
from training.step import TrainingStep, build_step
from util.device import choose_device
from util.distributed import World

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() or null_device.counters() is not None,
                       reason="no CUDA device that computes"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
FLAGS = "--gpu_ids 0 --seed 1 --no_html --print_freq 1"
LAST = torch.channels_last
AT_FULL_RATE = ("FSeSim", "LSeSim", "CycleGAN", "CUT")
"""Methods whose eager and replayed steps stay close at the default learning rate, in each precision."""


class DrawsOnTheCpu(TorchFunctionMode):
    """Draws the same random numbers for every device. ``randperm`` draws as ``random_positions`` does on a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.rand, torch.randn, torch.randperm) and kwargs.get("generator") is None:
            device = kwargs.pop("device", None)
            drawn = torch.rand(args[0]).argsort(descending=True) if func is torch.randperm else func(*args, **kwargs)
            return drawn.to(device)
        return func(*args, **kwargs)


def gradients(model: Model, device: torch.device, root: Path, method: str) -> dict[str, Tensor]:
    """Return each network's gradients after one step from the same weights, draws and images: [N], float64."""
    options = train_options(root, "--no_tf32", defaults=(NETWORKS, SIZES, METHODS[method]))
    prepare(model, device, options[SpeedFlags])
    step = build_step(model, device, options)
    for optimizer in model.optimizers.values():  # Adam would blow up rounding between two objectives of a step
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    torch.manual_seed(3)
    with DrawsOnTheCpu():
        step([{name: images.to(device) for name, images in batch(count=2).items()}])
    return {name: torch.cat([p.grad.double().flatten().cpu() for p in network.parameters() if p.grad is not None])
            for name, network in model.networks.items() if any(p.grad is not None for p in network.parameters())}


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_a_step_agree_with_those_of_the_cpu(tmp_path: Path, method: str) -> None:
    model = build_model(tmp_path, "--init_gain 0.5", defaults=(NETWORKS, SIZES, METHODS[method]))
    expected, found = (gradients(copy.deepcopy(model), device, tmp_path, method) for device in (CPU, CUDA))
    assert expected.keys() == found.keys()
    for name, wanted in expected.items():
        assert wanted.norm() > 0, name
        assert (found[name] - wanted).norm() < 5e-3 * wanted.norm(), name


@pytest.mark.parametrize(("method", "flags", "rel"), [
    *((method, "--no_tf32 --lr 1e-5 --init_gain 0.5", 0.02) for method in METHODS if method not in AT_FULL_RATE),
    *((method, flags, rel) for method in AT_FULL_RATE for flags, rel in
      (("--no_tf32", 0.01), ("--amp bf16", 0.1), ("--amp fp16", 0.1)))])
def test_replayed_steps_agree_with_eager_ones(tmp_path: Path, method: str, flags: str, rel: float) -> None:
    pool = "" if method.startswith(("pix2pix", "UNSB")) else "--pool_size 2"
    losses: list[list[dict[str, float]]] = []
    for flag in ("on", "off"):
        options = train_options(tmp_path, f"{FLAGS} {flags} {pool} --cuda_graph {flag}",
                                defaults=(NETWORKS, SIZES, METHODS[method]))
        torch.manual_seed(0)
        model = MODELS[options[RunFlags].model](options, training=True)
        prepare(model, CUDA, options[SpeedFlags])
        step = build_step(model, CUDA, options)
        torch.manual_seed(1)
        taken = [step([on_device(seed, count=2)]) for seed in range(14)]
        assert bool(step.graphs and step.graphs.graphs) == (flag == "on")
        losses.append([{name: value.item() for name, value in of.items()} for of in taken])
    for number, (replayed, eager) in enumerate(zip(*losses, strict=True)):
        assert replayed == pytest.approx(eager, rel=rel, abs=1e-3), f"step {number}"


def test_the_discriminator_judges_real_and_generated_images_together(tmp_path: Path) -> None:
    step, model = prepared(tmp_path, "--lambda_gradient 0")
    sizes: list[int] = []
    model.networks["D"].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    step([on_device()])
    assert sorted(sizes) == [1, 2]  # for G, for D


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "instance norm": lambda: InstanceNorm(6), "batch norm": lambda: BatchNorm(6), "blur down": lambda: Downsample(6),
    "blur up": lambda: Upsample(6), "reflection": lambda: ReflectionPad(3),
    "chain": lambda: Chain(ReflectionPad(1), InstanceNorm(6), nn.ReLU(True), ReflectionPad(3), InstanceNorm(6),
                           nn.LeakyReLU(0.2, True), Upsample(6)),
}


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=["channels first", "channels last"])
@pytest.mark.parametrize(("count", "height", "width"), [(1, 24, 20), (3, 24, 20), (2, 70, 66)])  # above fused.LARGE
@pytest.mark.parametrize("layer", LAYERS)
def test_parts_of_networks_are_exact(
    layer: str, count: int, height: int, width: int, layout: torch.memory_format, dtype: torch.dtype, most: float
) -> None:
    torch.backends.cudnn.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 6, height, width, generator=generator).to(dtype)
    module = LAYERS[layer]()
    upstream = torch.randn(module(x.float()).shape, generator=generator).to(dtype)

    def run(on: nn.Module, images: Tensor, gradient: Tensor) -> Iterator[Tensor]:
        images = images.clone(memory_format=layout).requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = on(images)
        output.backward(gradient.to(output.dtype).to(memory_format=layout))
        assert images.grad is not None
        assert output.is_contiguous(memory_format=layout)
        yield from (output.detach().double().cpu(), images.grad.double().cpu())

    exact = run(copy.deepcopy(module).double(), x.double(), upstream.double())
    found = run(module.to(CUDA), x.to(CUDA), upstream.to(CUDA))
    for of, wanted in zip(found, exact, strict=True):
        assert (of - wanted).norm() < most * wanted.norm()


def test_the_fused_norm_is_exact_on_flat_maps_with_an_offset() -> None:
    x = 100 + 0.01 * torch.randn(1, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    x[:, :4] = 100
    for layout in (torch.contiguous_format, LAST):
        found = InstanceNorm(8)(x.to(CUDA, memory_format=layout)).double().cpu()
        torch.testing.assert_close(found, InstanceNorm(8)(x.double()), rtol=0, atol=0.02)


@pytest.mark.parametrize("speed", ["", "--no_tf32"])
def test_products_of_the_losses_and_of_their_gradients_are_float32(root: Path, speed: str) -> None:
    options = train_options(root, f"{FLAGS} {speed}")
    prepare(MODELS["sc"](options, training=True), CUDA, options[SpeedFlags])
    features = torch.randn(3, 1, 256, 32, 32, generator=torch.Generator().manual_seed(0)).cuda()

    def gradient(dtype: torch.dtype) -> Tensor:
        given = features.detach().to(dtype).requires_grad_()
        contrastive_loss(*(self_similarity(of, patch_size=16, normalize=True) for of in given)).backward()
        assert given.grad is not None
        return given.grad.double()

    exact = gradient(torch.float64)
    assert (gradient(torch.float32) - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("method", ["FSeSim", "LSeSim"])
def test_a_resumed_training_goes_on_with_the_same_finite_losses(root: Path, method: str) -> None:
    for flags in ("--max_iters 2", "--max_iters 4 --continue_train"):
        train(train_options(root, f"{FLAGS} {flags}", defaults=(NETWORKS, SIZES, METHODS[method])))
    lines = (root / "checkpoints" / "experiment_name" / "loss_log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line) for line in lines]
    assert [step["step"] for step in losses] == [1, 2, 3, 4]
    assert all(step.keys() == losses[0].keys() for step in losses)
    assert all(math.isfinite(value) for step in losses for value in step.values())


@pytest.mark.parametrize(("first", "then"), [("0", "-1"), ("-1", "0")], ids=["from GPU to CPU", "from CPU to GPU"])
def test_a_checkpoint_translates_alike_on_the_other_device(root: Path, first: str, then: str) -> None:
    train(train_options(root, f"--name run {FLAGS} --gpu_ids {first} --max_iters 2 --init_gain 0.5"))

    def outputs(device: str) -> dict[str, Tensor]:
        options = translate_options(root / "trainA", root, f"--name run --no_tf32 --gpu_ids {device}")
        translator = SetTranslator(options, choose_device(device))
        translator.load(root / "checkpoints" / "run", "latest")
        return {of.path: of.images["fake_B"].float().cpu() for of in translator.translations()}

    expected, found = outputs(first), outputs(then)
    assert expected.keys() == found.keys()
    assert len(expected) == 3
    for name, image in expected.items():
        assert image.std() > 0.01
        torch.testing.assert_close(found[name], image, rtol=0, atol=1e-3)


def test_a_step_on_spoilt_images_leaves_weights_alone_on_the_device(root: Path) -> None:
    step, model = prepared(root, f"{LOSSES} --learned_attn --augment")
    images = on_device()
    for _ in range(2):
        step([images])
    before = {name: [value.clone() for value in net.state_dict().values()] for name, net in model.networks.items()}
    step([images | {"A": images["A"] * math.nan}])
    assert step.left_out.item() == 1
    for name, network in model.networks.items():
        assert all(torch.equal(*pair) for pair in zip(before[name], network.state_dict().values(), strict=True)), name
    step([images])
    assert step.left_out.item() == 0


@pytest.mark.skipif(not dist.is_nccl_available(), reason="torch without NCCL")
def test_nccl_averages_gradients_without_waiting(root: Path) -> None:
    """One process that takes itself for one of two: its gradients become halves."""
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        values = [torch.full((5, 3), 4.0, device=CUDA), torch.ones((), device=CUDA)]
        World(size=2).average(values)
        assert [value.unique().tolist() for value in values] == [[2.0], [0.5]]
        step, _ = prepared(root, f"{LOSSES} --learned_attn --augment", World(size=2))
        images = on_device()
        for _ in range(3):
            losses = step([images])
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        step([images])
        torch.cuda.set_sync_debug_mode("default")
        assert all(math.isfinite(value.item()) for value in losses.values())
    finally:
        torch.cuda.set_sync_debug_mode("default")
        dist.destroy_process_group()


def prepared(root: Path, flags: str, world: World | None = None) -> tuple[TrainingStep, Model]:
    """Return a model on the GPU, and its step."""
    options = train_options(root, f"{FLAGS} {flags}")
    model = MODELS[options[RunFlags].model](options, training=True)
    prepare(model, CUDA, options[SpeedFlags])
    return build_step(model, CUDA, options, world or World()), model


def on_device(seed: int = 0, count: int = 1) -> dict[str, Tensor]:
    return {name: images.to(CUDA) for name, images in batch(seed, count).items()}
