"""Parsing of command lines: values, defaults, precedence and errors."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data import DATASETS, AugmentFlags
from models import MODELS
from models.sc import SpatialFlags
from models.structure_flags import StructureFlags
from options import (
    REQUIRED,
    TEST,
    TRAIN,
    DataFlags,
    DisplayFlags,
    FlagOwner,
    NetworkFlags,
    Options,
    Program,
    RunFlags,
    TrainFlags,
    flag,
    parse,
    parse_flags,
    parse_known_flags,
)
from options.common import usable_cores
from options.parser import FORMER
from util.errors import UserError

HERE = ("--dataroot", ".")


def train(*argv: str) -> Options:
    return parse(TRAIN, MODELS, DATASETS, [*HERE, *argv])


def translate(*argv: str) -> Options:
    return parse(TEST, MODELS, DATASETS, [*HERE, *argv])


def refusal(program: Program, *argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(program, MODELS, DATASETS, argv)
    return str(caught.value)


# --- which flags there are


def test_left_out_model_is_sc_in_training_and_test_in_testing() -> None:
    assert train()[RunFlags].model == "sc"
    assert translate()[RunFlags].model == "test"
    assert translate()[DataFlags].dataset_mode == "single"
    assert translate("--model", "sc")[DataFlags].dataset_mode == "unaligned"


def test_flag_of_another_model_or_data_set_is_unknown() -> None:
    assert "--learned_attn" in refusal(TEST, *HERE, "--learned_attn")
    assert "--augment" in refusal(TRAIN, *HERE, "--dataset_mode", "single", "--augment")
    assert "--n_epochs" in refusal(TEST, *HERE, "--n_epochs", "3")


@pytest.mark.parametrize(("typed", "meant"), [
    ("LSeSim", "sc --learned_attn --augment"), ("CUT", "cut"), ("cyclegan", "cycle_gan"),
    ("FastCUT", "cut --CUT_mode FastCUT"), ("GcGAN", "gc_gan"), ("pix2pixx", "pix2pix"),
])
def test_a_model_by_another_name_is_refused_with_what_to_type(typed: str, meant: str) -> None:
    assert f"did you mean --model {meant}? choose one of" in refusal(TRAIN, *HERE, "--model", typed)


def test_a_flag_of_older_code_is_refused_with_its_present_name() -> None:
    for program, former, now in (
        (TRAIN, "niter", "--n_epochs"), (TRAIN, "no_lsgan", "--gan_mode vanilla"),
        (TRAIN, "use_dropout", "--no_dropout false"), (TEST, "how_many", "--num_test"),
    ):
        assert f"did you mean {now}?" in refusal(program, *HERE, f"--{former}", "3")
    names = {*train().as_dict(), *translate().as_dict(), *train("--model", "cycle_gan").as_dict()}
    assert {now.partition(" ")[0] for now in FORMER.values()} <= names
    assert not FORMER.keys() & names


def test_flags_are_not_abbreviated_and_stray_words_are_refused() -> None:
    assert "--help" in refusal(TRAIN, *HERE, "--qqq")
    assert "'stray' is not a flag" in refusal(TRAIN, *HERE, "stray")
    assert "--lambda_spat is not a flag" in refusal(TRAIN, *HERE, "--lambda_spat", "3")
    assert "--mode is not a flag" in refusal(TRAIN, *HERE, "--mode", "sc")


@dataclass(frozen=True)
class TwiceFlags:
    """Declares a flag that exists."""

    ngf: int = flag(1, "again")


def model_with(flags: tuple[type, ...], defaults: Mapping[str, Any]) -> Any:
    return type("Owner", (FlagOwner,), {"flags": flags, "defaults": classmethod(lambda cls, training: defaults)})


def test_flags_declared_twice_and_overrides_of_unknown_flags_are_programming_errors() -> None:
    with pytest.raises(KeyError, match="--ngf is declared twice"):
        parse(TRAIN, {"sc": model_with((TwiceFlags,), {})}, DATASETS, HERE)
    with pytest.raises(KeyError, match="nfg"):
        parse(TRAIN, {"sc": model_with((), {"nfg": 3})}, DATASETS, HERE)


def test_override_of_a_model_is_the_default_and_yields_to_what_is_typed() -> None:
    models = {"sc": model_with((), {"ngf": 3, "dataset_mode": "single"})}
    assert parse(TRAIN, models, DATASETS, HERE)[NetworkFlags].ngf == 3
    assert parse(TRAIN, models, DATASETS, HERE)[DataFlags].dataset_mode == "single"
    assert parse(TRAIN, models, DATASETS, [*HERE, "--ngf", "5"])[NetworkFlags].ngf == 5


# --- values


def test_options_are_typed_and_frozen() -> None:
    options = train("--lr", "1", "--ngf", "8")
    assert isinstance(options[TrainFlags].lr, float)
    assert isinstance(options[NetworkFlags].ngf, int)
    for group in (RunFlags, DataFlags, NetworkFlags, TrainFlags, DisplayFlags, StructureFlags, SpatialFlags,
                  AugmentFlags):
        name = dataclasses.fields(group)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options[group], name, None)


@pytest.mark.parametrize(("typed", "group", "name", "value"), [
    ("--lr=0.5", TrainFlags, "lr", 0.5),
    ("--name=a=b", RunFlags, "name", "a=b"),
    ("--gpu_ids -1", RunFlags, "gpu_ids", "-1"),
    ("--ngf 3 --ngf 5", NetworkFlags, "ngf", 5),
    ("--seed 9007199254740993", RunFlags, "seed", 9007199254740993),  # 2^53 + 1: no float holds it
    ("", NetworkFlags, "no_dropout", True),
    ("--no_dropout", NetworkFlags, "no_dropout", True),
    ("--no_dropout False", NetworkFlags, "no_dropout", False),
    ("--no_dropout=no --no_flip", NetworkFlags, "no_dropout", False),
    ("--no_flip --no_dropout 0", DataFlags, "no_flip", True),
    ("--patch_nums 256.0", StructureFlags, "patch_nums", 256),
    ("--patch_nums 1e2", StructureFlags, "patch_nums", 100),
    ("--patch_nums inf", StructureFlags, "patch_nums", None),
    ("--max_dataset_size -1", DataFlags, "max_dataset_size", None),
    ("--attn_layers '4, 7, 9'", StructureFlags, "attn_layers", ("4", "7", "9")),
    ("--attn_layers 'relu3_1 ,relu4_1'", StructureFlags, "attn_layers", ("relu3_1", "relu4_1")),
    ("--attn_layers 4,", StructureFlags, "attn_layers", ("4",)),
])
def test_values_are_typed_in_many_ways(typed: str, group: type, name: str, value: object) -> None:
    assert getattr(train(*shlex.split(typed))[group], name) == value


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("ngf", "0", "least value is 1"), ("ngf", "2.5", "not a whole number"), ("ngf", "many", "not a number"),
    ("lr", "0", "must be above 0"), ("lr", "nan", "not a finite number"), ("lr", "inf", "not a finite number"),
    ("beta1", "1", "greatest value"), ("patch_nums", "0", "neither a positive number nor 'inf'"),
    ("display_port", "70000", "greatest value is 65535"), ("attn_layers", " , ", "the list is empty"),
    ("seed", "1" + "0" * 30, "too large"), ("lr", "-0.5", "-0.5 is too small"), ("lr", "-1e-3", "-1e-3 is too small"),
    ("no_flip", "maybe", "'maybe' is neither true nor false"), ("n_epochs", "9" * 5000, "not a"),
])
def test_value_outside_its_limits_is_refused_with_flag_and_limit(name: str, text: str, reason: str) -> None:
    message = refusal(TRAIN, *HERE, f"--{name}={text}")
    assert f"--{name}" in message
    assert reason in message


# --- sizes


def test_typed_size_turns_scaling_on_in_testing() -> None:
    for argv in (("--load_size", "128"), ("--crop_size", "64"), ("--load_size", "128", "--crop_size", "64")):
        assert translate(*argv)[DataFlags].preprocess == "resize_and_crop"
    assert translate("--load_size", "128", "--preprocess", "scale_width")[DataFlags].preprocess == "scale_width"
    assert translate("--load_size", "128", "--preprocess", "none")[DataFlags].preprocess == "none"


@pytest.mark.parametrize(("argv", "load", "crop"), [
    (("--load_size", "128"), 128, 128), (("--load_size", "512"), 512, 512), (("--crop_size", "64"), 256, 64),
    (("--load_size", "128", "--crop_size", "64"), 128, 64),
])
def test_crop_follows_a_typed_load_size_in_testing(argv: tuple[str, ...], load: int, crop: int) -> None:
    data = translate(*argv)[DataFlags]
    assert (data.load_size, data.crop_size) == (load, crop)


# --- names


def test_suffix_is_filled_with_flags_and_appended_to_the_name() -> None:
    options = train("--name", "run", "--suffix", "{netG}_{lr}_{attn_layers}", "--attn_layers", "4,7")
    assert options[RunFlags].name == "run_resnet_9blocks_0.0001_4,7"
    assert "--suffix: 'nothing' is not a flag" in refusal(TRAIN, *HERE, "--suffix", "{nothing}")


# --- flags from the weights of a checkpoint


def record(folder: Path, content: str | bytes) -> tuple[str, ...]:
    (folder / "run").mkdir()
    (folder / "run" / "train_opt.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    return ("--checkpoints_dir", str(folder), "--name", "run")


@pytest.mark.parametrize(("flags", "size"), [
    ("--netG stylegan2", 96), ("--netG smallstylegan2 --stylegan2_size 64", 64), ("--netD stylegan2", 96), ("", 0),
])
def test_stylegan2_networks_are_tested_as_they_were_trained(tmp_path: Path, flags: str, size: int) -> None:
    trained = train(*flags.split(), "--load_size", "200", "--crop_size", "96", "--stylegan2_G_num_downsampling", "2")
    assert trained[NetworkFlags].stylegan2_size == size
    tested = translate(*record(tmp_path, json.dumps(trained.as_dict())), "--load_size", "32")[NetworkFlags]
    assert (tested.stylegan2_size, tested.stylegan2_G_num_downsampling) == (size, 2)


def test_architecture_comes_from_the_options_of_the_training(tmp_path: Path) -> None:
    trained = train("--netG", "unet_128", "--ngf", "7", "--input_nc", "1", "--norm", "batch", "--direction", "BtoA",
                    "--no_dropout", "false", "--no_antialias", "--load_size", "300", "--batch_size", "4")
    where = record(tmp_path, json.dumps(trained.as_dict()))
    tested = translate(*where)
    network, data = tested[NetworkFlags], tested[DataFlags]
    assert (network.netG, network.ngf, network.norm) == ("unet_128", 7, "batch")
    assert (network.no_dropout, network.no_antialias, network.no_antialias_up) == (False, True, False)
    assert (data.input_nc, data.output_nc, data.direction) == (1, 3, "BtoA")
    assert (data.load_size, data.batch_size, data.preprocess, data.phase) == (256, 1, "none", "test")
    typed = translate(*where, "--ngf", "9")[NetworkFlags]
    assert (typed.ngf, typed.netG) == (9, "unet_128")
    assert train(*where)[NetworkFlags].ngf == 64, "a training does not read the options of an earlier one"
    message = refusal(TEST, *HERE, *where, "--norm", "none")  # the weights would fit, and translate otherwise
    assert f"--norm none contradicts {tmp_path / 'run'}, which was trained with --norm batch: leave" in message
    (tmp_path / "run").rename(tmp_path / "r_un")
    assert translate("--checkpoints_dir", str(tmp_path), "--name", "r", "--suffix", "un")[NetworkFlags].ngf == 7


@pytest.mark.parametrize("content", [
    "", "[]", '{"ngf": "many"}', '{"ngf": null}', '{"ngf": 0}', '{"netG": "another"}', b"\xff\xfe\x00", "[" * 100_000,
], ids=lambda content: repr(content[:12]))
def test_damaged_options_of_the_training_are_one_sentence(tmp_path: Path, content: str | bytes) -> None:
    where = record(tmp_path, content)
    message = refusal(TEST, *HERE, *where)
    assert "train_opt.json" in message
    assert "repair or remove it" in message
    assert "\n" not in message


# --- programs with one group of flags


@dataclass(frozen=True)
class SharedFlags:
    """Flags that several programs share."""

    shared: float = flag(0.5, "a share", minimum=0)


@dataclass(frozen=True, kw_only=True)
class ToolFlags(SharedFlags):
    """Make something."""

    place: Path = flag(REQUIRED, "a folder", positional=True)
    out: Path = flag(REQUIRED, "another folder", alias="output_dir")
    sizes: tuple[int, ...] = flag((1, 2), "sizes", minimum=1, several=True)
    pair: tuple[int, ...] = flag((), "two numbers", several=2, unset="no pair")
    notes: tuple[str, ...] = flag((), "notes", several=True, action="extend")
    dry: bool = flag(False, "change nothing")


def tool(*argv: str) -> ToolFlags:
    return parse_flags(ToolFlags, "tool.py", argv)


def test_a_group_of_flags_is_a_whole_command_line() -> None:
    assert tool("x", "--out", "y") == ToolFlags(place=Path("x"), out=Path("y"))
    found = tool("--dry", "x", "--output_dir=y", "--sizes", "3", "--sizes", "4", "5", "--pair", "6", "7",
                 "--notes", "a", "--notes", "b", "c", "--shared", "2")
    assert found == ToolFlags(
        place=Path("x"), out=Path("y"), sizes=(4, 5), pair=(6, 7), notes=("a", "b", "c"), dry=True, shared=2.0)
    known, rest = parse_known_flags(ToolFlags, "tool.py", ["x", "--out", "y", "--ngf", "3"])
    assert (known.place, rest) == (Path("x"), ["--ngf", "3"])


@pytest.mark.parametrize(("argv", "sentence"), [
    ((), "the following arguments are required: PLACE, --out/--output_dir"),
    (("x", "--out", "y", "--sizes", "0"), "--sizes: 0 is too small: the least value is 1"),
    (("x", "--out", "y", "--siz", "3"), "--siz is not a flag of tool.py; did you mean --sizes?"),
    (("x", "--out", "y", "--pair", "3"), "--pair: expected 2 arguments"),
    (("x", "--out", "y", "z"), "'z' is not a flag; flags start with -- (see --help)"),
])
def test_a_mistake_in_any_program_is_one_sentence(argv: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        tool(*argv)
    assert str(caught.value) == sentence


def test_help_has_a_section_for_each_group_and_tells_of_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tool("--help")
    text = " ".join(capsys.readouterr().out.split())
    for words in ("usage: tool.py PLACE [--flag value ...]", "Make something: PLACE a folder (required)",
                  "--sizes INT [INT ...] sizes (default: 1 2)", "two numbers (default: no pair)",
                  "Flags that several programs share: --shared FLOAT a share (default: 0.5)"):
        assert words in text


# --- how options are kept


def test_a_choice_named_none_differs_from_no_choice() -> None:
    assert train("--normD", "none").changes_since(train().as_dict()) == {"normD": "--normD is none, was unset"}
    assert train().changes_since(train().as_dict()) == {}


def test_options_are_saved_as_text_and_as_json(tmp_path: Path) -> None:
    options = train("--ngf", "7", "--patch_nums", "inf", "--attn_layers", "4,7")
    options.save(tmp_path / "new" / "folder", "train_opt")
    recorded = json.loads((tmp_path / "new" / "folder" / "train_opt.json").read_text())
    lists = {name: list(value) for name, value in options.as_dict().items() if isinstance(value, tuple)}
    assert recorded == {**options.as_dict(), **lists}
    assert recorded["attn_layers"] == ["4", "7"]
    assert recorded["loggers"] == ["terminal", "json", "html"]
    assert (recorded["ngf"], recorded["patch_nums"]) == (7, None)
    assert "patch_nums: inf\t[default: 256]\n" in options.as_text()
    text = (tmp_path / "new" / "folder" / "train_opt.txt").read_text()
    assert text == options.as_text() + "\n"
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert set(options.as_dict()) < set(lines)
    assert lines["ngf"].endswith("7\t[default: 64]")
    assert "default" not in lines["ndf"]


def test_the_terminal_shows_the_flags_that_differ_and_counts_the_others() -> None:
    options = train("--ngf", "7")
    lines = options.as_text(changed_only=True).splitlines()
    assert "                     ngf: 7\t[default: 64]" in lines
    assert not [line for line in lines if line.strip().startswith("ndf:")]
    assert "                   model: sc" in lines, "what chooses all others is always there"
    assert "            dataset_mode: unaligned" in lines
    shown = [line for line in lines if "[default:" in line] + ["model", "dataset_mode"]
    assert f"{len(options.as_dict()) - len(shown)} others have their defaults (--verbose lists them)" in lines


def test_paths_that_are_no_text_are_saved_escaped(tmp_path: Path) -> None:
    options = parse(TEST, MODELS, DATASETS, [*HERE, "--results_dir", "x\udcff"])
    options.save(tmp_path, "opt")
    assert "x\\udcff" in (tmp_path / "opt.txt").read_text()
    assert json.loads((tmp_path / "opt.json").read_text())["results_dir"] == "x\udcff"


def test_images_are_loaded_by_no_more_workers_than_the_process_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert usable_cores() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7
