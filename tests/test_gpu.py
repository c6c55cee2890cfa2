"""On a CUDA device: training of every method, checkpoints, and steps in which the host waits for nothing.

No test here looks at a computed number, so all pass on the device that computes nothing (test_null_device.py). Tests of
numbers are in test_gpu_numbers.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import null_device
import pytest
import torch
from steps import batch
from tiny import LOSSES, METHODS, NETWORKS, SIZES, images_for, train_options

from data import DATASETS, Batch, Loader, finish
from models import MODELS
from models.precision import prepare
from options import DataFlags, LoadingFlags, Options, RunFlags, SpeedFlags, TrainFlags
from train import train
from training.meter import LossMeter
from training.monitor import Monitor
from training.random_states import random_states, restore_random_states
from training.step import build_step
from training.vitals import Vitals
from util.device import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda", 0)
LSESIM = METHODS["LSeSim"]
NO_FP16 = ("single-image", "SinCUT")  # they have a gradient penalty
SPEEDS = {
    **{f"{name}, {amp}": f"{method} --amp {amp}" for name, method in METHODS.items() for amp in ("no", "bf16", "fp16")
       if not (amp == "fp16" and name.startswith(NO_FP16))},
    "batch of 3": f"{LSESIM} --batch_size 3",
    "accumulated": f"{LSESIM} --grad_accum 2",
    "whole maps": f"{LSESIM} --patch_size 64",
    "channels first": f"{LSESIM} --channels_last false",
    "jittered by workers": f"{LSESIM} --augment_on workers",
    "moving average": f"{LSESIM} --ema 0.9",
    "augmented for D": f"{LSESIM} --diff_augment color,translation,cutout",
    "VGG trained": f"{LSESIM} --vgg_lr_scale 0.1",
    "all terms": f"{LSESIM} --lambda_identity 1 --lambda_spatial_idt 1 --lambda_perceptual 1 --lambda_style 1",
    "contrastive of one image": f"{LSESIM} --loss_mode info",
    "absolute differences": f"{METHODS['FSeSim']} --loss_mode l1",
    "whole maps of FSeSim": f"{METHODS['FSeSim']} --use_norm --patch_nums inf",
    "gradient penalty": f"{METHODS['FSeSim']} --lambda_gradient 10",
    **{f"GAN {mode}": f"{METHODS['FSeSim']} --gan_mode {mode}" for mode in ("vanilla", "hinge", "nonsaturating")},
    "GAN wgangp": f"{METHODS['FSeSim']} --gan_mode wgangp --lambda_gradient 10",
    "batch normalisation": f"{METHODS['FSeSim']} --norm batch --no_dropout false --batch_size 2",
    "no normalisation": f"{METHODS['FSeSim']} --norm none",
    "spectral D": f"{METHODS['FSeSim']} --normD spectral",
    "no antialiasing": f"{METHODS['FSeSim']} --no_antialias --no_antialias_up",
    "images of many sizes": f"{LSESIM} --preprocess scale_width --load_size 24",
    "no crop at all": f"{METHODS['FSeSim']} --pool_size 2",
    "unet": f"{METHODS['FSeSim']} --netG unet_128 --crop_size 128 --load_size 130",
    "stylegan2": f"--model sc {LOSSES} --netG stylegan2 --netD stylegan2 --ngf 1 --ndf 1",
    "tilestylegan2": f"--model sc {LOSSES} --netG smallstylegan2 --netD tilestylegan2 --D_patch_size 8 --ngf 1 --ndf 1",
    "pixel D": f"{METHODS['FSeSim']} --netD pixel",
    "several D": f"{METHODS['FSeSim']} --netD multi --n_layers_D 2 --crop_size 32 --load_size 36",
    "torchvision's features": "--model sc --learned_attn --augment --feature_net torchvision/resnet18 --vgg_weights "
                              "random --attn_layers layer1 --patch_nums 8 --crop_size 64 --load_size 66",
}


def options_of(root: Path, method: str, flags: str) -> Options:
    return train_options(root, f"--gpu_ids 0 --seed 1 --no_html --print_freq 1 {flags}",
                         defaults=(NETWORKS, SIZES, METHODS.get(method, "")))


def reported(root: Path) -> list[int]:
    """Return the steps that the training has reported."""
    lines = (root / "checkpoints" / "experiment_name" / "loss_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.mark.parametrize("method", METHODS)
def test_training_resumes_on_the_device(tmp_path: Path, method: str) -> None:
    root = images_for(tmp_path, method, 4)
    for flags in ("--max_iters 4", "--max_iters 8 --continue_train"):
        train(options_of(root, method, f"--ema 0.9 --display_freq 2 {flags}"))
    steps = reported(root)
    assert steps[-1] == 8
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(("first", "then"), [("0", "-1"), ("-1", "0")], ids=["from GPU to CPU", "from CPU to GPU"])
@pytest.mark.parametrize("method", ["LSeSim", "CycleGAN", "CUT"])
def test_a_training_goes_on_on_the_other_device(tmp_path: Path, method: str, first: str, then: str) -> None:
    root = images_for(tmp_path, method, 4)
    for flags in (f"--max_iters 2 --gpu_ids {first}", f"--max_iters 4 --continue_train --gpu_ids {then}"):
        train(options_of(root, method, f"--ema 0.9 {flags}"))
    assert reported(root) == [1, 2, 3, 4]


def test_a_step_takes_memory_of_the_device(tmp_path: Path) -> None:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train(options_of(images_for(tmp_path, "FSeSim", 2), "FSeSim", "--max_iters 1"))
    assert torch.cuda.max_memory_allocated() > before


@pytest.mark.parametrize("setting", SPEEDS)
def test_nothing_in_a_step_waits_for_the_device(tmp_path: Path, setting: str) -> None:
    """Transfer and finish a batch, train on it, add its losses up and watch them."""
    root = images_for(tmp_path, setting.partition(",")[0], 4)
    options = options_of(root, "", f"{NETWORKS} {SIZES} {SPEEDS[setting]} --cuda_graph off")
    model = MODELS[options[RunFlags].model](options, training=True)
    prepare(model, CUDA, options[SpeedFlags])
    step = build_step(model, CUDA, options)
    batches, meter = pinned_batches(options), LossMeter()
    monitor = Monitor(root, model.networks, {}, stop=False, warn=print)
    vitals = Vitals(model.networks, model.optimizers, CUDA, 0)

    def whole_step(seen: int) -> None:
        finished = [finish(to_device(next(batches), CUDA)) for _ in range(options[TrainFlags].grad_accum)]
        monitor.before(CUDA)
        losses = step(finished)
        meter.add(losses, step.left_out)
        monitor.after(seen, finished, losses, step.scale(), step.left_out)
        assert {value.device.type for value in (*losses.values(), step.left_out)} == {"cuda"}

    for seen in range(4):
        whole_step(seen)
    torch.cuda.synchronize()
    counters = null_device.counters()
    if counters:
        counters.null_reset()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for seen in range(4, 6):
            whole_step(seen)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if counters:  # of the runtime itself: not all that waits goes through the mode of torch
        assert (counters.null_waits(), counters.null_pageable_copies()) == (0, 0)
        assert counters.null_launches() > 100
    state = [value for optimizer in model.optimizers.values() for of in optimizer.state.values()
             for value in of.values()]
    assert {value.device.type for value in state} == {"cuda"}
    vitals.read(6)
    meter.means()
    monitor.settle()
    model.visuals()
    restore_random_states(random_states(CUDA), CUDA)


@pytest.mark.parametrize("method", ["FSeSim", "LSeSim", "CycleGAN", "MUNIT"])
def test_convolutions_need_no_copies_of_images_in_another_layout(tmp_path: Path, method: str) -> None:
    options = options_of(tmp_path, method, "--pool_size 3 --batch_size 2 --cuda_graph off")
    model = MODELS[options[RunFlags].model](options, training=True)
    prepare(model, CUDA, options[SpeedFlags])
    step, inputs = build_step(model, CUDA, options), Counter[tuple[str, bool]]()
    for name, network in {**model.networks, **model.constants}.items():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_pre_hook(
                    lambda _, given, name=name: inputs.update(
                        [(name, given[0].is_contiguous(memory_format=torch.channels_last))]))
    for _ in range(4):
        step([{name: images.to(CUDA) for name, images in batch(count=2).items()}])
    assert all(is_last for _, is_last in inputs), inputs
    assert len(inputs) >= 3


def pinned_batches(options: Options) -> Iterator[Batch]:
    """Return raw batches as a training on a GPU loads them, without end."""
    data = options[DataFlags]
    loader = Loader(DATASETS[data.dataset_mode](options, training=True), batch_size=data.batch_size, num_workers=0,
                    seed=1, shuffle=True, pin_memory=True, finished=options[LoadingFlags].finished_by_workers("cuda"))
    for epoch in range(1000):
        for loaded in loader.epoch(epoch):
            assert all(value.is_pinned() for value in loaded.values() if isinstance(value, torch.Tensor))
            yield loaded


@pytest.mark.skipif(null_device.counters() is None, reason="counters of the null device")
def test_the_null_device_counts_waits_and_pageable_copies() -> None:
    value, counters = torch.zeros(3, device=CUDA), null_device.counters()
    assert counters is not None
    counters.null_reset()
    torch.ones(3).to(CUDA, non_blocking=True)
    assert (counters.null_waits(), counters.null_pageable_copies(), counters.null_launches()) == (0, 1, 1)
    value.sum().item()
    assert counters.null_waits() == 1
