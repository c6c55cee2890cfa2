"""The comparison of methods: what it runs, what it keeps, and what its table says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from cli import ROOT
from PIL import Image
from tiny import METHODS as TINY
from tiny import save_folders, save_noise, train_options

from datasets.building import work_through
from experiments import compare as program
from experiments import comparison, images, montage, runs
from experiments.methods import BESIDE, COMMON, KNOWN, METHODS, MORE, STUDIES, VARIANTS
from experiments.records import training_costs
from models import MODELS
from util.errors import UserError

SMALL = "--nce_layers 0,4 --netD pixel --ngf 2 --ndf 2 --num_threads 0"
RECORDED = {"method": "FastCUT", "seed": 1, "flags": f"{COMMON} {KNOWN['FastCUT']}", "data": "data", "epochs": "1+0",
            "size": 24, "extra": SMALL}
SCORES = {f"{key}_{kind}": 400.0 for key in STUDIES["lineart2color"].measures for kind in ("inputs", "outputs")}


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    for phase in ("train", "test"):
        save_folders(tmp_path / "data", phase, counts=(2, 2))
    return ["--device", "cpu", "--threads", "1", "--size", "24", "--dataroot", str(tmp_path / "data"),
            "--seeds", "1", "--epochs", "1", "0", "--extra", SMALL, "--methods", "FastCUT", "--rounds", "1",
            "--json", str(tmp_path / "table.json"),
            "--checkpoints_dir", str(tmp_path / "checkpoints"), "--results_dir", str(tmp_path / "results")]


def test_every_model_for_unpaired_images_is_compared() -> None:
    compared = {flags.split()[1] for flags in (METHODS | MORE).values()}
    known = {flags.split()[1] for flags in TINY.values()}
    assert compared == known - {"pix2pix", "sinsc", "sincut"}
    assert {flags.split()[1] for flags in BESIDE.values()} == known - {"sinsc", "sincut"} <= set(MODELS)


def test_the_miniature_runs_the_variants_and_what_they_vary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # --json is tried out at once
    text = (ROOT / "scripts" / "paper" / "miniature.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"-m experiments\.compare (.*) \"\$@\"", text)
    methods = comparison.command_line(command.split()).methods
    assert set(methods) == {*VARIANTS, "sc-FSeSim", "sc-LSeSim", "cycle_gan"}


@pytest.mark.parametrize(("data", "method"), [
    *(("lineart2color", method) for method in (*MORE, *VARIANTS)),
    *(("atlas2satellite", method) for method in STUDIES["atlas2satellite"].methods)])
def test_a_method_has_flags_that_training_takes(tmp_path: Path, data: str, method: str) -> None:
    train_options(tmp_path, f"{STUDIES[data].common} {STUDIES[data].methods[method]}", defaults=())


@pytest.mark.slow
def test_a_method_is_trained_translated_scored_and_put_into_the_table(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program.main([*arguments, "--measure", "--picture", str(tmp_path / "picture.png")])
    inputs, row = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert (inputs["method"], row["method"], row["seeds"]) == ("untranslated inputs", "FastCUT", 1)
    scores = json.loads((tmp_path / "results" / "FastCUT-1.json").read_text())
    assert scores["extra"] == SMALL, "a record must tell of flags that the method's name does not"
    assert row["Fréchet"] == scores["frechet_outputs"] != inputs["Fréchet"] == scores["frechet_inputs"]
    assert row["seconds a step"] > 0
    assert row["M parameters"] > 0
    assert row["peak MiB"] > 0
    assert inputs["seconds a step"] is None
    with Image.open(tmp_path / "results" / "FastCUT-1" / "test_latest" / "images" / "fake_B" / "0.png") as made:
        assert made.size == (24, 24), "the images were not scaled"
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (montage.LABEL + 2 * montage.CELL, 3 * montage.CELL)  # two images, three rows
        drawn = picture.crop((montage.LABEL, montage.CELL, montage.LABEL + montage.CELL, 2 * montage.CELL))
        assert len(drawn.getcolors(1 << 20) or []) > 100, "the method's row is empty"
    assert "| FastCUT" not in capsys.readouterr().out

    def refuse(*command: str, threads: int | None) -> None:
        raise AssertionError(f"run again: {command}")

    monkeypatch.setattr(runs, "call", refuse)
    program.main([*arguments, "--markdown"])
    assert "| FastCUT" in capsys.readouterr().out


def test_a_model_of_several_styles_is_scored_and_drawn_in_all_of_them(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = comparison.command_line([*arguments, "--methods", "munit_sc", "--extra", "--ngf 2"])
    folder, commands = runs.translations("munit_sc-1", flags), {}
    colours = {"real_A": "white", "real_B": "white", "fake_B_1": "red", "fake_B_2": "blue"}

    def called(program: str, *words: str, threads: int | None) -> None:
        commands[program] = " ".join(words)
        for label, colour in colours.items() if program == "test.py" else ():
            for name in "ab":
                (folder / label).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (24, 24), colour).save(folder / label / f"{name}.png")

        if program == "evaluate.py":
            (folder.parent / "metrics.json").write_text(json.dumps(SCORES))

    monkeypatch.setattr(runs, "call", called)
    runs.run("munit_sc", 1, flags, torch.device("cpu"))
    assert commands["test.py"].endswith("--n_styles 10")
    assert f"--outputs {folder / 'fake_B_1'} {folder / 'fake_B_2'} --real" in commands["evaluate.py"]
    picture = montage.montage({"munit_sc": folder})
    middle = montage.CELL // 2
    assert [picture.getpixel((montage.LABEL + middle + column * montage.CELL, montage.CELL + middle))
            for column in (0, 1)] == [(255, 0, 0), (0, 0, 255)]


def test_images_of_the_right_size_are_taken_as_they_are(tmp_path: Path) -> None:
    for folder in images.FOLDERS:
        save_noise(tmp_path / "data" / folder / "0.png", 1, (24, 24))
    assert images.scaled(tmp_path / "data", 24, tmp_path / "copies") == tmp_path / "data"
    copy = images.scaled(tmp_path / "data", 16, tmp_path / "copies")
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*.png")} == {
        f"{folder}/0.png" for folder in images.FOLDERS}
    with Image.open(copy / "testB" / "0.png") as image:
        assert image.size == (16, 16)
    assert images.scaled(tmp_path / "data", 16, tmp_path / "copies") == copy
    save_noise(tmp_path / "data" / "testB" / "1.png", 2, (24, 24))
    assert (images.scaled(tmp_path / "data", 16, tmp_path / "copies") / "testB" / "1.png").is_file()


def test_a_copy_that_another_call_made_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(function: object, items: object, threads: int) -> None:
        with monkeypatch.context() as context:
            context.setattr(images, "work_through", work_through)
            images.scaled(tmp_path / "data", 16, tmp_path / "copies")

    for folder in images.FOLDERS:
        save_noise(tmp_path / "data" / folder / "0.png", 1, (24, 24))
    monkeypatch.setattr(images, "work_through", meanwhile)
    copy = images.scaled(tmp_path / "data", 16, tmp_path / "copies")
    assert (copy / "testB" / "0.png").is_file()


def test_records_alone_give_means_and_extremes_but_no_picture(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "records"
    records.mkdir()
    for seed, distance in (1, 400.0), (2, 300.0):
        scores = {**RECORDED, **dict.fromkeys(SCORES, distance), "seed": seed}
        (records / f"FastCUT-{seed}.json").write_text(json.dumps(scores))
    monkeypatch.setattr(runs, "call", None)  # nothing may be run
    flags = [*arguments, "--seeds", "1", "2", "1", "--records_dir", str(records)]
    program.main(flags)
    _, row = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row[name] for name in ("seeds", "Fréchet", "least Fréchet", "greatest Fréchet")] == [2, 350, 300, 400]
    assert re.search(r"FastCUT +2 +350 \(300 to 400\)", capsys.readouterr().out)
    with pytest.raises(UserError, match=r"fake_B is missing, the translations of FastCUT"):
        program.main([*flags, "--picture", str(tmp_path / "picture.png")])


@pytest.mark.parametrize(("changed", "typed", "told"), [
    ({}, "--dataroot other", "data 'data' instead of 'other'"),
    ({}, "--epochs 5 0", "epochs '1+0' instead of '5+0'"),
    ({}, "--size 16", "size '24' instead of '16'"),
    ({}, "--max_dataset_size 1", "max_dataset_size '' instead of '1'"),
    ({}, "--extra=--no_antialias", "extra '--nce_layers 0,4 "),
    ({"flags": "--model cut"}, "", f"flags '--model cut' instead of '{COMMON} {KNOWN['FastCUT']}'"),
    ({"seed": 2}, "", "seed '2' instead of '1'"),
    ({"method": "cut"}, "", "method 'cut' instead of 'FastCUT'"),
])
@pytest.mark.parametrize("place", ["results", "checkpoints"])  # of a run that is finished, and of one that is not
def test_a_run_of_other_settings_is_not_taken_for_the_one_asked_for(
    tmp_path: Path, arguments: list[str], place: str, changed: dict[str, str | int], typed: str, told: str
) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "FastCUT-1.json").write_text(json.dumps(RECORDED | SCORES | changed))
    with pytest.raises(UserError, match=rf"FastCUT-1\.json is of a run with {re.escape(told)}"):
        program.main([*arguments, *typed.split()])


def test_a_file_is_no_folder_for_records(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "call", None)  # nothing may be run
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/FastCUT-1\.json' cannot be written there; choose another"):
        program.main([*arguments, "--records_dir", str(tmp_path / "file")])


def test_settings_are_kept_from_the_beginning(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*command: str, threads: int | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "call", stop)
    with pytest.raises(KeyboardInterrupt):
        program.main(arguments)
    assert json.loads((tmp_path / "checkpoints" / "FastCUT-1.json").read_text()) == RECORDED
    with pytest.raises(KeyboardInterrupt):
        program.main(arguments)


@pytest.mark.parametrize(("content", "told"), [
    ("", "is damaged"), (json.dumps(RECORDED)[:60], "is damaged"), ("[]", "holds no settings"),
    (json.dumps(RECORDED), "has no frechet_inputs"),
    (json.dumps(RECORDED | SCORES | {"line_iou_outputs": None}), "has no line_iou_outputs"),
])
def test_a_damaged_record_is_named(tmp_path: Path, arguments: list[str], content: str, told: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "FastCUT-1.json").write_text(content)
    with pytest.raises(UserError, match=rf"FastCUT-1\.json .*{told}.*: remove it"):
        program.main(arguments)


@pytest.mark.parametrize(("typed", "told"), [
    (("--extra", "--amp 'bf16"), "No closing quotation in --amp 'bf16"),
    (("--extra", "--ngf 4 --name other"), "--name is what experiments.compare sets itself"),
    (("--extra=--seed=9",), "--seed=9 is what experiments.compare sets itself"),
    (("--extra=--suffix {lr}",), "--suffix is what experiments.compare sets itself"),  # test.py would look elsewhere
    (("--seeds", "1.5"), "'1.5' is not a whole number"),
    (("--rounds", "0"), "0 is too small: the least value is 1"),
])
def test_what_cannot_be_meant_is_refused_at_once(arguments: list[str], typed: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        program.main([*arguments, *typed])


def test_a_record_of_other_settings_does_not_cost_the_table_of_the_others(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    for method, changed in ("FastCUT", {}), ("cut", {"method": "cut", "epochs": "9+9"}):
        (tmp_path / "results" / f"{method}-1.json").write_text(json.dumps(RECORDED | SCORES | changed))
    with pytest.raises(UserError, match="1 run failed and said why: cut-1"):
        program.main([*arguments, "--methods", "cut", "FastCUT", "--keep_going"])
    assert re.search(r"FastCUT +1 +400", capsys.readouterr().out)
    with pytest.raises(UserError, match="1 run failed and said why: cut-1"):
        program.main([*arguments, "--methods", "cut", "--keep_going"])


@pytest.mark.slow
def test_a_run_that_fails_is_named(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"train\.py ended with exit code 2"):
        program.main([*arguments, "--extra", "--netG unknown"])


def test_photographs_are_judged_in_all_styles_and_their_costs_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in images.FOLDERS:
        for name in "ab":
            save_noise(tmp_path / "data" / folder / f"{name}.png", ord(name), (16, 16))
    arguments = ["--data", "atlas2satellite", "--dataroot", str(tmp_path / "data"), "--device", "cpu", "--size", "16",
                 "--methods", "munit", "sc-FSeSim", "--seeds", "1", "--epochs", "1", "0", "--keep_going", "--markdown",
                 "--checkpoints_dir", str(tmp_path / "checkpoints"), "--results_dir", str(tmp_path / "results")]
    flags = comparison.command_line(arguments)
    folder = runs.translations("munit-1", flags)

    def called(program: str, *words: str, threads: int | None) -> None:
        if "sc-FSeSim-1" in words:
            raise UserError("train.py ended with exit code 2")
        if program == "train.py":
            log = tmp_path / "checkpoints" / "munit-1" / "loss_log.jsonl"
            log.parent.mkdir(parents=True)
            log.write_text('{"step": 1, "speed/images_per_second": 2, "memory/resident_GB": 3}\n{"step": 2}\n')
        elif program == "test.py":
            for number, name in enumerate("ab"):  # the other style of each image is black
                for style in range(2):
                    target = folder / f"fake_B_{style + 1}" / f"{name}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    truth = Image.open(tmp_path / "data" / "testB" / f"{name}.png")
                    (truth if number == style else Image.new("RGB", (16, 16))).save(target)
        else:
            measures = flags.study.measures
            (folder.parent / "metrics.json").write_text(json.dumps(
                {f"{key}_{kind}": 5.0 for key in measures for kind in ("inputs", "outputs")}))

    monkeypatch.setattr(runs, "call", called)
    with pytest.raises(UserError, match="1 run failed and said why: sc-FSeSim-1"):
        program.main(arguments)
    scores = json.loads((tmp_path / "results" / "munit-1.json").read_text())
    assert scores["judge_frechet_outputs"] == pytest.approx(0, abs=1e-6), "not image n in style n"
    assert scores["pixel_accuracy_outputs"] == scores["pixel_accuracy_truth"]
    assert (scores["updates"], scores["seconds_a_step"], scores["memory_GB"]) == (2, 0.5, 3)
    assert scores["M_parameters"] > 0.1
    assert scores["machine"]["torch"] == torch.__version__
    printed = capsys.readouterr()
    assert "sc-FSeSim-1: train.py ended with exit code 2" in printed.err
    assert re.search(r"\| munit +\| +1 \| .* 0\.5 \|", printed.out)
    assert "| true photographs" in printed.out
    program.main([*arguments, "--recorded"])
    assert "| sc-FSeSim" not in capsys.readouterr().out
    with pytest.raises(UserError, match="no record of a run that is asked for: name another --records_dir"):
        program.main([*arguments, "--recorded", "--seeds", "2"])


def test_true_pairs_are_as_many_as_the_sheets_of_the_others(tmp_path: Path) -> None:
    for folder, names in ("trainA", "012"), ("trainB", "ab"), ("judgeA", "ab"):
        for name in names:
            save_noise(tmp_path / folder / f"{name}.png", ord(name) + 100 * (folder == "judgeA"))
    pairs = images.true_pairs(tmp_path, tmp_path / "copies")
    for folder, origin in ("trainA", "judgeA"), ("trainB", "trainB"):
        made = sorted((pairs / folder).iterdir())
        assert [path.read_bytes() for path in made] == [
            (tmp_path / origin / f"{name}.png").read_bytes() for name in "aba"]
    assert images.true_pairs(tmp_path, tmp_path / "copies") == pairs


def test_a_training_without_reports_has_no_costs(tmp_path: Path) -> None:
    assert training_costs(tmp_path / "loss_log.jsonl") == {"updates": 0}


def test_a_method_of_another_data_set_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"--methods: 'pix2pix' is not one of .*, the methods on lineart2color"):
        comparison.command_line([*arguments, "--methods", "pix2pix"])
