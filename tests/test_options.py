"""What a command line may say, and what becomes of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data import DATASETS, AugmentFlags
from models import MODELS
from models.sc import SpatialFlags
from models.structure import StructureFlags
from models.test import SuffixFlags
from options import (
    TEST,
    TRAIN,
    DataFlags,
    DisplayFlags,
    NetworkFlags,
    Options,
    Program,
    RunFlags,
    TestFlags,
    TrainFlags,
    flag,
    parse,
)
from options.common import usable_cores
from options.flag import flags_of
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


def help_of(capsys: pytest.CaptureFixture[str], program: Program, *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(program, MODELS, DATASETS, [*argv, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


# --- which flags there are


def test_left_out_model_is_sc_in_training_and_test_in_testing() -> None:
    assert train()[RunFlags].model == "sc"
    assert translate()[RunFlags].model == "test"
    assert translate()[DataFlags].dataset_mode == "single"
    assert translate("--model", "sc")[DataFlags].dataset_mode == "unaligned"


def test_model_and_data_set_add_their_own_flags() -> None:
    assert SpatialFlags in train()
    assert AugmentFlags in train()
    assert SpatialFlags not in translate()
    assert SuffixFlags in translate()
    assert AugmentFlags not in translate()


def test_flag_of_another_model_or_data_set_is_unknown() -> None:
    assert "--learned_attn" in refusal(TEST, *HERE, "--learned_attn")
    assert "--augment" in refusal(TRAIN, *HERE, "--dataset_mode", "single", "--augment")
    assert "--n_epochs" in refusal(TEST, *HERE, "--n_epochs", "3")


@pytest.mark.parametrize("equals", [True, False])
def test_unknown_model_and_data_set_list_what_there_is(equals: bool) -> None:
    def typed(name: str, value: str) -> list[str]:
        return [f"{name}={value}"] if equals else [name, value]

    message = refusal(TRAIN, *typed("--model", "nothing"))
    assert f"--model nothing is unknown; choose one of: {', '.join(sorted(MODELS))}" in message
    message = refusal(TRAIN, *typed("--dataset_mode", "video"))
    assert all(name in message for name in ("video", *DATASETS))


@pytest.mark.parametrize(("typed", "meant"), [
    ("LSeSim", "sc --learned_attn --augment"), ("CUT", "cut"), ("cyclegan", "cycle_gan"),
    ("FastCUT", "cut --CUT_mode FastCUT"), ("munit", "munit_sc"), ("pix2pixx", "pix2pix"),
])
def test_a_model_by_another_name_is_refused_with_what_to_type(typed: str, meant: str) -> None:
    assert f"did you mean --model {meant}? choose one of" in refusal(TRAIN, *HERE, "--model", typed)


def test_unknown_flag_is_refused_with_the_closest_one() -> None:
    assert "did you mean --lambda_spatial?" in refusal(TRAIN, *HERE, "--lambda_spatal", "3")


@pytest.mark.parametrize(("program", "former", "now"), [
    (TRAIN, "niter", "--n_epochs"), (TRAIN, "fineSize", "--crop_size"), (TRAIN, "no_lsgan", "--gan_mode vanilla"),
    (TRAIN, "use_dropout", "--no_dropout false"), (TRAIN, "use_wandb", "--loggers terminal,json,html,wandb"),
    (TEST, "how_many", "--num_test"), (TEST, "which_epoch", "--epoch"),
])
def test_a_flag_of_older_code_is_refused_with_its_present_name(program: Program, former: str, now: str) -> None:
    assert f"did you mean {now}?" in refusal(program, *HERE, f"--{former}", "3")


def test_former_names_lead_to_flags_that_there_are() -> None:
    names = set(parse(TRAIN, MODELS, DATASETS, [*HERE]).as_dict()) | set(
        parse(TEST, MODELS, DATASETS, [*HERE]).as_dict()) | set(
        parse(TRAIN, MODELS, DATASETS, [*HERE, "--model", "cycle_gan"]).as_dict())
    assert {now.partition(" ")[0] for now in FORMER.values()} <= names
    assert not FORMER.keys() & names
    assert "--help" in refusal(TRAIN, *HERE, "--qqq")
    assert "'stray' is not a flag" in refusal(TRAIN, *HERE, "stray")


def test_flags_are_not_abbreviated() -> None:
    assert "--lambda_spat is not a flag" in refusal(TRAIN, *HERE, "--lambda_spat", "3")
    assert "--mode is not a flag" in refusal(TRAIN, *HERE, "--mode", "sc")


def test_missing_value_names_the_flag() -> None:
    assert "--ngf" in refusal(TRAIN, *HERE, "--ngf")
    assert "--model" in refusal(TRAIN, *HERE, "--model")
    assert "--name" in refusal(TRAIN, *HERE, "--name", "--ngf", "3")


@dataclass(frozen=True)
class TwiceFlags:
    """Declares a flag that exists."""

    ngf: int = flag(1, "again")


def model_with(flags: tuple[type, ...], defaults: Mapping[str, Any]) -> Any:
    owner = type("Owner", (), {"flags": flags, "test_flags": (), "inherited": ()})
    owner.defaults = classmethod(lambda cls, training: defaults)
    owner.implied = classmethod(lambda cls, typed: {})
    owner.check = classmethod(lambda cls, options: None)
    return owner


def test_flag_declared_twice_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="--ngf is declared twice"):
        parse(TRAIN, {"sc": model_with((TwiceFlags,), {})}, DATASETS, HERE)


def test_override_of_an_unknown_flag_is_a_programming_error() -> None:
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


def test_value_may_follow_an_equals_sign() -> None:
    options = train("--lr=0.5", "--name=a=b", "--gpu_ids=-1")
    assert (options[TrainFlags].lr, options[RunFlags].name, options[RunFlags].gpu_ids) == (0.5, "a=b", "-1")


def test_repeated_flag_takes_its_last_value() -> None:
    assert train("--ngf", "3", "--ngf", "5")[NetworkFlags].ngf == 5


@pytest.mark.parametrize(("argv", "dropout_off", "flip_off"), [
    ((), True, False),
    (("--no_dropout", "--no_flip"), True, True),
    (("--no_dropout", "False"), False, False),
    (("--no_dropout=no", "--no_flip", "true"), False, True),
    (("--no_flip", "--no_dropout", "0"), False, True),
])
def test_switches_work_with_and_without_a_value(argv: tuple[str, ...], dropout_off: bool, flip_off: bool) -> None:
    options = train(*argv)
    assert options[NetworkFlags].no_dropout is dropout_off
    assert options[DataFlags].no_flip is flip_off


def test_switch_refuses_other_words() -> None:
    assert "--no_flip: 'maybe' is neither true nor false" in refusal(TRAIN, *HERE, "--no_flip", "maybe")


@pytest.mark.parametrize(("text", "count"), [("256.0", 256), ("1e2", 100), ("inf", None), ("-1", None)])
def test_counts_may_be_written_as_the_published_scripts_do(text: str, count: int | None) -> None:
    assert train("--patch_nums", text)[StructureFlags].patch_nums == count
    assert train("--max_dataset_size", text)[DataFlags].max_dataset_size == count


@pytest.mark.parametrize(("text", "layers"), [
    ("4, 7, 9", ("4", "7", "9")), ("4,7", ("4", "7")), ("relu3_1 ,relu4_1", ("relu3_1", "relu4_1")), ("4,", ("4",)),
])
def test_layers_are_a_list_of_numbers_or_names(text: str, layers: tuple[str, ...]) -> None:
    assert train("--attn_layers", text)[StructureFlags].attn_layers == layers


def test_negative_numbers_are_values_not_flags() -> None:
    assert train("--gpu_ids", "-1")[RunFlags].gpu_ids == "-1"
    assert "--lr: -0.5 is too small" in refusal(TRAIN, *HERE, "--lr", "-0.5")
    assert "--lr: -1e-3 is too small" in refusal(TRAIN, *HERE, "--lr=-1e-3")


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("ngf", "0", "least value is 1"), ("ngf", "2.5", "not a whole number"), ("ngf", "many", "not a number"),
    ("lr", "0", "must be above 0"), ("lr", "nan", "not a finite number"), ("lr", "inf", "not a finite number"),
    ("beta1", "1", "greatest value"), ("patch_nums", "0", "neither a positive number nor 'inf'"),
    ("display_port", "70000", "greatest value is 65535"), ("attn_layers", " , ", "the list is empty"),
    ("netG", "resnet", "resnet_9blocks, resnet_6blocks"), ("seed", "1" + "0" * 30, "too large"),
])
def test_value_outside_its_limits_is_refused_with_flag_and_limit(name: str, text: str, reason: str) -> None:
    message = refusal(TRAIN, *HERE, f"--{name}", text)
    assert f"--{name}" in message
    assert reason in message


def test_large_seeds_are_exact() -> None:
    assert train("--seed", "9007199254740993")[RunFlags].seed == 9007199254740993  # 2^53 + 1: no float holds it


# --- help


def test_help_of_training_shows_the_flags_of_the_chosen_model(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, TRAIN)
    table = {f.name for group in (*TRAIN.groups, StructureFlags, SpatialFlags, AugmentFlags) for f in flags_of(group)}
    assert {word[2:] for line in text.splitlines() for word in line.split()[:1] if word[:2] == "--"} == table
    assert "--num_test" not in text
    assert "--model_suffix" not in text
    words = " ".join(text.split())
    assert f"which model: {', '.join(MODELS)} (default: sc)" in words
    assert ", ".join(DATASETS) in words


def test_help_of_testing_has_no_training_flags(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, TEST)
    assert "--model_suffix" in text
    assert not any(name in text for name in ("--lambda_spatial", "--augment", "--n_epochs", "--display_port"))
    assert "--lambda_spatial" in help_of(capsys, TEST, "--model", "sc")


def test_help_shows_the_defaults_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    def default(text: str, name: str) -> str:
        section = text.split(f"\n  --{name} ", maxsplit=1)[1]
        return section.split("(default:", maxsplit=1)[1].split(")", maxsplit=1)[0].strip()

    training, testing = help_of(capsys, TRAIN), help_of(capsys, TEST)
    assert (default(training, "model"), default(testing, "model")) == ("sc", "test")
    assert (default(training, "dataset_mode"), default(testing, "dataset_mode")) == ("unaligned", "single")
    assert (default(training, "preprocess"), default(testing, "preprocess")) == ("resize_and_crop", "none")
    assert default(training, "attn_layers") == "4,7,9"
    assert "resize_and_crop unless given" in " ".join(testing.split())


# --- sizes


def test_images_keep_their_size_in_testing() -> None:
    assert translate()[DataFlags].preprocess == "none"


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


@pytest.mark.parametrize("argv", [("--load_size", "128"), ("--crop_size", "512")])
def test_training_explains_a_crop_that_does_not_fit(argv: tuple[str, ...]) -> None:
    message = refusal(TRAIN, *HERE, *argv)
    assert "--crop_size" in message
    assert "--load_size" in message
    assert "lower --crop_size" in message
    assert "\n" not in message


# --- names


def test_suffix_is_filled_with_flags_and_appended_to_the_name() -> None:
    options = train("--name", "run", "--suffix", "{netG}_{lr}_{attn_layers}", "--attn_layers", "4,7")
    assert options[RunFlags].name == "run_resnet_9blocks_0.0001_4,7"
    assert "--suffix: 'nothing' is not a flag" in refusal(TRAIN, *HERE, "--suffix", "{nothing}")


@pytest.mark.parametrize("name", [
    "", ".", "..", "/", "/tmp/x", "../x", "a/../../b", "a/..", "..\\x", "a\\..\\..\\b", "\\x", "C:\\x", "C:x",
    "\\\\server\\share", "nul\0byte", "two\nlines", "\x1b[31m",
])
def test_name_cannot_leave_the_checkpoints_folder(name: str) -> None:
    message = refusal(TRAIN, *HERE, f"--name={name}")
    assert "--name" in message
    assert "\n" not in message


def test_suffix_cannot_leave_the_checkpoints_folder() -> None:
    assert "--name" in refusal(TRAIN, *HERE, "--name", "x", "--suffix", "/../../y")


@given(st.text(alphabet=st.sampled_from("a.~/\\: \0\n-{}"), max_size=12))
@settings(deadline=None)
def test_every_accepted_name_is_a_folder_below_the_checkpoints_folder(name: str) -> None:
    try:
        accepted = train(f"--name={name}", "--checkpoints_dir", "/base/dir")[RunFlags].name
    except UserError:
        return
    for path in (PurePosixPath, PureWindowsPath):
        base = path("/base/dir")
        below = (base / accepted).relative_to(base)  # raises where an absolute name replaced the base
        assert below.parts
        assert ".." not in below.parts


# --- what the checkpoint tells


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


def test_typed_flags_win_over_the_options_of_the_training(tmp_path: Path) -> None:
    where = record(tmp_path, json.dumps(train("--ngf", "7", "--netG", "unet_128").as_dict()))
    network = translate(*where, "--ngf", "9")[NetworkFlags]
    assert (network.ngf, network.netG) == (9, "unet_128")


def test_options_of_the_training_are_found_under_the_whole_name(tmp_path: Path) -> None:
    record(tmp_path, json.dumps(train("--ngf", "7").as_dict()))
    (tmp_path / "run").rename(tmp_path / "r_un")
    options = translate("--checkpoints_dir", str(tmp_path), "--name", "r", "--suffix", "un")
    assert (options[RunFlags].name, options[NetworkFlags].ngf) == ("r_un", 7)


def test_training_does_not_read_the_options_of_an_earlier_one(tmp_path: Path) -> None:
    where = record(tmp_path, json.dumps(train("--ngf", "7").as_dict()))
    assert train(*where)[NetworkFlags].ngf == 64


@pytest.mark.parametrize("content", [
    "", "{", "[]", "7", "null", '"netG"', '["netG"]', '{"ngf": "many"}', '{"ngf": null}', '{"ngf": 0}', '{"ngf": {}}',
    '{"netG": "another"}', b"\xff\xfe\x00", "[" * 100_000,
], ids=lambda content: repr(content[:12]))
def test_damaged_options_of_the_training_are_one_sentence(tmp_path: Path, content: str | bytes) -> None:
    where = record(tmp_path, content)
    message = refusal(TEST, *HERE, *where)
    assert "train_opt.json" in message
    assert "repair or remove it" in message
    assert "\n" not in message


# --- how options are kept


def test_all_images_are_called_inf_as_they_are_typed() -> None:
    typed = train("--max_dataset_size", "inf", "--eval_num", "inf").as_text()
    assert "max_dataset_size: inf\n" in typed
    assert "eval_num: inf\t[default: 100]\n" in typed


def test_options_are_saved_as_text_and_as_json(tmp_path: Path) -> None:
    options = train("--ngf", "7", "--patch_nums", "inf", "--attn_layers", "4,7")
    options.save(tmp_path / "new" / "folder", "train_opt")
    recorded = json.loads((tmp_path / "new" / "folder" / "train_opt.json").read_text())
    assert recorded == {**options.as_dict(), "attn_layers": ["4", "7"], "diff_augment": [],
                        "loggers": ["terminal", "json", "html"]}
    assert (recorded["ngf"], recorded["patch_nums"]) == (7, None)
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


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="choose another --checkpoints_dir"):
        train().save(tmp_path / "file" / "run", "train_opt")


# --- anything at all


NAMES = sorted({f.name for group in (*TRAIN.groups, *TEST.groups, StructureFlags, SpatialFlags, AugmentFlags,
                                     SuffixFlags)
                for f in flags_of(group)})
VALUES = st.one_of(
    st.text(st.characters(), max_size=8), st.integers().map(str), st.floats().map(str),
    st.sampled_from(["sc", "test", "single", "aligned", "auto", "4,7", "lsgan", "true", "--", "-", "=", "{lr}", "."]),
)
ARGUMENTS = st.one_of(
    VALUES, st.sampled_from(NAMES).map("--{}".format), st.just("--help"),
    st.tuples(st.sampled_from(NAMES), VALUES).map(lambda pair: f"--{pair[0]}={pair[1]}"),
)


@pytest.mark.parametrize("program", [TRAIN, TEST], ids=lambda program: program.name)
@given(argv=st.lists(ARGUMENTS, max_size=6))
@example(argv=["--"])
@example(argv=["--name=--"])
@example(argv=["--lr=--"])
@example(argv=["--no_flip=--", "--model=--"])
@example(argv=["--dataroot", ".", "--n_epochs", "9" * 5000])
@settings(max_examples=60, deadline=None)
def test_any_command_line_gives_options_or_one_sentence(program: Program, argv: list[str]) -> None:
    try:
        options = parse(program, MODELS, DATASETS, [*HERE, *argv])
    except UserError:
        return
    except SystemExit as end:
        if end.code == 0 and "--help" in argv:
            return
        raise
    assert (TrainFlags in options) == program.training
    assert (TestFlags in options) != program.training
    assert json.dumps(options.as_dict())
    assert isinstance(options[RunFlags].name, str)
    assert options.as_text()


@pytest.mark.parametrize("name", ["phase", "epoch"])
def test_parts_of_file_names_lead_to_no_other_folder(name: str) -> None:
    for text in ("../up", "a/b", "..", ".hidden", ""):
        with pytest.raises(UserError, match=f"--{name}"):
            parse(TEST, MODELS, DATASETS, ["--dataroot", ".", f"--{name}={text}"])


def test_images_are_loaded_by_no_more_workers_than_the_process_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert usable_cores() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7
