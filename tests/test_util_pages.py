"""Pages of images and tables, and the training page, as a browser finds them."""

from __future__ import annotations

import os
import re
import sys
from html.parser import HTMLParser
from urllib.parse import quote, unquote_to_bytes

import pytest
import torch

from util.images import save_image
from util.loggers.html_page import HtmlSink
from util.pages import write_results_page

pytest.importorskip("dominate")

HOSTILE = [
    "two words.png", "a#b?c=d&e.png", "100%41.png", "näme 猫.png", "\"><img src=x onerror='alert(1)'>.png",
    "<script>alert(1)<", "&lt;b&gt;.png", "http:", "-->.png", "{x}${y}`.png", "line\nbreak.png",
]


class Page(HTMLParser):
    """A page as a browser parses it."""

    def __init__(self, path):
        super().__init__()
        self.folder = path.parent
        self.tags, self.sources, self.alts, self.texts, self.metas = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        assert not any(name.startswith("on") for name in attributes)
        assert "href" not in attributes  # nothing to fetch
        if tag == "img":
            assert attributes["loading"] == "lazy"
            self.sources.append(attributes["src"])
            self.alts.append(attributes["alt"])
        elif tag == "meta":
            self.metas.append(attributes)

    def handle_data(self, data):
        self.texts.append(data.strip())

    def refresh(self):
        return [meta["content"] for meta in self.metas if meta.get("http-equiv") == "refresh"]

    def files(self):
        """The images' paths as a browser resolves them against the page's own."""
        for source in self.sources:
            assert re.fullmatch(r"[\w.~/%-]+", source, re.ASCII)
            assert not source.startswith("/")
        return [os.fsencode(self.folder) + b"/" + unquote_to_bytes(source) for source in self.sources]


def check(page):
    assert all(os.path.isfile(file) for file in page.files())  # noqa: PTH113 - names need not be text
    assert "script" not in page.tags
    assert any(meta.get("name") == "viewport" for meta in page.metas)
    assert page.metas[0].get("charset") == "utf-8"
    return page


def test_results_page_shows_every_image_of_files_with_hostile_names(tmp_path):
    names = HOSTILE + [os.fsdecode(b"\xff\xfe.png")] * (sys.platform == "linux")  # only there names are any bytes
    rows = []
    for name in names:
        paths = {"input": f"real/{name}", "output": f"fake/{name}", "<truth>": f"truth/{name}"}
        for path in paths.values():
            save_image(torch.zeros(1, 2, 2), tmp_path / path)
        rows.append((name, paths))
    write_results_page(tmp_path / "index.html", "<b>title</b> & more", rows, 64)

    html = check(Page(tmp_path / "index.html"))
    assert len(html.sources) == 3 * len(names)
    assert set(HOSTILE) <= set(html.texts)
    assert html.alts[:3] == [f"{label} of {names[0]}" for label in ("input", "output", "<truth>")]
    assert html.texts.count("<truth>") == len(names)
    assert html.texts.count("<b>title</b> & more") == 2  # window and header
    assert html.refresh() == []


def sample(value=0.0):
    return {"samples/x/input": torch.zeros(2, 3, 4, 6), "samples/x/output": torch.full((1, 4, 6), value),
            "training/fake_B": torch.full((1, 4, 6), value)}


def steps_on(folder):
    return [int(path.stem.removeprefix("output_")) for path in sorted((folder / "images/samples/x").glob("output_*"))]


def test_training_page_shows_the_newest_samples_and_the_latest_losses(tmp_path):
    sink = HtmlSink(tmp_path, "horse <2> zebra", refresh_seconds=7)
    assert check(Page(tmp_path / "index.html")).sources == []  # there is something to open from the start
    sink.scalars(400, {"G<b>": 0.123456})
    sink.images(400, sample())
    sink.scalars(800, {"G<b>": float("nan")})
    sink.images(800, sample())
    html = check(Page(tmp_path / "index.html"))
    assert "images/samples/x/output_00000800.png" in html.sources
    assert html.refresh() == ["7"]
    assert {"Latest values, after 800 images", "G<b>", "nan", "horse <2> zebra"} <= set(html.texts)
    assert "0.1235" not in html.texts
    sink.close()
    assert Page(tmp_path / "index.html").refresh() == []


def test_values_reach_the_page_between_samples_which_come_as_often_as_asked(tmp_path):
    sink = HtmlSink(tmp_path, "t", update_every=1000, refresh_seconds=0)
    sink.scalars(5, {"G": 0.5})
    assert "Latest values, after 5 images" in Page(tmp_path / "index.html").texts  # between samples, too
    for step in range(0, 3200, 400):
        sink.images(step, sample())
    assert steps_on(tmp_path) == [0, 400, 1600, 2800]


def test_resumed_page_keeps_the_samples_up_to_the_checkpoint(tmp_path):
    sink = HtmlSink(tmp_path, "t")
    for step in (100, 200, 300):
        sink.images(step, sample())
    (tmp_path / "images" / "notes.txt").write_text("mine")
    sink = HtmlSink(tmp_path, "t", resume_step=200)
    assert "images/samples/x/output_00000200.png" in check(Page(tmp_path / "index.html")).sources
    sink.images(300, sample())
    assert "images/samples/x/output_00000300.png" in check(Page(tmp_path / "index.html")).sources


def test_a_new_run_keeps_the_samples_of_an_earlier_one_off_its_page(tmp_path):
    HtmlSink(tmp_path, "t").images(100, sample())
    sink = HtmlSink(tmp_path, "t")
    assert Page(tmp_path / "index.html").sources == []
    sink.images(50, sample())
    assert steps_on(tmp_path) == [50]
    assert (tmp_path / "images.1" / "samples" / "x" / "output_00000100.png").is_file()


def test_hostile_labels_are_kept_apart_and_survive_a_resumption(tmp_path):
    labels = ["a/b", "a_b", "../../escape", "a%2Fb", "<i>", "猫"]
    names = [f"{row}/{label}" for row in ("samples/x", "training") for label in labels]
    HtmlSink(tmp_path / "web", "t").images(9, {name: torch.zeros(1, 2, 2) for name in names})
    HtmlSink(tmp_path / "web", "t", resume_step=9)
    html = check(Page(tmp_path / "web" / "index.html"))
    assert [text for text in html.texts if text in labels] == sorted(labels, key=lambda text: quote(text, safe=""))
    assert [path.name for path in tmp_path.iterdir()] == ["web"]
