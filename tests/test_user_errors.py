"""A user's mistake is one sentence that says what, where and what to do, with exit code 2 and no traceback."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import ROOT, TINY, TINY_TEST, Outcome, make_images, run, run_process

from util.errors import run_program


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images in each of trainA, trainB, testA, testB."""
    return make_images(tmp_path_factory.mktemp("data"), "trainA", "trainB", "testA", "testB")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A folder of checkpoints with a run ``run``; copy it to change it."""
    folder = tmp_path_factory.mktemp("trained")
    outcome = run("train.py", "--dataroot", data, "--checkpoints_dir", folder, "--name", "run", *TINY)
    assert (outcome.code, outcome.err) == (0, "")
    return folder


@pytest.fixture
def checkpoints(tmp_path: Path, trained: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "checkpoints"))


@pytest.fixture
def train(tmp_path: Path, data: Path) -> Callable[..., Outcome]:
    """Runs a tiny training; arguments given later win."""
    base = ("--dataroot", data, "--checkpoints_dir", tmp_path / "checkpoints", "--name", "run", *TINY)
    return lambda *arguments: run("train.py", *base, *arguments)


@pytest.fixture
def translate(tmp_path: Path, data: Path) -> Callable[..., Outcome]:
    """Translates a tiny folder; arguments given later win."""
    base = ("--dataroot", data / "testA", "--checkpoints_dir", tmp_path / "checkpoints", "--name", "run",
            "--results_dir", tmp_path / "results", *TINY_TEST)
    return lambda *arguments: run("test.py", *base, *arguments)


def says(outcome: Outcome, *words: object) -> None:
    """Check that the outcome is one sentence for the user that holds ``words``."""
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1
    assert outcome.err.split(":")[0] in ("train.py", "test.py", "evaluate.py")
    assert "Traceback" not in outcome.err
    for word in words:
        assert str(word) in outcome.err, outcome.err


# --- the flags of train.py


WRONG_FLAGS = {
    "unknown flag": (["--lambda_spatal", "1"], ["--lambda_spatal", "--lambda_spatial"]),
    "model": (["--model", "gcgan"], ["--model gcgan", "sc"]),
    "data set": (["--dataset_mode", "video"], ["--dataset_mode video", "aligned, single, singleimage, unaligned"]),
    "data set of one domain": (["--dataset_mode", "single"], ["--dataset_mode single", "unaligned"]),
    "layer": (["--attn_layers", "4,13"], ["--attn_layers", "'13'", "relu3_1"]),
    "layer twice": (["--attn_layers", "4,relu3_1"], ["--attn_layers 4,relu3_1", "twice"]),
    "layer beyond the weights": (["--attn_layers", "relu5_1", "--vgg_weights", "bundled"],
                                 ["--vgg_weights", "bundled", "relu5_1", "imagenet"]),
    "no weights": (["--vgg_weights", "nowhere.pth"], ["--vgg_weights", "nowhere.pth", "bundled"]),
    "gpu 0": (["--gpu_ids", "0"], ["--gpu_ids 0", "no CUDA GPU", "-1"]),
    "gpus": (["--gpu_ids", "0,1"], ["--gpu_ids 0,1", "single GPU"]),
    "crop > load": (["--crop_size", "64"], ["--crop_size 64", "--load_size 32"]),
    "lr_policy": (["--lr_policy", "warm"], ["--lr_policy", "'warm'", "linear, step, plateau, cosine"]),
    "netG": (["--netG", "resnet"], ["--netG", "'resnet'", "resnet_9blocks"]),
    "two lines": (["--netG", "res\nnet"], ["--netG", "'res net'"]),
    "wgangp": (["--gan_mode", "wgangp"], ["--gan_mode wgangp", "--lambda_gradient"]),
    "identity": (["--input_nc", "1", "--lambda_identity", "1"], ["--lambda_identity", "--input_nc"]),
    "no epochs": (["--n_epochs", "0", "--n_epochs_decay", "0"], ["--n_epochs 0", "--n_epochs_decay 0", "raise"]),
    "late epoch": (["--n_epochs", "2", "--n_epochs_decay", "0", "--epoch_count", "3"], ["--epoch_count 3", "raise"]),
    "crop of 8": (["--crop_size", "8"], ["--crop_size 8", "--netD basic", "24 pixels"]),
    "crop of 1": (["--crop_size", "1", "--netD", "pixel"], ["--crop_size 1", "enlarge it"]),
    "deep discriminator": (["--netD", "n_layers", "--n_layers_D", "5"],
                           ["--crop_size 32", "--netD n_layers", "96 pixels", "--n_layers_D"]),
    "map below VGG's stride": (["--crop_size", "8", "--netD", "pixel", "--attn_layers", "12"],
                               ["--crop_size 8", "--attn_layers", "no feature"]),
    "nothing to continue": (["--continue_train"], ["latest_net_G.pth", "--name", "--epoch"]),
    "unknown epoch": (["--continue_train", "--epoch", "7"], ["7_net_G.pth", "--epoch"]),
    "name": (["--name", "../elsewhere"], ["--name", "--checkpoints_dir"]),
    "too large a crop": (["--crop_size", "1e9", "--load_size", "1e9"], ["65536"]),
    "memory": (["--ngf", "1e13"], ["out of memory", "channels"]),
}


@pytest.mark.parametrize(("flags", "words"), WRONG_FLAGS.values(), ids=WRONG_FLAGS)
def test_wrong_flags_of_a_training_are_one_sentence(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, flags: list[str], words: list[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    says(train(*flags), *words)


def test_each_program_asks_for_what_it_needs(data: Path) -> None:
    says(run("train.py"), "--dataroot is required")
    says(run("test.py"), "--dataroot is required")
    says(run("train.py", "--dataroot", data, "--model", "test"), "--model test only translates", "another model")
    says(run("evaluate.py", "metrics", "--outputs", "nowhere", "--real", "nowhere"), "nowhere")


@pytest.mark.parametrize("program", ["train.py", "test.py"])
def test_gpu_that_is_not_there_is_one_sentence(program: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    says(run(program, "--dataroot", data, "--gpu_ids", "3"), "--gpu_ids 3", "only 1")


# --- checkpoints


def test_missing_checkpoint_is_one_sentence(translate: Callable[..., Outcome]) -> None:
    says(translate(), "latest_net_G.pth", "--name", "--epoch")
    says(translate("--model_suffix", "_A", "--load_iter", "5"), "iter_5_net_G_A.pth")


FOREIGN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": dict.clear,
    "counters of another type": lambda state: state.update(progress=[1, 2, 3, 4, 5]),
    "other optimizers": lambda state: state["optimizers"].update(G={"lr": 3}),
    "other random states": lambda state: state.update(random={"cpu": torch.zeros(3)}),
    "other sums": lambda state: state.update(sha256=[]),
    "other options": lambda state: state.update(options=[]),
    "other schedules": lambda state: state.update(schedulers=None),
    "other pool": lambda state: state["memory"][0].update(pool=[]),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_state_of_something_else_is_one_sentence(
    train: Callable[..., Outcome], checkpoints: Path, change: Callable[[dict[str, Any]], Any],
) -> None:
    path = checkpoints / "run" / "latest_state.pth"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    says(train("--continue_train", "--max_iters", "4"), path, "does not fit this run", "remove it")


def test_training_anew_moves_the_earlier_one_aside(train: Callable[..., Outcome], checkpoints: Path) -> None:
    before = {path.name: path.read_bytes() for path in (checkpoints / "run").iterdir()}
    assert train("--seed", "2").code == 0
    aside = checkpoints / "run.1"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
    assert (checkpoints / "run" / "latest_net_G.pth").read_bytes() != before["latest_net_G.pth"]
    says(train("--crop_size", "4"), "--crop_size")  # what is refused moves nothing
    assert not (checkpoints / "run.2").exists()


# --- files that cannot be written


def test_file_in_place_of_a_folder_is_one_sentence(
    train: Callable[..., Outcome], translate: Callable[..., Outcome], checkpoints: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    says(train("--checkpoints_dir", file), file, "--checkpoints_dir")
    says(train("--checkpoints_dir", tmp_path, "--name", "file"), file, "--name")
    says(train("--name", "n" * 300), "File name too long")
    says(translate("--results_dir", file), file, "--results_dir")


def test_folder_without_permission_is_one_sentence(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # the tests may run as root, whom no folder refuses
    says(train(), tmp_path / "checkpoints" / "run", "Permission denied", "--checkpoints_dir")


# --- the end of a program


@pytest.mark.slow
def test_a_program_ends_with_code_2_and_one_line() -> None:
    says(run_process("train.py", "--dataroot", "no/such/folder"), "train.py: error: --dataroot: no/such/folder")


def test_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_with_bug(ZeroDivisionError("ours"))
    with pytest.raises(RuntimeError, match="shapes"):
        run_with_bug(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(ConnectionResetError):
        run_with_bug(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))


def test_a_terminal_without_accents_shows_them_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)

    def say() -> None:
        out.write("Fréchet")

    with pytest.raises(SystemExit, match="0"):
        run_program("evaluate.py", say)
    out.flush()
    assert out.buffer.getvalue().split() == [rb"Fr\xe9chet"]  # type: ignore[attr-defined]


def run_with_bug(bug: Exception) -> None:
    def main() -> None:
        raise bug

    run_program("train.py", main)


def test_a_reader_that_stops_early_ends_the_program_without_a_traceback() -> None:
    program = "from util.errors import run_program; run_program('evaluate.py', lambda: print('a table'))"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `head` does when it has seen enough
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
