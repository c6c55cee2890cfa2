"""Pages of images and tables, and the training page, as a browser finds them."""

from __future__ import annotations

import os
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

import pytest
import torch

from util.images import save_image
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
