"""The comparison of methods: what it runs, what it keeps, and what its table says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli import ROOT
from PIL import Image
from tiny import METHODS as TINY
from tiny import save_folders, save_noise, train_options

from datasets.building import work_through
from experiments import compare, montage
from experiments.methods import COMMON, KNOWN, METHODS, MORE, VARIANTS
from experiments.records import MEASURES
from models import MODELS
from util.errors import UserError

SMALL = "--nce_layers 0,4 --netD pixel --ngf 2 --ndf 2 --num_threads 0"
RECORDED = {"method": "FastCUT", "seed": 1, "flags": f"{COMMON} {KNOWN['FastCUT']}", "data": "data", "epochs": "1+0",
            "size": 24, "extra": SMALL}
SCORES = {f"{key}_{kind}": 400.0 for key in MEASURES for kind in ("inputs", "outputs")}


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
    assert compared == {flags.split()[1] for flags in TINY.values()} - {"pix2pix", "sinsc"}
    assert compared <= set(MODELS)


def test_the_miniature_runs_the_variants_and_what_they_vary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # --json is tried out at once
    text = (ROOT / "scripts" / "paper" / "miniature.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"-m experiments\.compare (.*) \"\$@\"", text)
    methods = compare.command_line(command.split()).methods
    assert set(methods) == {*VARIANTS, "sc-FSeSim", "sc-LSeSim", "cycle_gan"}


@pytest.mark.parametrize("method", [*MORE, *VARIANTS])
def test_a_variant_has_flags_that_training_takes(tmp_path: Path, method: str) -> None:
    train_options(tmp_path, f"{COMMON} {KNOWN[method]}", defaults=())


@pytest.mark.slow
def test_a_method_is_trained_translated_scored_and_put_into_the_table(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main([*arguments, "--measure", "--picture", str(tmp_path / "picture.png")])
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

    monkeypatch.setattr(compare, "call", refuse)
    compare.main([*arguments, "--markdown"])
    assert "| FastCUT" in capsys.readouterr().out


def test_a_model_of_several_styles_is_scored_and_drawn_in_all_of_them(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = compare.command_line([*arguments, "--methods", "munit_sc"])
    images, commands = compare.translations("munit_sc-1", flags), {}
    colours = {"real_A": "white", "real_B": "white", "fake_B_1": "red", "fake_B_2": "blue"}

    def called(program: str, *words: str, threads: int | None) -> None:
        commands[program] = " ".join(words)
        for label, colour in colours.items() if program == "test.py" else ():
            for name in "ab":
                (images / label).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (24, 24), colour).save(images / label / f"{name}.png")

    monkeypatch.setattr(compare, "call", called)
    compare.run("munit_sc", 1, flags)
    assert commands["test.py"].endswith("--n_styles 10")
    assert f"--outputs {images / 'fake_B_1'} {images / 'fake_B_2'} --real" in commands["evaluate.py"]
    picture = montage.montage({"munit_sc": images})
    middle = montage.CELL // 2
    assert [picture.getpixel((montage.LABEL + middle + column * montage.CELL, montage.CELL + middle))
            for column in (0, 1)] == [(255, 0, 0), (0, 0, 255)]


def test_images_of_the_right_size_are_taken_as_they_are(tmp_path: Path) -> None:
    for folder in compare.FOLDERS:
        save_noise(tmp_path / "data" / folder / "0.png", 1, (24, 24))
    assert compare.scaled(tmp_path / "data", 24, tmp_path / "copies") == tmp_path / "data"
    copy = compare.scaled(tmp_path / "data", 16, tmp_path / "copies")
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*.png")} == {
        f"{folder}/0.png" for folder in compare.FOLDERS}
    with Image.open(copy / "testB" / "0.png") as image:
        assert image.size == (16, 16)
    assert compare.scaled(tmp_path / "data", 16, tmp_path / "copies") == copy
    save_noise(tmp_path / "data" / "testB" / "1.png", 2, (24, 24))
    assert (compare.scaled(tmp_path / "data", 16, tmp_path / "copies") / "testB" / "1.png").is_file()


def test_a_copy_that_another_call_made_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(function: object, items: object, threads: int) -> None:
        with monkeypatch.context() as context:
            context.setattr(compare, "work_through", work_through)
            compare.scaled(tmp_path / "data", 16, tmp_path / "copies")

    for folder in compare.FOLDERS:
        save_noise(tmp_path / "data" / folder / "0.png", 1, (24, 24))
    monkeypatch.setattr(compare, "work_through", meanwhile)
    copy = compare.scaled(tmp_path / "data", 16, tmp_path / "copies")
    assert (copy / "testB" / "0.png").is_file()


def test_records_alone_give_means_and_extremes_but_no_picture(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "records"
    records.mkdir()
    for seed, distance in (1, 400.0), (2, 300.0):
        scores = {**RECORDED, **dict.fromkeys(SCORES, distance), "seed": seed}
        (records / f"FastCUT-{seed}.json").write_text(json.dumps(scores))
    monkeypatch.setattr(compare, "call", None)  # nothing may be run
    flags = [*arguments, "--seeds", "1", "2", "1", "--records_dir", str(records)]
    compare.main(flags)
    _, row = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row[name] for name in ("seeds", "Fréchet", "least Fréchet", "greatest Fréchet")] == [2, 350, 300, 400]
    assert re.search(r"FastCUT +2 +350 +300 to 400", capsys.readouterr().out)
    with pytest.raises(UserError, match=r"fake_B is missing, the translations of FastCUT"):
        compare.main([*flags, "--picture", str(tmp_path / "picture.png")])


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
        compare.main([*arguments, *typed.split()])


def test_settings_are_kept_from_the_beginning(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*command: str, threads: int | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "call", stop)
    with pytest.raises(KeyboardInterrupt):
        compare.main(arguments)
    assert json.loads((tmp_path / "checkpoints" / "FastCUT-1.json").read_text()) == RECORDED
    with pytest.raises(KeyboardInterrupt):
        compare.main(arguments)


@pytest.mark.parametrize(("content", "told"), [
    ("", "is damaged"), (json.dumps(RECORDED)[:60], "is damaged"), ("[]", "holds no settings"),
    (json.dumps(RECORDED), "has no frechet_inputs"),
    (json.dumps(RECORDED | SCORES | {"line_iou_outputs": None}), "has no line_iou_outputs"),
])
def test_a_damaged_record_is_named(tmp_path: Path, arguments: list[str], content: str, told: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "FastCUT-1.json").write_text(content)
    with pytest.raises(UserError, match=rf"FastCUT-1\.json .*{told}.*: remove it"):
        compare.main(arguments)


@pytest.mark.parametrize(("typed", "told"), [
    (("--extra", "--amp 'bf16"), "No closing quotation in --amp 'bf16"),
    (("--extra", "--ngf 4 --name other"), "--name is what experiments.compare sets itself"),
    (("--extra=--seed=9",), "--seed=9 is what experiments.compare sets itself"),
    (("--seeds", "1.5"), "'1.5' is not a whole number"),
    (("--rounds", "0"), "0 is too small: the least value is 1"),
])
def test_what_cannot_be_meant_is_refused_at_once(arguments: list[str], typed: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        compare.main([*arguments, *typed])


@pytest.mark.slow
def test_a_run_that_fails_is_named(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"train\.py ended with exit code 2"):
        compare.main([*arguments, "--extra", "--netG unknown"])
