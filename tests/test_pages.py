"""Pages of templates: names are escaped, and the pages of a run link each other."""

from __future__ import annotations

import json
import os
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
import torch
from PIL import Image

from util.images import image_size
from util.pages import Grid, Picture, Row, fill_page, make_picture
from util.picture_files import save_image
from util.words import listed

HOSTILE = [
    "two words.png", "a#b?c=d&e.png", "100%41.png", "näme 猫.png", "\"><img src=x onerror='alert(1)'>.png",
    "<script>alert(1)<", "&lt;b&gt;.png", "http:", "-->.png", "{x}${y}`.png", "line\nbreak.png", "{{ 7 * 7 }}.png",
]


class Page(HTMLParser):
    """A page as a browser parses it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.alts: list[str] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            self.sources.append(attributes["src"])
            self.alts.append(attributes["alt"])
            assert attributes["loading"] == "lazy"
            assert int(attributes["width"]) > 0
            assert int(attributes["height"]) > 0
        elif "href" in attributes:
            self.links.append(attributes["href"])

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_every_image_of_hostile_names_is_shown_and_linked(tmp_path: Path) -> None:
    names = HOSTILE + [os.fsdecode(b"\xff\xfe.png")] * (sys.platform == "linux")  # only there names are any bytes
    labels = ("input", "output", "<truth>")
    for name in names:
        for label in ("real", "fake", "truth"):
            save_image(torch.zeros(1, 2, 2), tmp_path / label / name)
    rows = [Row(name, [make_picture(tmp_path, f"{label}/{name}", 64) for label in ("real", "fake", "truth")])
            for name in names]
    fill_page(tmp_path / "index.html", "results.html", "results", title="<b>title</b> & more", note="<i>",
              grid=Grid(labels, rows, 64))
    page = Page(tmp_path / "index.html")
    assert len(page.sources) == 3 * len(names)
    assert page.sources == page.links, "small images are their own thumbnails"
    for source in page.sources:
        assert not source.startswith("/")
        assert os.path.isfile(os.fsencode(tmp_path) + b"/" + unquote_to_bytes(source))  # noqa: PTH113 - any bytes
    assert {*HOSTILE, "<i>", "<truth>"} <= set(page.texts)
    assert page.alts[:3] == list(labels)
    assert page.texts.count("<b>title</b> & more") == 2  # window and header
    assert page.tags.count("script") == 1


def test_a_page_needs_no_network_and_has_its_style_and_script(tmp_path: Path) -> None:
    fill_page(tmp_path / "index.html", "results.html", "results", title="t", note="n", grid=Grid((), [], 64))
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme" in text
    assert "showModal" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "{{" not in text


def test_large_images_have_thumbnails_of_their_shape(tmp_path: Path) -> None:
    (tmp_path / "images" / "x").mkdir(parents=True)
    noise = Image.effect_noise((300, 150), 80).convert("RGB")
    noise.save(tmp_path / "images" / "x" / "a.png")
    picture = make_picture(tmp_path, "images/x/a.png", 100)
    assert picture == Picture("images/x/a.png", "small/x/a.png.webp", 100, 50)
    assert image_size(tmp_path / picture.thumbnail) == (50, 100)


def page_of(run: Path, name: str, path: Path, *others: Path) -> Path:
    fill_page(path, "results.html", name, [run, *others], title=name, note="", grid=Grid((), [], 64))
    return path


def test_the_pages_of_a_run_link_each_other(tmp_path: Path) -> None:
    one, two = tmp_path / "checkpoints" / "one", tmp_path / "checkpoints" / "t <w>"
    training = page_of(one, "training", one / "web" / "index.html")
    results = page_of(one, "results", tmp_path / "results" / "one" / "test latest" / "index.html")
    other = page_of(two, "training", two / "web" / "index.html")
    assert Page(training).links == ["../../../results/one/test%20latest/index.html"], "not the page itself"
    assert Page(results).links == ["../../../checkpoints/one/web/index.html"]
    assert "hidden" in other.read_text(encoding="utf-8").partition("<nav")[2].partition(">")[0], "nothing to link"
    both = page_of(one, "comparison", tmp_path / "results" / "compare" / "index.html", two)
    assert Page(other).links == ["../../../results/compare/index.html"]
    assert "hidden" not in other.read_text(encoding="utf-8").partition("<nav")[2].partition(">")[0]
    assert len(Page(training).links) == 2
    assert Page(both).links == [os.path.relpath(page, both.parent).replace(" ", "%20") for page in (training, results)
                                ] + ["../../checkpoints/t%20%3Cw%3E/web/index.html"]
    for page in (training, results, other, both):
        assert all((page.parent / unquote_to_bytes(link).decode()).is_file() for link in Page(page).links)
    results.unlink()
    page_of(one, "epochs", tmp_path / "results" / "one" / "epochs" / "index.html")
    assert "results" not in Page(training).texts
    assert {"comparison", "epochs"} <= set(Page(training).texts)


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"x": 3}), json.dumps({"gone": "../nowhere.html"})])
def test_a_damaged_list_of_pages_is_made_again(tmp_path: Path, text: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "pages.json").write_text(text, encoding="utf-8")
    assert Page(page_of(run, "training", run / "index.html")).links == []
    assert json.loads((run / "pages.json").read_text(encoding="utf-8")) == {"training": "index.html"}


def test_names_are_listed_with_commas_and_one_and() -> None:
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
