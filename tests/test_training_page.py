"""The training page: what it says, and its controls in Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import SHIFTS, browser, faults_of
from torch import Tensor

from util.loggers.html_page import HtmlSink, frames_until
from util.loggers.sink import LoggedRun

COMMAND = "train.py --name 'horse <2> zebra'"


def page_of(folder: Path, *, seen: int = 0, every: int = 1) -> HtmlSink:
    (folder / "runs.jsonl").write_text(json.dumps({"command": COMMAND}), encoding="utf-8")
    return HtmlSink(LoggedRun(
        folder, "horse <2> zebra", total=2000, seen=seen, epoch=400, facts={"data": "datasets/x, 8 files"},
        flags={"display_winsize": 256, "update_html_freq": every},
        changed={"lr": ("0.001", "0.0001"), "name": ("<b>", "experiment_name")}), print)


def samples(value: float = 0.0) -> dict[str, Tensor]:
    """Return images of two samples and of a step; the outputs have this value."""
    images: dict[str, Tensor] = {}
    for name in ("x", "y"):
        images |= {f"samples/{name}/input": torch.zeros(2, 3, 40, 60),
                   f"samples/{name}/output": torch.full((1, 40, 60), value)}
    return images | {"training/fake_B": torch.full((1, 40, 60), value)}


def text_of(folder: Path) -> str:
    return (folder / "web" / "index.html").read_text(encoding="utf-8")


def sources(folder: Path) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', text_of(folder))


def test_the_page_says_how_the_training_goes_and_how_it_ended(tmp_path: Path) -> None:
    sink = page_of(tmp_path)
    sink.refresh_seconds = 0
    assert sources(tmp_path) == []  # there is something to open from the start
    sink.scalars(400, {"G<b>": 0.123456, "speed/images_per_second": 2.0})
    sink.scalars(800, {"G<b>": float("nan"), "eval_frechet": 12.5})
    sink.images(800, samples())
    page = text_of(tmp_path)
    for part in ("horse &lt;2&gt; zebra", 'role="status">running', "800 of 2,000", "<dd>2 of 5</dd>",
                 "time left", "datasets/x, 8 files", "2 flags with other values",
                 "<td>--lr</td><td>0.001</td><td>0.0001</td>", "&lt;b&gt;", "nan",
                 "Latest values, after 800 images"):
        assert part in page, part
    assert re.sub("<.*?>", "", page).count("train.py --name &#39;horse &lt;2&gt; zebra&#39;") == 1
    assert "0.1235" not in page
    shown, _, folded = page.partition('<details id="more"')
    assert "eval_frechet" in shown
    assert "speed/images_per_second" in folded
    sink.ended("stopped by an error: <out of memory>")
    sink.close()
    assert 'role="status">stopped by an error: &lt;out of memory&gt;' in text_of(tmp_path)
    assert "time left" not in text_of(tmp_path)
    assert 'data-refresh="0"' in text_of(tmp_path)


def test_values_reach_the_page_between_samples_which_come_as_often_as_asked(tmp_path: Path) -> None:
    sink = page_of(tmp_path, every=1000)
    sink.refresh_seconds = 0
    sink.scalars(5, {"G": 0.5})
    assert "Latest values, after 5 images" in text_of(tmp_path)
    for step in range(0, 3200, 400):
        sink.images(step, samples())
    assert frames_until(tmp_path / "web" / "images" / "samples", 9999)["x"]["output"] == [0, 400, 1600, 2800]


def test_a_resumed_page_keeps_the_samples_up_to_the_checkpoint(tmp_path: Path) -> None:
    sink = page_of(tmp_path)
    for step in (100, 200, 300):
        sink.images(step, samples())
    (tmp_path / "web" / "images" / "notes.txt").write_text("mine")
    sink = page_of(tmp_path, seen=200)
    before = sources(tmp_path)
    assert before[:2] == ["images/samples/x/input.png", "images/samples/x/output_00000200.png"]
    assert "images/samples/x/output_00000300.png" not in before
    assert "images/training/fake_B.png" in before
    sink.images(300, samples())
    assert sources(tmp_path)[1] == "images/samples/x/output_00000300.png"


def test_a_new_run_keeps_the_samples_of_an_earlier_one_off_its_page(tmp_path: Path) -> None:
    page_of(tmp_path).images(100, samples())
    page_of(tmp_path)
    assert sources(tmp_path) == []
    assert (tmp_path / "web" / "images.1" / "samples" / "x" / "output_00000100.png").is_file()


def test_labels_of_any_text_are_kept_apart_and_survive_a_resumption(tmp_path: Path) -> None:
    labels, slashes = ["a_b", "a%2Fb", "<i>", "猫"], ["a/b", "../../escape"]
    names = [*(f"samples/town 1/x.v1/{label}" for label in labels), *(f"training/{of}" for of in labels + slashes)]
    page_of(tmp_path).images(9, {name: torch.zeros(1, 2, 2) for name in names})
    page_of(tmp_path, seen=9)
    with browser() as window:
        window.get((tmp_path / "web" / "index.html").as_uri())
        found = window.execute_script("return [...document.querySelectorAll('figcaption')].map(of => of.textContent)")
        assert sorted(found) == sorted(labels * 2 + slashes)
        assert window.execute_script("return document.querySelector('article h3').textContent") == "town 1/x.v1"
        assert faults_of(window) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"pages.json", "runs.jsonl", "web"}


def test_every_control_does_what_it_says(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    sink = page_of(tmp_path)
    for number in range(12):
        sink.scalars(number * 100, {"G": 1.0 / (number + 1), "lr/G": 0.1})
        sink._next_drawing = 0.0 if number == 11 else float("inf")
        sink.images(number * 100, samples(number / 12))
    with browser(width=390) as window:

        def look(script: str) -> Any:
            return window.execute_script(f"return {script}")

        def click(selector: str) -> None:
            window.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()",
                                  window.find_element("css selector", selector))

        def shown() -> list[str]:
            return look("[...document.querySelectorAll('[data-frames] img')].map(of => of.getAttribute('src'))")

        def outputs(step: int) -> list[str]:
            return [f"images/samples/{name}/output_{step:08d}.png" for name in "xy"]

        window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SHIFTS})
        window.get((tmp_path / "web" / "index.html").as_uri())
        window.execute_script("window.scrollTo(0, 9999)")
        assert shown() == outputs(1100)
        assert look("window.shifts") <= 0.1
        click("[data-move='-1']")
        assert shown() == outputs(1000)
        assert look("document.getElementById('time-text').textContent") == "1,000 images seen, 2.5 epochs"
        click("article[data-name=y] [data-step='0']")
        assert shown() == outputs(0)
        assert look("document.querySelector('[data-move=\"-1\"]').disabled")
        window.find_element("id", "time").send_keys("\ue014\ue014")  # the right arrow, twice
        assert shown() == outputs(200)

        click("article[data-name=x] [data-frames] a")
        assert look("document.querySelector('dialog[open] #viewer-name').textContent") == "x"
        assert look("document.getElementById('viewer-file').href").endswith(outputs(200)[0])
        window.find_element("css selector", "[data-do=close]").click()

        click("#flags summary")
        assert not look("document.getElementById('more').open")
        window.execute_script("window.copied = ''; navigator.clipboard.writeText = async text => { copied = text; }")
        click("[data-copy]")
        assert look("copied") == COMMAND

        window.refresh()
        assert shown() == outputs(200), "a reload keeps the chosen time"
        assert look("document.getElementById('flags').open"), "a reload keeps what is open"
        assert len(look("[...document.querySelectorAll('.charts svg')]")) == 2
        assert look("document.querySelector('details#more .charts svg') !== null")
        assert faults_of(window) == {}
