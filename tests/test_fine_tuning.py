"""A training that starts from other weights (``--init_from``), and one that trains only some (``--freeze``)."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import cli
import pytest
import torch
from states import content, differing
from test_published_checkpoints import cut, cyclegan
from tiny import LOSSES, METHODS, NETWORKS, SIZES, save_folders, train_options
from torch import Tensor

from models import MODELS, Model
from models.networks import create_discriminator, create_generator
from models.networks.blocks import UnbiasedConv2d, UnbiasedConvTranspose2d
from train import train
from training.initial import Weights, read_weights, start_from, take
from training.step import build_step
from util.errors import UserError
from util.state_dicts import load_file

CPU = torch.device("cpu")
LSESIM = "--learned_attn --augment"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and a training of G, D and F named ``first``; to be copied before it is changed."""
    root = save_folders(tmp_path_factory.mktemp("trained"))
    train(train_options(root, f"--name first {LSESIM} --ema 0.9 --seed 1 --lr 0.01 --n_epochs 1 --n_epochs_decay 0"))
    return root


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "data"))


def model_of(root: Path, flags: str = "", *, defaults: tuple[str, ...] = (NETWORKS, METHODS["LSeSim"], SIZES)) -> Model:
    options = train_options(root, flags, defaults=defaults)
    torch.manual_seed(0)
    return MODELS[options.as_dict()["model"]](options, training=True)


def started(root: Path, flags: str, **keywords: Any) -> tuple[Model, list[str]]:
    """Return a model at step 0, and the notes."""
    model = model_of(root, flags, **keywords)
    return model, start_from(model, read_weights(train_options(root, flags)))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- other weights


@pytest.mark.parametrize("place", ["first", "{root}/checkpoints/first", "{root}/checkpoints/first/1_state.pth"])
def test_all_networks_and_averages_start_from_the_weights_of_another_training(root: Path, place: str) -> None:
    folder = root / "checkpoints" / "first"
    if "1_state" in place:
        (folder / "latest_state.pth").rename(folder / "1_state.pth")
    state = load_file(next(folder.glob("*_state.pth")))["networks"]
    model, notes = started(root, f"--ema 0.9 {LSESIM} --init_from {place.format(root=root)}")
    assert {*model.networks} == {"G", "D", "F", "G_ema"}
    for name in "GDF":
        assert equal(model.networks[name].state_dict(), state[name])
    assert equal(model.networks["G_ema"].state_dict(), state["G"])
    assert not equal(state["G"], state["G_ema"]), "the average of the other training is another network"
    assert len(notes) == 3
    assert all(note.startswith(f"network {name} starts from {folder}") for name, note in zip("GDF", notes, strict=True))


def test_a_training_from_other_weights_counts_from_zero_and_resumes_without_them(root: Path) -> None:
    flags = "--name second --init_from first --ema 0.9 --seed 3 --n_epochs 2"
    outcome = run(root, flags, "--max_iters 7")
    assert "note: network G starts from" in outcome.out
    assert "note: network F of" in outcome.out, "FSeSim has no heads"
    assert content(root / "checkpoints" / "second")["state.progress.images"] == 7
    whole = run(root, flags.replace("second", "whole"), "--max_iters 9")
    assert whole.code == 0
    shutil.rmtree(root / "checkpoints" / "first")
    for typed in (flags, flags.replace("--init_from first", "")):
        resumed = shutil.copytree(root / "checkpoints" / "second", root / "copies" / "second")
        outcome = run(root, typed, f"--max_iters 9 --continue_train --checkpoints_dir {root / 'copies'}")
        assert ("note: --init_from has no effect" in outcome.out) == ("init_from" in typed)
        assert outcome.out.count("init_from") == (2 if "init_from" in typed else 1), "the note, and the recorded flag"
        assert differing(content(root / "checkpoints" / "whole"), content(resumed)) == []
        assert json.loads((resumed / "train_opt.json").read_text())["init_from"] == "first"
        shutil.rmtree(resumed)


def test_published_networks_that_are_continued_are_not_replaced(root: Path) -> None:
    (root / "checkpoints" / "other").mkdir()
    for name in "GD":
        shutil.copy(root / "checkpoints" / "first" / f"latest_net_{name}.pth", root / "checkpoints" / "other")
    before = load_file(root / "checkpoints" / "other" / "latest_net_G.pth")
    outcome = run(root, "--name other --continue_train --init_from missing --max_iters 1 --lr 1e-30")
    assert outcome.code == 0, outcome.err
    assert "note: --init_from has no effect" in outcome.out
    assert equal(load_file(root / "checkpoints" / "other" / "latest_net_G.pth"), before)
    assert json.loads((root / "checkpoints" / "other" / "train_opt.json").read_text())["init_from"] == ""


def run(root: Path, *flags: str) -> cli.Outcome:
    words = shlex.split(" ".join([NETWORKS, LOSSES, SIZES, "--gpu_ids -1 --num_threads 0 --no_html", *flags]))
    return cli.run("train.py", "--dataroot", root, "--checkpoints_dir", root / "checkpoints", *words)


def test_a_network_of_another_architecture_is_new_and_a_generator_refused(root: Path) -> None:
    model, (of_g, of_d, of_f) = started(root, f"{LSESIM} --init_from first --netD pixel --patch_nums 9")
    state = load_file(root / "checkpoints" / "first" / "latest_state.pth")["networks"]
    assert equal(model.networks["G"].state_dict(), state["G"])
    assert re.match(r"network G starts from", of_g)
    assert re.match(r"network D is new: .* does not fit this PixelDiscriminator: ", of_d)
    assert re.match(r"network F starts from", of_f)
    model = model_of(root, "--ngf 3")
    before = {key: value.clone() for key, value in model.networks["G"].state_dict().items()}
    with pytest.raises(UserError, match=r"--init_from: .*first does not fit this ResnetGenerator: .*: --netG "
                                        r"resnet_6blocks --ngf 2 --input_nc 3"):
        start_from(model, read_weights(train_options(root, "--init_from first")))
    assert equal(model.networks["G"].state_dict(), before)


@pytest.mark.parametrize("file", ["", "/latest_state.pth", "/latest_net_G_ema.pth"])
def test_a_generator_of_another_normalisation_is_refused_though_its_weights_fit(root: Path, file: str) -> None:
    with pytest.raises(UserError, match=rf"--init_from: the generator of \S+first{file} was trained with --norm "
                                        r"instance, and --norm none would change .*: type --norm instance"):
        read_weights(train_options(root, f"--init_from first{file} --norm none"))
    record = root / "checkpoints" / "first" / "train_opt.json"
    record.write_text(record.read_text().replace('"norm": "instance"', '"norm": "none"'))
    weights = read_weights(train_options(root, f"--init_from first{file} --norm none"))
    with pytest.raises(UserError, match=r"does not fit .*--ngf 2 .* --norm none$"):
        start_from(model_of(root, "--ngf 3"), weights)


@pytest.mark.parametrize(("netG", "layers"), [
    ("resnet_6blocks", ["model.1", "model.27"]), ("unet_128", ["model.model.0", "model.model.3"]),
    ("stylegan2", ["encoder.convs.1.0", "decoder.convs.4.0", "decoder.convs.4.1"]),
])
def test_images_of_other_channels_leave_the_first_and_last_layers_of_a_generator_new(
    netG: str, layers: list[str]
) -> None:
    colour, grey = (create_generator(netG, ngf=2, size=16, input_nc=count, output_nc=count) for count in (3, 1))
    before = {key: value.clone() for key, value in grey.state_dict().items()}
    new = take(grey, colour.state_dict(), Path("file"), edges=True)
    assert new == layers
    for key, value in grey.state_dict().items():
        expected = before if key.rpartition(".")[0] in new else colour.state_dict()
        assert torch.equal(value, expected[key]), key
    with pytest.raises(UserError, match="does not fit"):
        take(grey, colour.state_dict(), Path("file"), edges=False)


@pytest.mark.parametrize("netD", ["basic", "pixel", "multi", "stylegan2", "tilestylegan2"])
def test_only_first_layers_of_a_discriminator_depend_on_the_channels(netD: str) -> None:
    colour, grey = (create_discriminator(netD, ndf=2, size=16, tile_size=8, input_nc=count) for count in (3, 1))
    new = take(grey, colour.state_dict(), Path("file"), edges=True)
    assert len(new) == (2 if netD == "multi" else 1)
    wider = create_discriminator(netD, ndf=4, size=16, tile_size=8, input_nc=3)
    if "stylegan2" not in netD:  # whose widths do not depend on it alone
        with pytest.raises(UserError, match="does not fit"):
            take(wider, colour.state_dict(), Path("file"), edges=True)


def test_a_note_names_the_layers_that_are_new(root: Path) -> None:
    _, (of_g, of_d, *_) = started(root, "--init_from first --input_nc 1")
    assert of_g.endswith("first, but model.1 with another number of channels: new")
    assert of_d.endswith("first"), "it sees images of B, as before"


@pytest.mark.parametrize(("state", "flags"), [
    (cyclegan(6), f"{NETWORKS} --no_antialias --no_antialias_up"), (cut(6), NETWORKS),
    ({f"module.{key}": value for key, value in cut(6).items()}, NETWORKS),
    (cyclegan(6, norm="none"), f"{NETWORKS} --no_antialias --no_antialias_up --norm none"),
])
@pytest.mark.parametrize("file", ["horse2zebra.pth", "latest_net_G.pth", "9_net_G_B.pth", "latest_net_G_ema.pth"])
def test_a_published_generator_is_a_start(tmp_path: Path, state: dict[str, Tensor], flags: str, file: str) -> None:
    torch.save(state, tmp_path / file)
    model, notes = started(tmp_path, f"--ema 0.9 --init_from {tmp_path / file}",
                           defaults=(flags, METHODS["LSeSim"], SIZES))
    for name in ("G", "G_ema"):
        found = model.networks[name].state_dict()
        assert all(torch.equal(value, found[key.removeprefix("module.")]) for key, value in state.items())
    assert [note.split(" of ")[0].split(tmp_path.name)[0] for note in notes][1:] == [
        f"network {name} is new: {tmp_path.parent}/" for name in "DF"]


def test_one_direction_of_cycle_gan_is_a_start_and_gets_one(root: Path) -> None:
    cycle = {"defaults": (NETWORKS, METHODS["CycleGAN"], SIZES)}
    both = model_of(root, **cycle)
    states = {name: network.state_dict() for name, network in both.networks.items()}
    one = model_of(root)
    notes = start_from(one, Weights(states, Path("both")))
    assert equal(one.networks["G"].state_dict(), states["G_A"])
    assert equal(one.networks["D"].state_dict(), states["D_A"])
    assert notes == ["network G starts from G_A of both", "network D starts from D_A of both",
                     "network F is new: both has none",
                     "network D_B of both is not used: this training has none",
                     "network G_B of both is not used: this training has none"]
    for file, name in (("x_net_G.pth", "G_A"), ("x_net_G_B.pth", "G_B"), ("x_net_D_B.pth", "D_B"), ("x.pth", "G_A")):
        torch.save(states["D_B" if "D" in file else "G_B"], root / file)
        model, _ = started(root, f"--init_from {root / file}", **cycle)
        assert equal(model.networks[name].state_dict(), states["D_B" if "D" in file else "G_B"])


@pytest.mark.parametrize(("value", "told"), [
    ("firts", r"--init_from firts: there is no experiment, folder or file of this name \(\S+ has early, first\)$"),
    ("x" * 300, r"--init_from x+: File name too long; name an experiment, a folder or a file$"),
    ("first/7_state.pth", r"--init_from first/7_state.pth: there is no experiment, folder or file"),
    ("empty", r"--init_from: there is no \S+empty/latest_net_G.pth \(\S+ has early, first\); name one of its files"),
    ("early", r"--init_from: there is no \S+early/latest_net_G.pth \(\S+early has 2_net_G.pth\); name one of its"),
    ("text.pth", r"text.pth cannot be read as a checkpoint \(it holds something else than tensors and plain values\)"),
    ("foreign_state.pth", r"foreign_state.pth holds no networks"),
    ("latest_net_X.pth", r"nothing in \S+latest_net_X.pth fits this training, which has the networks G, D$"),
    ("latest_net_D.pth", r"--init_from: nothing in \S+latest_net_D.pth fits this training, .* does not fit this Patch"),
])
def test_what_cannot_be_a_start_is_one_sentence_and_moves_nothing(root: Path, value: str, told: str) -> None:
    checkpoints = root / "checkpoints"
    for name in ("empty", "early"):
        (checkpoints / name).mkdir()
    torch.save({}, checkpoints / "early" / "2_net_G.pth")
    (checkpoints / "text.pth").write_text("<html>moved</html>")
    torch.save({"networks": {"G": 1}}, checkpoints / "foreign_state.pth")
    for name in "XD":
        torch.save({"model.0.weight": torch.zeros(1)}, checkpoints / f"latest_net_{name}.pth")
    before = sorted(path.name for path in checkpoints.glob("[!.]*"))
    with pytest.raises(UserError, match=told) as error:
        train(train_options(root, f"--name first --max_iters 1 --init_from {value}"))
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in checkpoints.glob("[!.]*")) == before


def test_a_training_may_start_from_the_one_whose_name_it_takes(root: Path) -> None:
    first = load_file(root / "checkpoints" / "first" / "latest_state.pth")["networks"]["G"]
    train(train_options(root, "--name first --init_from first --max_iters 1 --lr 1e-30"))
    assert equal(load_file(root / "checkpoints" / "first" / "latest_net_G.pth"), first)
    assert (root / "checkpoints" / "first.1" / "latest_state.pth").is_file()


# --- frozen parameters


def flat(model: Model) -> dict[str, bytes]:
    return {f"{name}.{key}": value.detach().numpy().tobytes() for name, network in model.networks.items()
            for key, value in network.named_parameters()}


def step(model: Model, options: Any, count: int = 2) -> None:
    train_step = build_step(model, CPU, options)
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        keys = ("A", "B", "A_aug", "B_aug")
        train_step([{key: 2 * torch.rand(2, 3, 16, 16, generator=generator) - 1 for key in keys}])


@pytest.mark.parametrize(("pattern", "is_frozen"), [
    (r"G\.model\.(1|4)\.|D\.model\.0", lambda name: name.startswith(("G.model.1.", "G.model.4.", "D.model.0."))),
    (r"G\..*", lambda name: name.startswith("G.")), (r"D\.", lambda name: name.startswith("D.")),
    (r"F\.", lambda name: name.startswith("F.")), (r"[GD]\..*bias", lambda name: name[0] in "GD" and "bias" in name),
])
@pytest.mark.parametrize("amp", ["no", pytest.param("fp16", marks=pytest.mark.slow)])
def test_frozen_parameters_and_their_averages_stay_to_the_bit_and_others_move(
    tmp_path: Path, pattern: str, is_frozen: Any, amp: str
) -> None:
    options = train_options(tmp_path, f"{LSESIM} --ema 0.5 --lr 0.01 --amp {amp} --freeze '{pattern}'")
    model = model_of(tmp_path, f"{LSESIM} --ema 0.5 --lr 0.01")
    before = flat(model)
    step(model, options)
    after = flat(model)
    stayed = {name for name in before if before[name] == after[name]}
    unused = {f"{network}.{name}.bias" for network, module in model.networks.items()
              for name, layer in module.named_modules() if isinstance(layer, UnbiasedConv2d | UnbiasedConvTranspose2d)}
    assert stayed == {name for name in before if is_frozen(name.replace("G_ema.", "G."))} | (unused & before.keys())
    for name, network in model.networks.items():
        for key, parameter in network.named_parameters():
            if is_frozen(f"{name}.{key}"):
                assert parameter.grad is None


def test_a_training_with_frozen_parameters_resumes_to_the_bit_and_may_free_them(root: Path) -> None:
    flags = r"--init_from first --freeze '[GD]\.model\.1\.' --ema 0.9 --learned_attn --augment --seed 3 --lr 0.01"
    first = content(root / "checkpoints" / "first")
    train(train_options(root, f"{flags} --name whole --max_iters 9"))
    train(train_options(root, f"{flags} --name parts --max_iters 4"))
    train(train_options(root, f"{flags} --name parts --max_iters 9 --continue_train"))
    whole = content(root / "checkpoints" / "whole")
    assert differing(whole, content(root / "checkpoints" / "parts")) == []
    stayed = "state.networks.G.model.1.weight"
    assert first[stayed] == whole[stayed] == whole[stayed.replace("G.", "G_ema.")]
    assert first["state.networks.G.model.4.weight"] != whole["state.networks.G.model.4.weight"]
    outcome = run(root, "--name parts --learned_attn --augment --ema 0.9 --lr 0.01 --max_iters 12 --continue_train")
    assert r"note: --freeze is , was [GD]\.model\.1\." in outcome.out
    assert content(root / "checkpoints" / "parts")[stayed] != whole[stayed]


@pytest.mark.parametrize(("pattern", "told"), [
    ("generator", r"--freeze generator matches no parameter: their names are such as G\.model\.1\.weight, "
                  r"D\.model\.0\.weight, F\.heads\.0\.0\.weight$"),
    ("G_ema", "matches no parameter"), (".", "matches all .* parameters, and leaves nothing to train"),
])
def test_an_expression_that_cannot_be_meant_is_refused(tmp_path: Path, pattern: str, told: str) -> None:
    options = train_options(tmp_path, f"{LSESIM} --ema 0.5 --freeze {pattern}")
    with pytest.raises(UserError, match=told):
        build_step(model_of(tmp_path, "--ema 0.5"), CPU, options)


def test_text_that_is_no_expression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--freeze: 'G\.\(' is no regular expression \(missing \), .*\)"):
        train_options(tmp_path, "--freeze 'G.('")


@pytest.mark.parametrize(("reader", "flags"), [
    ("read_weights", "--name second --init_from first"), ("read_state", "--name first --continue_train --ema 0.9"),
])
def test_weights_that_were_loaded_are_not_kept_during_the_training(
    root: Path, monkeypatch: pytest.MonkeyPatch, reader: str, flags: str,
) -> None:
    read, networks, alive = getattr(sys.modules["training.job"], reader), [], []

    def noted(*arguments: Any) -> Any:
        result = read(*arguments)
        found = result.networks if isinstance(result, Weights) else result["networks"]
        networks.extend(weakref.ref(value) for state in found.values() for value in state.values())
        return result

    monkeypatch.setattr(f"training.job.{reader}", noted)
    monkeypatch.setattr("training.job.loop", lambda *_, **__: alive.extend(of for of in networks if of() is not None))
    train(train_options(root, f"{LSESIM} {flags}"))
    assert (len(networks) > 0, alive) == (True, [])
