"""The log of losses, a JSON object per line."""

from __future__ import annotations

import json
import math

import pytest

from util.loggers.json_lines import JsonLinesSink


def write(path, steps, resume_step=0):
    sink = JsonLinesSink(path, resume_step)
    for step in steps:
        sink.scalars(step, {"G": step / 100})
    sink.close()


def steps_of(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def test_each_line_is_an_object_with_step_time_and_values(tmp_path):
    path = tmp_path / "made on demand" / "losses.jsonl"
    sink = JsonLinesSink(path)
    sink.scalars(400, {"G": 0.25, 'D "real"\n': 1.0})
    record = json.loads(path.read_text())  # before it is closed: a reader may follow the run
    assert record.pop("time") > 1.7e9
    assert record == {"step": 400, "G": 0.25, 'D "real"\n': 1.0}
    sink.images(400, {})
    sink.close()


def test_values_that_are_not_finite_are_valid_json_and_can_be_read_back(tmp_path):
    sink = JsonLinesSink(tmp_path / "log")
    sink.scalars(1, {"nan": math.nan, "inf": math.inf, "-inf": -math.inf})
    sink.close()
    record = json.loads((tmp_path / "log").read_text(), parse_constant=refuse)
    assert math.isnan(float(record["nan"]))
    assert (float(record["inf"]), float(record["-inf"])) == (math.inf, -math.inf)


def test_resuming_drops_the_lines_after_the_checkpoint_and_goes_on(tmp_path):
    path = tmp_path / "log"
    write(path, [100, 200, 300, 400])
    write(path, [300, 400, 500], resume_step=200)
    assert steps_of(path) == [100, 200, 300, 400, 500]
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("rest", [b'{"step": 200, "G": 0.', b"\0\0\0\0", b"\xff\xfe\n[1]\n7\n{}\n\n", b'{"step": 120}'])
def test_the_remains_of_a_killed_process_do_not_stop_a_resumed_run(tmp_path, rest):
    path = tmp_path / "log"
    write(path, [100])
    with path.open("ab") as file:
        file.write(rest)
    write(path, [200], resume_step=150)
    assert steps_of(path) == [100, *([120] if b"120" in rest else []), 200]


def test_resuming_without_a_log_starts_one(tmp_path):
    write(tmp_path / "log", [200], resume_step=100)
    assert steps_of(tmp_path / "log") == [200]


def test_a_new_run_keeps_the_logs_of_earlier_ones(tmp_path):
    for steps in ([1], [2], [3]):
        write(tmp_path / "log.jsonl", steps)
    kept = {file.name: steps_of(file) for file in tmp_path.iterdir()}
    assert kept == {"log.jsonl.1": [1], "log.jsonl.2": [2], "log.jsonl": [3]}
