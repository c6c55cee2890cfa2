"""The pages of pictures in Chromium: every control does what its label says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import SHIFTS, browser, faults_of
from PIL import Image

from metrics.scores import SCORES
from util.pages import Grid, Row, fill_page, make_picture

LABELS = ("input", "output", "truth")
KINDS = [SCORES["colour_error"], SCORES["ssim"]]
VALUES = [(0.3, 0.5), (0.1, 0.9), (None, None), (0.9, 0.7)]


def write_images(folder: Path, name: str, side: int = 64) -> list[str]:
    """Write an image for each label, in one colour of its own."""
    files = [f"images/{label}/{name}" for label in LABELS]
    for number, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side // 2), (80 * number, 99, 0)).save(folder / file)
    return files


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of four images, the second with a name to be escaped."""
    folder = tmp_path_factory.mktemp("page")
    rows = [Row(name, [make_picture(folder, file, 64) for file in write_images(folder, name)], scores)
            for name, scores in zip(("a10.png", "a <b>&2.png", "p1/c.png", "d.png"), VALUES, strict=True)]
    fill_page(folder / "index.html", "results.html", "results", title="t", note="n",
              grid=Grid(LABELS, rows, 64, KINDS))
    with browser(width=1280) as window:
        window.get((folder / "index.html").as_uri())
        yield window
        assert faults_of(window) == {}


@pytest.fixture
def page(window: Any) -> Iterator[Any]:
    """The page as it is when it opens."""
    window.refresh()
    return window


def click(page: Any, selector: str) -> None:
    page.find_element("css selector", selector).click()


def press(page: Any, key: str, kind: str = "keydown") -> None:
    page.execute_script("(document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("
                        "arguments[1], {key: arguments[0], bubbles: true, cancelable: true}))", key, kind)


def shown(page: Any) -> list[str]:
    """Return the captions of the pictures in the large view."""
    return page.execute_script(  # type: ignore[no-any-return]
        "return [...document.querySelectorAll('#viewer-stage figcaption')].map(each => each.textContent)")


def text(page: Any, selector: str) -> str:
    return page.execute_script(  # type: ignore[no-any-return]
        "return document.querySelector(arguments[0]).textContent", selector)


def names(page: Any) -> list[str]:
    """Return the rows that are not hidden."""
    return page.execute_script(  # type: ignore[no-any-return]
        "return [...document.querySelectorAll('.pictures tr')].filter(row => row.offsetHeight)"
        ".map(row => row.cells[0].textContent)")


def choose(page: Any, control: str, value: str, event: str = "input") -> None:
    page.execute_script("const [control, value, event] = arguments, element = document.getElementById(control);"
                        "if (element.options) [...element.options].find(each => each.text === value).selected = true;"
                        "else element.value = value; element.dispatchEvent(new Event(event))", control, value, event)


def open_view(page: Any, row: int = 1, column: int = 3) -> None:
    click(page, f".pictures tr:nth-child({row}) td:nth-child({column}) a")


def test_a_click_opens_the_large_view_and_escape_returns_to_the_picture(page: Any) -> None:
    open_view(page, row=2)
    assert (text(page, "#viewer-name"), text(page, "#viewer-place"), shown(page)) == (
        "a <b>&2.png", "2 of 4", ["output"])
    assert page.find_element("id", "viewer-file").get_attribute("href").endswith(
        "/images/output/a%20%3Cb%3E%262.png")
    click(page, "[data-do=close]")
    assert not page.execute_script("return document.getElementById('viewer').open")
    assert page.execute_script("return document.activeElement.querySelector('img').alt") == "output"


def test_arrows_and_buttons_lead_to_other_images_and_pictures(page: Any) -> None:
    open_view(page)
    for key, name, picture in (("ArrowLeft", "a10.png", "output"), ("ArrowRight", "a <b>&2.png", "output"),
                               ("ArrowUp", "a <b>&2.png", "input"), ("ArrowUp", "a <b>&2.png", "truth"),
                               ("ArrowDown", "a <b>&2.png", "input")):
        press(page, key)
        assert (text(page, "#viewer-name"), shown(page)) == (name, [picture]), key
    click(page, "[data-do=next]")
    assert text(page, "#viewer-name") == "p1/c.png"
    click(page, "[data-do=previous]")
    assert text(page, "#viewer-name") == "a <b>&2.png"
    click(page, "#viewer-pictures [data-label=truth]")
    assert shown(page) == ["truth"]
    assert page.find_element("css selector", "[data-label=truth]").get_attribute("aria-pressed") == "true"


def test_buttons_that_lead_nowhere_are_disabled_and_look_so(page: Any) -> None:
    open_view(page)
    for disabled in ([True, False], [False, False], [False, False], [False, True]):
        buttons = [page.find_element("css selector", f"[data-do={way}]") for way in ("previous", "next")]
        assert [not each.is_enabled() for each in buttons] == disabled
        assert [float(each.value_of_css_property("opacity")) < 1 for each in buttons] == disabled
        press(page, "ArrowRight")
    assert text(page, "#viewer-place") == "4 of 4"


def test_holding_the_mouse_a_number_or_a_letter_flips(page: Any) -> None:
    from selenium.webdriver import ActionChains

    open_view(page)
    stage = page.find_element("id", "viewer-stage")
    ActionChains(page).move_to_element(stage).click_and_hold().perform()
    assert shown(page) == ["input"]
    ActionChains(page).release().perform()
    assert shown(page) == ["output"]
    choose(page, "viewer-other", "truth", "change")
    for key, picture in (("f", "truth"), ("1", "input"), ("3", "truth")):
        press(page, key)
        assert shown(page) == [picture], key
        press(page, key, "keyup")
        assert shown(page) == ["output"]


def test_the_slider_cuts_between_the_chosen_picture_and_that_to_compare_with(page: Any) -> None:
    open_view(page)
    assert not page.find_element("id", "viewer-cut").is_displayed()
    click(page, "[data-view=slider]")
    assert shown(page) == ["input", "output"]
    choose(page, "viewer-cut", "25")
    top = "getComputedStyle(document.querySelectorAll('#viewer-stage figure > div')[1]).clipPath"
    assert page.execute_script(f"return {top}") == "inset(0px 0px 0px 25%)"
    click(page, "#viewer-pictures [data-label=input]")
    assert shown(page) == ["input", "truth"]
    press(page, "v")
    assert shown(page) == list(LABELS)
    press(page, "v")
    assert shown(page) == ["input"]


def test_zoom_and_place_are_those_of_all_pictures_and_of_the_next_image(page: Any) -> None:
    from selenium.webdriver import ActionChains

    open_view(page)
    click(page, "[data-view=all]")

    def places() -> set[str]:
        found = page.execute_script("return [...document.querySelectorAll('#viewer-stage img')]"
                                    ".map(image => new DOMMatrix(getComputedStyle(image).transform))"
                                    ".map(matrix => [matrix.a, matrix.e, matrix.f].map(Math.round).join())")
        assert len(found) == 3
        return set(found)

    whole = places()
    assert len(whole) == 1
    click(page, "[data-do=in]")
    press(page, "+")
    assert text(page, "[data-do=fit]") == "225%"
    closer = places()
    assert len(closer) == 1
    stage = page.find_element("id", "viewer-stage")
    ActionChains(page).move_to_element(stage).click_and_hold().move_by_offset(40, 30).release().perform()
    moved = places()
    assert len(moved) == 1
    page.execute_script("document.querySelector('#viewer-stage figure').dispatchEvent(new WheelEvent('wheel', "
                        "{deltaY: -200, bubbles: true, cancelable: true, clientX: 300, clientY: 300}))")
    assert len({*whole, *closer, *moved, *places()}) == 4
    before = places()
    press(page, "ArrowRight")
    assert places() == before
    press(page, "-")
    press(page, "0")
    assert places() == whole


def test_rows_are_ordered_worst_first_and_filtered(page: Any) -> None:
    assert names(page) == ["a10.png", "a <b>&2.png", "p1/c.png", "d.png"]
    for order, expected in {
        "colour error, worst first": ["d.png", "a10.png", "a <b>&2.png", "p1/c.png"],
        "colour error, best first": ["a <b>&2.png", "a10.png", "d.png", "p1/c.png"],
        "SSIM, worst first": ["a10.png", "d.png", "a <b>&2.png", "p1/c.png"],
        "worst first, all scores": ["a10.png", "d.png", "a <b>&2.png", "p1/c.png"],
        "by name": ["a <b>&2.png", "a10.png", "d.png", "p1/c.png"],
        "as translated": ["a10.png", "a <b>&2.png", "p1/c.png", "d.png"],
    }.items():
        choose(page, "grid-order", order, "change")
        assert names(page) == expected, order
    choose(page, "grid-name", "A")
    assert names(page) == ["a10.png", "a <b>&2.png"]
    assert text(page, "#grid-count") == "2 of 4"
    choose(page, "grid-name", "")
    choose(page, "grid-score", "SSIM")
    choose(page, "grid-least", "0.6")
    assert names(page) == ["a <b>&2.png", "d.png"]
    choose(page, "grid-most", "0.8")
    assert names(page) == ["d.png"]
    open_view(page, row=4)
    assert text(page, "#viewer-place") == "1 of 1"


def test_the_order_does_not_change_the_score_of_the_range(page: Any) -> None:
    choose(page, "grid-least", "0.2")
    before = names(page)
    assert before == ["a10.png", "d.png"], "those with a colour error of 0.2 and more"
    choose(page, "grid-order", "SSIM, best first", "change")
    assert sorted(names(page)) == before


def test_no_match_is_said_and_reset(page: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    assert not page.find_element("id", "grid-reset").is_enabled()
    choose(page, "grid-order", "by name", "change")
    choose(page, "grid-name", "D.PNG")
    assert names(page) == ["d.png"]
    assert page.find_element("id", "grid-reset").is_enabled()
    choose(page, "grid-least", "2")
    assert names(page) == []
    assert page.find_element("id", "grid-none").text == "No image matches. Show all images"
    click(page, "#grid-none button")
    WebDriverWait(page, 10).until(names)  # the page shows the rows after the fields have been reset
    assert names(page) == ["a10.png", "a <b>&2.png", "p1/c.png", "d.png"], "the order is reset, too"
    assert not page.find_element("id", "grid-none").is_displayed()
    assert not page.find_element("id", "grid-reset").is_enabled()


def test_the_large_view_shows_the_scores_of_the_image_and_of_each_picture(page: Any, tmp_path: Path) -> None:
    open_view(page)
    assert text(page, "#viewer-scores") == "colour error 0.3, SSIM 0.5"
    click(page, "[data-do=next]")
    click(page, "[data-do=next]")
    assert text(page, "#viewer-scores") == "", "it has none"
    files = write_images(tmp_path, "x.png")
    row = Row("x.png", [make_picture(tmp_path, file, 64, [f"structure error {number}"] * (number > 0))
                        for number, file in enumerate(files)])
    fill_page(tmp_path / "index.html", "results.html", "results", title="t", note="n",
              grid=Grid(("input", "one", "two"), [row], 64))
    with browser(width=1280) as window:
        window.get((tmp_path / "index.html").as_uri())
        open_view(window)
        click(window, "[data-view=all]")
        assert shown(window) == ["input", "one, structure error 1", "two, structure error 2"]


def test_in_a_narrow_window_each_score_has_its_name(tmp_path: Path) -> None:
    row = Row("x.png", [make_picture(tmp_path, file, 64) for file in write_images(tmp_path, "x.png")], (0.1, None))
    fill_page(tmp_path / "index.html", "results.html", "results", title="t", note="n",
              grid=Grid(LABELS, [row], 64, KINDS))
    named = ("return [...document.querySelectorAll('tbody td:not(:has(a))')]"
             ".map(cell => getComputedStyle(cell, '::before').content + cell.innerText)")
    heads = ("return [...document.querySelectorAll('thead th')].filter(head => head.offsetHeight)"
             ".map(head => head.innerText.split('\\n')[0])")
    for width, scores, heading in (
            (390, ['"colour error"0.1', '"SSIM"—'], [*LABELS]),
            (1280, ["none0.1", "none—"], ["image", *LABELS, "colour error", "SSIM"])):
        with browser(width=width) as window:
            window.get((tmp_path / "index.html").as_uri())
            assert window.execute_script(named) == scores
            assert window.execute_script(heads) == heading


@pytest.mark.parametrize("width", [1280, pytest.param(390, marks=pytest.mark.slow)])
def test_many_columns_scroll_below_fixed_heads(tmp_path: Path, width: int) -> None:
    file, *_ = write_images(tmp_path, "x.png")
    columns = ["input", *(f"epoch {number}" for number in range(1, 20))]
    rows = [Row(f"{row}.png", [make_picture(tmp_path, file, 192)] * 20) for row in range(12)]
    fill_page(tmp_path / "index.html", "results.html", "epochs", title="t", note="n",
              grid=Grid(columns, rows, 192, marked=["epoch 3"]))
    with browser(width=width) as window:
        window.get((tmp_path / "index.html").as_uri())
        window.execute_script("document.querySelector('.grid').scrollTo(1500, 500)")
        grid, head, name = (window.execute_script(
            "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.x, box.y]", part)
            for part in (".grid", ".grid thead", ".grid tbody tr:nth-child(8) th"))
        assert head[1] == pytest.approx(grid[1], abs=2)
        assert name[0] == pytest.approx(grid[0], abs=2)
        assert faults_of(window) == {}
        marked = window.find_elements("css selector", "tbody td.marked")
        assert len(marked) == len(rows)
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        last = window.execute_script("return document.querySelector('tbody tr').lastElementChild"
                                     ".getBoundingClientRect().right")
        assert 0 < last <= width, "paper does not scroll"


def test_pictures_shrink_to_fit_the_window_but_stay_above_the_least_width(tmp_path: Path) -> None:
    file, *_ = write_images(tmp_path, "x.png")
    with browser(width=1280) as window:
        for columns, scrolls, width in ((5, False, 212), (20, True, 144)):
            page = tmp_path / f"{columns}.html"
            row = Row("x.png", [make_picture(tmp_path, file, 256)] * columns)
            fill_page(page, "results.html", "epochs", title="t", note="n",
                      grid=Grid([f"epoch {number}" for number in range(columns)], [row], 256))
            window.get(page.as_uri())
            beyond, side = window.execute_script(
                "const grid = document.querySelector('.grid');"
                "return [grid.scrollWidth - grid.clientWidth, grid.querySelector('img').clientWidth]")
            assert (beyond > 0) == scrolls
            assert side == pytest.approx(width, abs=3)


@pytest.mark.parametrize(("width", "height"), [pytest.param(1280, 800, marks=pytest.mark.slow), (390, 844)])
def test_three_thousand_images_are_light_and_do_not_move(tmp_path: Path, width: int, height: int) -> None:
    folder = tmp_path / "page"
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    for label in LABELS:
        (folder / "images" / label).mkdir(parents=True)
        Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"images/{label}/x.png")
    first = [make_picture(folder, f"images/{label}/x.png", 256) for label in LABELS]
    rows = []
    for number in range(3000):
        name = f"n0238{number:04d}_1000.png"
        pictures = [replace(of, file=of.file.replace("x.png", name), thumbnail=of.thumbnail.replace("x.png", name))
                    for of in first]
        for of, picture in zip(first, pictures, strict=True):
            os.link(folder / of.thumbnail, folder / picture.thumbnail)
        rows.append(Row(name, pictures, (number / 3000, None)))
    page = folder / "index.html"
    fill_page(page, "results.html", "results", title="t", note="n", grid=Grid(LABELS, rows, 256, KINDS))
    with browser(width=width, height=height) as window:
        window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SHIFTS})
        window.get(page.as_uri())
        assert window.execute_script("return [...document.images].every(each => each.getAttribute('width') > 0 && "
                                     "each.getAttribute('height') > 0 && each.loading === 'lazy')")
        loaded = window.execute_script("return [...document.images].filter(each => each.naturalWidth).length")
        thumbnail = (folder / first[0].thumbnail).stat().st_size
        assert loaded * thumbnail + page.stat().st_size < 2e6
        for place in (500, 2000, 50_000, 300_000):
            window.execute_script("window.scrollTo(0, arguments[0]); return document.body.offsetHeight", place)
        assert window.execute_script("return window.shifts") <= 0.1
        assert names(window)[:1] == ["n02380000_1000.png"]
