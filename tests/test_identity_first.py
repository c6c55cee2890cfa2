"""--identity_first: a new training first teaches its generators to return their input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from states import content, differing
from steps import batch, build_model, weights
from test_train import log_of
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options

from train import train
from training.step import TrainingStep
from util.errors import UserError


@pytest.mark.parametrize("method", ["LSeSim", "CUT", "GcGAN", "CycleGAN"])
def test_the_first_steps_train_generators_alone_to_return_both_domains(tmp_path: Path, method: str) -> None:
    built = build_model(tmp_path, "--identity_first 1", defaults=(NETWORKS, SIZES, METHODS[method]))
    images = batch()
    before = {name: weights(network) for name, network in built.networks.items()}
    with torch.no_grad():
        expected = sum(F.l1_loss(built.networks[name](images[domain]), images[domain])
                       for name in built.autoencoders for domain in ("A", "B")) / (2 * len(built.autoencoders))
    losses = TrainingStep(built)([images], identity=True)
    assert losses.keys() == {"G_first", "G"}
    torch.testing.assert_close(losses["G_first"], expected)
    changed = {name for name, network in built.networks.items()
               if any(not torch.equal(*pair) for pair in zip(before[name], weights(network), strict=True))}
    assert changed == set(built.autoencoders)


def test_the_losses_of_the_method_begin_after_these_images_also_when_resumed(tmp_path: Path) -> None:
    root = save_folders(tmp_path / "data")
    flags = "--seed 3 --n_epochs 1 --n_epochs_decay 0 --no_html --print_freq 1 --identity_first 2 --ema 0.9"
    train(train_options(root, f"{flags} --name whole"))
    lines = log_of(root, "whole")
    assert ["G_first" in line for line in lines if "G" in line] == [True, True] + [False] * (len(lines) - 2)
    assert all("D_real" in line for line in lines[2:])
    train(train_options(root, f"{flags} --name parts --max_iters 1"))
    train(train_options(root, f"{flags} --name parts --continue_train"))
    assert not differing(*(content(root / "checkpoints" / name) for name in ("whole", "parts")))


@pytest.mark.parametrize(("flags", "sentence"), [
    (METHODS["plain MUNIT"], "--model munit does not begin so; leave it out"),
    (f"{METHODS['pix2pix']}", "--model pix2pix does not begin so; leave it out"),
    (f"{METHODS['FSeSim']} --output_nc 1", "--input_nc equal to --output_nc"),
])
def test_generators_that_cannot_return_their_input_are_refused(tmp_path: Path, flags: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build_model(tmp_path, f"{flags} --identity_first 1", defaults=(NETWORKS, SIZES))


def test_frozen_generators_are_not_to_be_taught(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--identity_first teaches the generators, all of which --freeze G keeps"):
        train(train_options(save_folders(tmp_path / "data"), "--no_html --identity_first 2 --freeze G"))


def test_a_resumed_training_does_not_begin_with_it(tmp_path: Path) -> None:
    root = save_folders(tmp_path / "data")
    for flags in ("--max_iters 1", "--max_iters 2 --continue_train --identity_first 9"):
        train(train_options(root, f"--no_html --print_freq 1 {flags}"))
    assert not any("G_first" in line for line in log_of(root, "experiment_name"))


def test_adam_begins_anew_after_these_images(tmp_path: Path) -> None:
    root = save_folders(tmp_path / "data")
    for images in (2, 4):
        train(train_options(root, f"--seed 3 --no_html --identity_first 2 --max_iters {images} --name to_{images}"))
    steps = [{int(torch.frombuffer(bytearray(value), dtype=torch.float32)) for name, value
              in content(root / "checkpoints" / f"to_{images}").items()
              if name.startswith("state.optimizers.G.") and name.endswith(".step")} for images in (2, 4)]
    assert steps == [set(), {2}]


def test_trained_generators_begin_with_it_only_with_a_note_and_without_a_state_never(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = save_folders(tmp_path / "data")
    train(train_options(root, "--no_html --max_iters 1 --sample_images 0"))
    train(train_options(root, "--no_html --max_iters 1 --sample_images 0 --name other --init_from experiment_name "
                              "--identity_first 1"))
    assert "note: --identity_first 1 first teaches the generators of --init_from to return their input, and they " in (
        capsys.readouterr().out)
    (root / "checkpoints/experiment_name/latest_state.pth").unlink()
    train(train_options(root, "--no_html --print_freq 1 --max_iters 1 --sample_images 0 --continue_train "
                              "--identity_first 9"))
    assert not any("G_first" in line for line in log_of(root, "experiment_name"))
    assert "note: --identity_first has no effect: --continue_train goes on from trained generators" in (
        capsys.readouterr().out)
