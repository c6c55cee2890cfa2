"""Checkpoints: plain state dicts under published names, whole or absent, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import golden_files as golden
import pytest
import torch
from steps import batch
from tiny import save_folders, train_options, train_step
from torch._subclasses.fake_tensor import FakeTensorMode

from models import MODELS, Model
from models.networks import create_discriminator, create_generator
from train import train
from training import checkpoints
from training.checkpoints import (
    read_state,
    refusing_foreign_state,
    restore,
    save_checkpoint,
)
from training.random_states import random_states, restore_random_states
from util.errors import UserError
from util.state_dicts import load_file, load_into, load_networks, load_state, on_cpu, state_path


def build(root: Path, flags: str = "", seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return MODELS["sc"](train_options(root, flags), training=True)


def step(model: Model, seed: int = 0) -> None:
    train_step(model, [batch(seed, 2)])


def flat(value: Any) -> list[Any]:
    """Return all leaves of nested dicts, lists and tuples, tensors as bytes."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in (key, *flat(item))]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in flat(item)]
    return [value.numpy().tobytes() if isinstance(value, torch.Tensor) else value]


def everything(model: Model) -> list[Any]:
    parts = (model.networks, model.optimizers, model.memory)
    return flat([{name: item.state_dict() for name, item in part.items()} for part in parts])


def resume(model: Model, folder: Path, tag: str = "latest") -> list[str]:
    state = read_state(folder, tag)
    assert state is not None
    return restore(model, state, state_path(folder, tag))


@pytest.mark.parametrize(("file", "network"), [
    ("net_resnet9_antialias.npz", lambda ngf: create_generator("resnet_9blocks", ngf=ngf)),
    ("net_patchgan_antialias.npz", lambda ndf: create_discriminator("basic", ndf=ndf)),
])
def test_files_are_plain_state_dicts_under_the_published_keys(tmp_path: Path, file: str, network: Any) -> None:
    published = golden.part(golden.load(file), "state.")
    first = next(value for value in published.values() if value.dim() == 4)
    model = build(tmp_path)
    name = "G" if "resnet" in file else "D"
    model.networks[name] = network(len(first))
    save_checkpoint(tmp_path, "latest", model, {})
    saved = torch.load(tmp_path / f"latest_net_{name}.pth", weights_only=True)
    assert {key: value.shape for key, value in saved.items()} == {k: v.shape for k, v in published.items()}
    torch.save(published, tmp_path / f"9_net_{name}.pth")
    load_networks(tmp_path, "9", {name: model.networks[name]})
    assert flat(dict(model.networks[name].state_dict())) == flat({key: published[key] for key in saved})


def test_a_checkpoint_is_a_state_of_everything_and_exports(tmp_path: Path) -> None:
    model = build(tmp_path, "--learned_attn --augment")
    step(model)
    save_checkpoint(tmp_path / "run", "5", model, {"extra": {"epoch": 5, "note": "text", "sizes": [1, 2]}})
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["5_net_D.pth", "5_net_G.pth", "5_state.pth"]
    state = read_state(tmp_path / "run", "5")
    assert state["extra"] == {"epoch": 5, "note": "text", "sizes": [1, 2]}
    assert set(state["networks"]) == {"G", "D", "F"}
    assert "heads.0.0.weight" in state["networks"]["F"]
    for name in ("G", "D"):
        assert flat(load_file(tmp_path / "run" / f"5_net_{name}.pth")) == flat(state["networks"][name])


def test_a_file_holds_tensors_of_the_cpu_wherever_they_were(tmp_path: Path) -> None:
    with FakeTensorMode():  # which claims to be on a GPU, and computes nothing
        there = torch.ones(2, device="cuda")
        content = on_cpu({"weight": there, "state": [{"step": there}, (there, 3)], "text": "cuda"})
    tensors = [content["weight"], content["state"][0]["step"], content["state"][1][0]]
    assert there.device.type == "cuda"
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert (content["state"][1][1], content["text"]) == (3, "cuda")


@pytest.mark.parametrize("flags", ["", "--learned_attn --augment --no_dropout false",
                                   "--learned_attn --vgg_lr_scale 0.5", "--norm batch --netD multi --pool_size 1",
                                   "--netG stylegan2 --netD stylegan2"])
def test_a_restored_model_is_the_same_and_goes_on_the_same(tmp_path: Path, flags: str) -> None:
    model, other = build(tmp_path, flags), build(tmp_path, flags, seed=1)
    for seed in range(2):
        step(model, seed)
    step(other, 9)
    save_checkpoint(tmp_path, "latest", model, {})
    assert everything(model) != everything(other)
    step(model, 2)
    torch.manual_seed(123)
    assert resume(other, tmp_path) == []
    step(other, 2)
    assert everything(model) == everything(other)


class FullDisk:
    """Stands for torch.save: writes half a file and fails."""

    def __init__(self, error: BaseException, after: int) -> None:
        self.error, self.left, self.save = error, after, torch.save

    def __call__(self, content: object, file: BinaryIO) -> None:
        if self.left:
            self.left -= 1
            self.save(content, file)
            return
        file.write(b"half a file")
        raise self.error


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(("error", "seen"), [
    (OSError(28, "No space left on device"), UserError), (RuntimeError("file write failed"), UserError),
    (KeyboardInterrupt(), KeyboardInterrupt),
])
def test_an_interrupted_save_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, seen: type, after: int
) -> None:
    folder = tmp_path / "run"
    model = build(tmp_path)
    step(model)
    save_checkpoint(folder, "latest", model, {})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    step(model)
    monkeypatch.setattr(checkpoints.torch, "save", FullDisk(error, after))
    with pytest.raises(seen) as raised:
        save_checkpoint(folder, "latest", model, {})
    monkeypatch.undo()
    if seen is UserError:
        assert ["latest_net_G.pth", "latest_net_D.pth", "latest_state.pth"][after] in str(raised.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_on_the_cpu_leaves_other_devices_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("CUDA was started")

    for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = build(tmp_path)
    save_checkpoint(tmp_path, "latest", model, {})
    assert read_state(tmp_path, "latest")["random"].keys() == {"cpu"}
    assert resume(model, tmp_path) == []


def test_the_random_state_of_the_own_device_is_saved_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        """Stands for torch.cuda."""

        state = torch.tensor([3])

        def get_rng_state(self) -> torch.Tensor:
            return self.state

        def set_rng_state(self, state: torch.Tensor) -> None:
            self.state = state

    saved, here = Module(), Module()
    monkeypatch.setattr(torch, "get_device_module", lambda device: saved)
    states = random_states(torch.device("cuda", 1))
    assert states.keys() == {"cpu", "cuda"}
    here.state = torch.tensor([5])
    monkeypatch.setattr(torch, "get_device_module", lambda device: here)
    assert restore_random_states(states, torch.device("cuda", 0)) == []
    assert here.state == 3
    notes = restore_random_states({"cpu": states["cpu"]}, torch.device("cuda", 0))
    assert "no random state for the device cuda" in notes[0]


def test_lack_of_memory_is_not_taken_for_a_foreign_state() -> None:
    with pytest.raises(torch.OutOfMemoryError), refusing_foreign_state(Path("x.pth")):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_differences_are_named() -> None:
    network = torch.nn.Linear(2, 3)
    state = {"weight": torch.zeros(3, 2), "bias": torch.zeros(4), "scale": torch.zeros(1)}
    with pytest.raises(UserError, match=r"scale is unknown, 2 such differences"):
        load_into(network, state, Path("x.pth"))
    with pytest.raises(UserError, match=r"bias is missing"):
        load_into(network, {"weight": torch.zeros(3, 2)}, Path("x.pth"))


def test_heads_start_afresh_with_a_note_where_the_checkpoint_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_folders(tmp_path)
    train(train_options(tmp_path, "--max_iters 2"))
    before = load_file(tmp_path / "checkpoints" / "experiment_name" / "latest_net_G.pth")
    capsys.readouterr()
    train(train_options(tmp_path, "--max_iters 3 --continue_train --learned_attn --augment"))
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert notes[:2] == ["note: --learned_attn is True, was False", "note: --augment is True, was False"]
    assert len(notes) == 3
    assert "network F" in notes[2]
    folder = tmp_path / "checkpoints" / "experiment_name"
    train(train_options(tmp_path, "--max_iters 5 --continue_train --learned_attn --augment"))
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert read_state(folder, "latest")["progress"]["images"] == 5
    assert flat(before) != flat(load_file(folder / "latest_net_G.pth"))


def test_a_network_that_learns_with_new_heads_can_be_added(tmp_path: Path) -> None:
    save_folders(tmp_path)
    train(train_options(tmp_path, "--max_iters 1"))
    train(train_options(tmp_path, "--max_iters 2 --continue_train --learned_attn --vgg_lr_scale 0.5"))
    state = load_state(tmp_path / "checkpoints" / "experiment_name", "latest")
    assert {"F", "VGG"} <= state["networks"].keys()
    assert state["options"]["vgg_lr_scale"] == 0.5


def test_flags_that_changed_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_folders(tmp_path)
    train(train_options(tmp_path, "--max_iters 1 --seed 3"))
    capsys.readouterr()
    train(train_options(tmp_path, "--continue_train --max_iters 2 --lr 0.0004 --pool_size 3 --seed 4 --print_freq 1 "
                                  "--epoch_count 5 --verbose --batch_size 2"))
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert sorted(notes) == ["note: --batch_size is 2, was 1",
                             "note: --epoch_count 5 has no effect: the saved state goes on in epoch 1",
                             "note: --lr is 0.0004, was 0.0001; the saved value stays in force",
                             "note: --pool_size is 3, was 50", "note: --seed is 4, was 3"]
    state = load_state(tmp_path / "checkpoints" / "experiment_name", "latest")
    assert state["optimizers"]["G"]["param_groups"][0]["lr"] == 0.0001


@pytest.mark.parametrize("flags", ["", "--learned_attn"])
def test_a_published_checkpoint_goes_on_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str
) -> None:
    save_folders(tmp_path)
    folder = tmp_path / "checkpoints" / "experiment_name"
    published = build(tmp_path, seed=5)
    save_checkpoint(folder, "latest", published, {})
    (folder / "latest_state.pth").unlink()
    train(train_options(tmp_path, f"--continue_train --max_iters 1 --lr 1e-7 --seed 3 {flags}"))
    out = capsys.readouterr().out
    assert "latest_state.pth is missing" in out
    assert ("network F, optimizers, schedules and counters start afresh" in out) is bool(flags)
    for name in ("G", "D"):
        saved, before = load_file(folder / f"latest_net_{name}.pth"), published.networks[name].state_dict()
        torch.testing.assert_close(saved, dict(before), rtol=0, atol=1e-6)
        assert flat(saved) != flat(dict(before))


def test_a_missing_checkpoint_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    def message(path: str) -> str:
        with pytest.raises(UserError) as caught:
            load_file(tmp_path / path)
        return str(caught.value)

    assert message("mine/latest_net_G.pth") == (
        f"there is no checkpoint {tmp_path}/mine/latest_net_G.pth; check --name, --checkpoints_dir and --epoch")
    for file in ("maps/5_net_G.pth", "maps/latest_net_G.pth", "maps/latest_state.pth", "zebras/latest_net_G.pth"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert f"latest_net_G.pth ({tmp_path} has maps, zebras); check" in message("mine/latest_net_G.pth")
    assert f"6_net_G.pth ({tmp_path}/maps has 5_net_G.pth, latest_net_G.pth); check" in message("maps/6_net_G.pth")
    for epoch in range(6, 15):
        (tmp_path / "maps" / f"{epoch}_net_G.pth").touch()
    assert message("maps/20_net_G.pth").count("_net_G.pth") == 1 + 8
    assert " and 3 more); check" in message("maps/20_net_G.pth")
