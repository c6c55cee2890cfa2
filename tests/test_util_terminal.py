from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from util import terminal
from util.terminal import TerminalSink, fitting, format_seconds, with_progress

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import time
from util.terminal import TerminalSink
sink = TerminalSink(total=40, initial=10)
for step in range(11, 31):
    time.sleep(0.01)
    sink.advance(1)
    if step % 10 == 0:
        sink.scalars(step, {"G": 1.5, "D": float("nan")})
sink.message("saved latest")
sink.close()
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_time_is_hours_minutes_seconds():
    times = {0: "0:00:00", 59.6: "0:01:00", 3661: "1:01:01", 360000: "100:00:00"}
    assert {seconds: format_seconds(seconds) for seconds in times} == times


def test_rate_leaves_out_images_of_earlier_processes_and_time_left_counts_the_rest(clock, capsys):
    sink = TerminalSink(total=2000, initial=1000)
    clock[0] += 10
    sink.advance(50)
    sink.scalars(1050, {"G": 0.123456, "D": 2.0})
    assert capsys.readouterr().out == "1050/2000  5 images/s, 0:03:10 left  G 0.1235  D 2\n"


def test_no_progress_yet_gives_no_time_and_going_beyond_the_end_none_left(clock, capsys):
    sink = TerminalSink(total=10)
    sink.scalars(0, {})
    clock[0] += 1
    sink.scalars(0, {})
    sink.scalars(12, {})
    out = capsys.readouterr().out.splitlines()
    assert out == ["0/10  0 images/s, ? left"] * 2 + ["12/10  12 images/s, 0:00:00 left"]


@pytest.mark.slow
def test_a_pipe_gets_plain_lines():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, check=True)
    assert b"\r" not in done.stdout
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""
    first, second, last = done.stdout.decode().splitlines()
    line = r"{}/40  [\d.]+ images/s, 0:00:0\d left  G 1.5  D nan"
    assert re.fullmatch(line.format(20), first)
    assert re.fullmatch(line.format(30), second)
    assert last == "saved latest"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_file_names_of_any_bytes_can_be_printed(encoding):
    program = "from util.terminal import TerminalSink; TerminalSink(1).message('a \\udcff \\u732b')"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout.decode(encoding).startswith("a \\udcff ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
@pytest.mark.parametrize("term", ["xterm", pytest.param("dumb", marks=pytest.mark.slow)])
def test_a_screen_gets_a_bar_below_the_lines(term):
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": term}
    process = subprocess.Popen([sys.executable, "-c", RUN], env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    output = b""
    try:
        while chunk := os.read(master, 4096):
            output += chunk
    except OSError:  # Linux reports the closed terminal so
        pass
    os.close(master)
    assert process.wait(10) == 0
    # A screen shows of each line the text after its last carriage return.
    screen = [line.split("\r")[-1] for line in output.decode().replace("\r\n", "\n").split("\n")]
    pace = r"[\d.]+ images/s, 0:00:0\d left"
    assert re.fullmatch(rf"20/40  {pace}  G 1.5  D nan", screen[0])
    assert re.fullmatch(rf"30/40  {pace}  G 1.5  D nan", screen[1])
    assert screen[2] == "saved latest"
    bars = [line for line in screen[3:] if re.fullmatch(rf" 75%\|.*\| 30/40, {pace}  G 1.5  D nan *", line)]
    assert len(bars) == (1 if term == "xterm" else 0)
    assert screen[-1] == ""


def test_a_narrow_screen_shows_whole_numbers_or_none():
    texts = {40: "G 1.25  D 0.5", 14: "G 1.25  D 0.5", 13: "G 1.25", 6: "", -9: ""}
    assert {width: fitting({"G": 1.25, "D": 0.5}, width) for width in texts} == texts


def test_smoothed_losses_recover_from_one_that_is_not_finite():
    sink = TerminalSink(total=10)
    for value in (1.0, float("inf"), 2.0, 3.0):
        sink.scalars(1, {"G": value})
    assert sink._smoothed["G"] == pytest.approx(0.8 * 2.0 + 0.2 * 3.0)


def test_a_long_pass_reports_its_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress([1, 2, 3], "images")) == [1, 2, 3]
    assert capsys.readouterr() == ("", ""), "a short one reports nothing"
    monkeypatch.setattr(terminal, "REPORT_EVERY", 0)
    assert list(with_progress([1, 2, 3], "images")) == [1, 2, 3]
    out, err = capsys.readouterr()
    assert out == "", "standard output is for results"
    assert [line.partition(",")[0] for line in err.splitlines()] == ["images: 1/3", "images: 2/3"]
    assert re.search(r"\d:\d\d:\d\d left$", err, re.MULTILINE)
    list(with_progress(iter("ab"), "images", 2))
    assert "images: 1/2" in capsys.readouterr().err


def test_a_long_pass_is_a_bar_on_a_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert list(with_progress([1, 2, 3], "images")) == [1, 2, 3]
    assert "\n" not in capsys.readouterr().err
