"""Precision, accumulation, layout and compilation: what changes in a step, and what must not."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import batch, build_model
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options, train_step
from torch import Tensor, nn

from models import Model
from models.networks import create_discriminator, create_generator
from models.networks.discriminators import judge, judge_together
from models.precision import in_half_precision, isolated, set_precision
from options import SpeedFlags
from train import train
from training.checkpoints import restore, save_checkpoint
from training.step import TrainingStep
from util.errors import UserError
from util.state_dicts import load_state

LSESIM = "--learned_attn --augment"


def build(root: Path, flags: str = "", *, double: bool = False) -> Model:
    return build_model(root, f"--model sc {flags}", double=double)


def gradients(model: Model, *names: str) -> dict[str, Tensor]:
    return {f"{name}.{key}": p.grad for name in names
            for key, p in model.networks[name].named_parameters() if p.grad is not None}


def named(name: str) -> Callable[[str], str]:
    return lambda text: f"{name}: {text}"


# --- half precision -------------------------------------------------------------------------------------------------


def test_a_step_whose_scaled_gradients_overflow_is_left_out(tmp_path: Path) -> None:
    model = build(tmp_path, "--amp fp16")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = [p.detach().clone() for p in model.networks["G"].parameters()]
    TrainingStep(model, scaler)([batch()])
    assert all(torch.equal(a, b) for a, b in zip(before, model.networks["G"].parameters(), strict=True))
    assert scaler.get_scale() < 2.0**100


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_that_are_halved_together_compute_as_those_of_autocast(dtype: torch.dtype) -> None:
    network = create_generator("resnet_6blocks", ngf=2)
    images = torch.rand(2, 3, 16, 16)
    whole = list(network.parameters())

    def results(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        network.zero_grad()
        output = function(images)
        output.square().sum().backward()
        return [output, *(p.grad for p in whole if p.grad is not None)]

    def plain(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype):
            return network(x).float()

    expected = results(plain)
    halved = partial(in_half_precision(type(network).forward, "cpu", dtype), network)
    found = results(halved)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert all(value.dtype == torch.float32 for value in found)
    with pytest.raises(UserError):
        halved(images[..., :3])
    assert all(a is b for a, b in zip(network.parameters(), whole, strict=True))


def test_lists_in_half_precision_have_second_derivatives_and_keep_what_has_none() -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> list[Tensor]:
            y = self.convolution(x)
            return [y.square(), y.detach(), x]

    network, x = Scales(), torch.rand(1, 1, 4, 4, requires_grad=True)
    first, fixed, same = in_half_precision(Scales.forward, "cpu", torch.bfloat16)(network, x)
    assert {of.dtype for of in (first, fixed, same)} == {torch.float32}
    assert same is x
    assert not fixed.requires_grad
    (slopes,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(slopes.square().sum(), network.convolution.weight)
    (slopes,) = torch.autograd.grad(network(x)[0].sum(), x, create_graph=True)
    (wanted,) = torch.autograd.grad(slopes.square().sum(), network.convolution.weight)
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05 * wanted.abs().max().item())


@pytest.mark.parametrize("no_tf32", [False, True])
def test_only_convolutions_use_tf32(no_tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", no_tf32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        set_precision(SpeedFlags(no_tf32=no_tf32))
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32 == (not no_tf32)
    finally:
        torch.set_float32_matmul_precision(before)


# --- accumulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(2, 2), (1, 1, 2), (3, 1)])
def test_batches_of_any_sizes_add_up_to_the_gradients_of_one(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """With every query position instead of random ones, which each batch would draw anew."""
    flags = f"{LSESIM} --patch_nums inf --attn_layers relu2_1 --pool_size 0"
    whole, parts = build(tmp_path, flags, double=True), build(tmp_path, flags, double=True)
    images = batch(count=4, dtype=torch.float64)
    split = [dict(zip(images, chunk, strict=True))
             for chunk in zip(*(image.split(counts) for image in images.values()), strict=True)]
    expected = train_step(whole, [images])
    losses = train_step(parts, split)
    for name in ("F_contrastive", "D_real", "D_fake"):
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-9), name
    others = gradients(parts, "D", "F")
    assert others
    for name, gradient in gradients(whole, "D", "F").items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-8, atol=1e-12, msg=named(name))


def test_accumulated_batches_make_one_step_and_count_as_images(tmp_path: Path) -> None:
    root = save_folders(tmp_path, counts=(5, 3))
    train(train_options(root, "--batch_size 2 --grad_accum 2 --n_epochs 2 --n_epochs_decay 0 --print_freq 1"))
    state = load_state(root / "checkpoints" / "experiment_name", "latest")
    assert state is not None
    assert state["progress"] == {"epoch": 3, "images_in_epoch": 0, "images": 10}
    steps = {int(values["step"]) for values in state["optimizers"]["G"]["state"].values()}
    assert steps == {4}, "an epoch of 5 images is a step of 2 + 2 and a step of 1"


# --- one pass of the discriminator ----------------------------------------------------------------------------------


@pytest.mark.parametrize("netD", ["basic", "n_layers", "pixel", "multi"])
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_scores_of_one_pass_are_those_of_two(netD: str, norm: str) -> None:
    discriminator = create_discriminator(netD, ndf=4, norm=norm).double()
    images = [torch.rand(2, 3, 48, 48, dtype=torch.float64) for _ in range(2)]
    for scores, other in zip(judge_together(discriminator, *images), judge(discriminator, *images), strict=True):
        torch.testing.assert_close(scores, other, rtol=1e-9, atol=1e-12)


# --- layout and compilation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("flags", [
    LSESIM, "--netG resnet_9blocks --no_antialias --no_antialias_up --netD basic --crop_size 32 --load_size 32",
    "--netG unet_128 --netD pixel --crop_size 128 --load_size 128", f"{LSESIM} --norm batch", "--norm none",
    "--netD multi --n_layers_D 1 --crop_size 32 --load_size 32",
    "--netG stylegan2 --netD stylegan2 --crop_size 32 --load_size 32",
])
def test_channels_last_changes_no_more_than_rounding(tmp_path: Path, flags: str, count: int) -> None:
    results = []
    for layout in ("true", "false"):
        model = build(tmp_path, f"{flags} --init_gain 0.5 --channels_last {layout}", double=True)
        convolutions = [p for p in model.networks["G"].parameters() if p.dim() == 4 and min(p.shape) > 1]
        assert all(p.is_contiguous() == (layout == "false") for p in convolutions if p.shape[2] > 1)
        torch.manual_seed(0)
        size = (128, 128) if "unet" in flags else (32, 32)
        train_step(model, [batch(0, count, size_a=size, size_b=size, dtype=torch.float64)])
        results.append(gradients(model, *model.networks))
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=1e-7, atol=1e-10, msg=named(name))


@pytest.mark.parametrize(("before", "after"), [("true", "false"), ("false", "true")])
def test_adam_goes_on_in_another_layout(tmp_path: Path, before: str, after: str) -> None:
    model = build(tmp_path, f"--channels_last {before}")
    train_step(model, [batch()])
    save_checkpoint(tmp_path, "latest", model, {})
    stepped = []
    for layout in (before, after):
        state = load_state(tmp_path, "latest")
        assert state is not None
        resumed = build(tmp_path, f"--channels_last {layout}")
        restore(resumed, state, tmp_path)
        generator = torch.Generator().manual_seed(1)
        for p in resumed.networks["G"].parameters():  # one gradient in both layouts: what may differ is Adam alone
            p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=generator))
        resumed.optimizers["G"].step()
        stepped.append(resumed.networks["G"])
    for (name, expected), found in zip(stepped[0].named_parameters(), stepped[1].parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9, msg=named(name))


not_with_torch_2_6 = pytest.mark.skipif(
    torch.__version__.startswith("2.6."), reason="--compile refuses torch 2.6 on a CPU")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@not_with_torch_2_6
@pytest.mark.parametrize("method", ["FSeSim", "LSeSim", "CUT"])
def test_compiled_networks_compute_the_same_step(tmp_path: Path, method: str) -> None:
    torch._dynamo.reset()  # shapes of other tests would make those of this one dynamic
    plain, compiled = (build_model(tmp_path, f"{METHODS[method]} --init_gain 0.5 {more}", defaults=(NETWORKS, SIZES))
                       for more in ("", "--compile"))
    results = []
    for model in (plain, compiled):
        torch.manual_seed(0)
        losses = train_step(model, [batch()])
        values = [*gradients(model, "G", "D").values(), *losses.values()]
        results.append(torch.cat([value.flatten() for value in values]))
    assert (results[1] - results[0]).norm() < 1e-3 * results[0].norm()
    assert compiled.networks["G"].state_dict().keys() == plain.networks["G"].state_dict().keys()


COMPILED = {"ResnetGenerator", "PatchDiscriminator"}


@not_with_torch_2_6
@pytest.mark.parametrize(("method", "expected"), [
    ("FSeSim", COMPILED | {"VGG16Features", "SpatialCorrelativeLoss"}),
    ("LSeSim",
     COMPILED | {"VGG16Features", "SpatialCorrelativeLoss", "_compute_contrast"}),
    ("CUT", COMPILED | {"Sequential", "mean_over_layers"}),
])
def test_losses_and_heads_are_compiled_too(
    tmp_path: Path, method: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = set()

    def compile_nothing(function: Any, **options: bool) -> Callable[..., object]:
        assert options == isolated()  # so that what is compiled shares no limit of recompilations
        plain = function.func if isinstance(function, partial) else function
        name = type(plain.__self__).__name__ if plain.__name__ == "_call_impl" else plain.__name__

        def run(*args: Any, **keywords: Any) -> object:
            called.add(name)
            return function(*args, **keywords)

        return run

    monkeypatch.setattr(torch, "compile", compile_nothing)
    train_step(build_model(tmp_path, f"{METHODS[method]} --compile", defaults=(NETWORKS, SIZES)), [batch()])
    assert called == expected


def test_each_compiled_network_has_a_limit_of_recompilations_of_its_own() -> None:
    networks = [nn.Linear(count, 1) for count in (1, 2, 3)]
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        for network in networks:
            network.compile(backend="eager", **isolated())
            network(torch.rand(2, network.in_features))


def test_compilation_without_a_compiler_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler"):
        build(tmp_path, "--compile")


def test_torch_2_6_does_not_compile_for_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    with pytest.raises(UserError, match=r"--compile fails on a CPU with torch 2\.6"):
        build(tmp_path, "--compile")


@pytest.mark.parametrize("speed", ["--compile", "--amp fp16"])
def test_a_gradient_penalty_is_refused_where_it_has_no_derivative(tmp_path: Path, speed: str) -> None:
    with pytest.raises(UserError, match="--lambda_gradient needs second derivatives"):
        train_options(tmp_path, f"--gan_mode wgangp --lambda_gradient 10 {speed}")


def test_a_copy_of_a_network_in_half_precision_runs_its_own_weights(tmp_path: Path) -> None:
    generator = build(tmp_path, "--amp bf16").networks["G"]
    twin = copy.deepcopy(generator)
    for p in twin.parameters():
        nn.init.zeros_(p)
    assert not twin(batch()["A"]).any()
