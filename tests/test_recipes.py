"""``python -m experiments.recipes``: records of single trainings and their table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.recipes import MEASURES, main
from util.errors import UserError


@pytest.fixture
def training(tmp_path: Path) -> list[str]:
    """Flags that name a training with its scores."""
    (tmp_path / "run").mkdir()
    start = {"command": "train.py --checkpoints_dir here --seed 1", "seed": 1, "time": "2026", "torch": "2",
             "device": "cpu", "commit": "c"}
    (tmp_path / "run" / "runs.jsonl").write_text(json.dumps(start) + "\n")
    (tmp_path / "run" / "loss_log.jsonl").write_text('{"step": 1200, "speed/images_per_second": 4}\n')
    for name, keys in ("judge", list(MEASURES)[:4]), ("metrics", list(MEASURES)[4:]):
        scores = {f"{key}_{kind}": value for key in keys for kind, value in (("outputs", 0.25), ("inputs", 0.5))}
        (tmp_path / f"{name}.json").write_text(json.dumps(scores | {"segmentation": {}}))
    return ["--records_dir", str(tmp_path / "records"), "--title", "mine", "--experiment", str(tmp_path / "run"),
            "--scores", str(tmp_path / "judge.json"), str(tmp_path / "metrics.json")]


def test_a_training_is_recorded_and_printed(
    tmp_path: Path, training: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*training, "--add", "first"])
    main([*training, "--add", "second", "--title", "the next", "--markdown"])
    record = json.loads((tmp_path / "records" / "first.json").read_text())
    assert (record["row"], record["command"], record["updates"]) == (1, "train.py --seed 1", 1200)
    assert record["seconds_a_step"] == 0.25
    assert "segmentation" not in record
    lines = [[word.strip() for word in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()
             if line.startswith("|")]
    assert lines[2:] == [["untranslated sheets", "-", *["0.5"] * 5], ["true photographs", "-", *["-"] * 5],
                         ["mine", "1,200", *["0.25"] * 5], ["the next", "1,200", *["0.25"] * 5]]
    with pytest.raises(UserError, match=r"first\.json exists already"):
        main([*training, "--add", "first"])


@pytest.mark.parametrize(("changed", "told"), [
    (["--title", ""], "--add needs --title, --experiment and --scores"),
    (["--experiment", "nowhere"], r"there is no nowhere.runs\.jsonl"),
    (["--scores", "judge.json"], "no file has frechet_outputs"),
])
def test_a_record_needs_all_that_it_consists_of(
    tmp_path: Path, training: list[str], monkeypatch: pytest.MonkeyPatch, changed: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        main([*training, "--add", "first", *changed])
    assert not (tmp_path / "records").exists()


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no record; write one with --add"):
        main(["--records_dir", str(tmp_path)])
