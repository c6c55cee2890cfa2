"""``python -m experiments.cost``: scores over the seconds of training, from records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.cost import draw, lengths, main
from util.errors import UserError


def write(folder: Path, method: str, seed: int, *, accuracy: float, **costs: float) -> None:
    """Write the record of a run."""
    folder.mkdir(exist_ok=True)
    scores = {"method": method, "pixel_accuracy_inputs": 0.25, "pixel_accuracy_outputs": accuracy,
              "pixel_accuracy_truth": 0.625, "frechet_inputs": 1000, "frechet_outputs": 500}
    (folder / f"{method}-{seed}.json").write_text(json.dumps(scores | costs))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two lengths of a method; a second seed, and a method whose name begins with that of the first."""
    short, long = tmp_path / "short", tmp_path / "long"
    write(long, "cut", 1, accuracy=0.5, updates=200, seconds_a_step=0.5)
    write(short, "cut", 1, accuracy=0.25, updates=100, seconds_a_step=0.5)
    write(short, "cut", 2, accuracy=0.5, updates=100, seconds_a_step=0.25)
    write(short, "cut-SRC", 1, accuracy=0, updates=100, seconds_a_step=1)
    return long, short


def test_a_curve_has_a_point_for_each_length_at_the_mean_of_the_seeds(folders: tuple[Path, Path]) -> None:
    pytest.importorskip("matplotlib")
    accuracy, frechet = draw({"cut": lengths("cut", folders)}).axes
    line, _, (bars,) = accuracy.containers[0]
    assert line.get_xydata().tolist() == [[25, 0.375], [100, 0.5]]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[0.25, 0.5], [0.5, 0.5]]
    assert [line.get_ydata()[0] for line in accuracy.lines if line.get_label() == "true photographs"] == [0.625]
    assert frechet.containers[0][0].get_ydata().tolist() == [500, 500]


def test_the_figure_is_written(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    pytest.importorskip("matplotlib")
    main(["--records_dirs", *map(str, folders), "--methods", "cut", "cut-SRC", "--picture", str(tmp_path / "cost.png")])
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_a_method_without_records_or_costs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--methods: sb has no record in .*records"):
        lengths("sb", [tmp_path / "records"])
    write(tmp_path / "records", "sb", 1, accuracy=0.5, updates=100)
    with pytest.raises(UserError, match=r"sb-1\.json has no seconds_a_step: repeat this training"):
        lengths("sb", [tmp_path / "records"])
