"""HTML pages of pictures, which open from disk without a network. Their markup, style and script are in `templates`."""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from util.files import replacing
from util.hub_folders import is_hub_folder
from util.images import image_size
from util.picture_files import save_thumbnail

TEMPLATES = Path(__file__).parent / "templates"
LIST = "pages.json"
KINDS = ("training", "results", "metrics", "epochs", "comparison")
"""Beginnings of the names of pages, in the order of links."""
SMALL = 4096  # bytes of a file that is its own thumbnail


@dataclass(frozen=True)
class Picture:
    """A picture on a page. Paths are relative to the page, unquoted."""

    file: str
    thumbnail: str
    width: int
    """Of the thumbnail, in pixels."""
    height: int
    lines: Sequence[str] = ()
    """Text below the picture, such as its scores."""
    marked: bool = False
    """Stands out in its row."""


@dataclass(frozen=True)
class Row:
    """A row of a `Grid`."""

    name: str
    pictures: Sequence[Picture | None]
    """One for each column; None: an empty cell."""
    scores: Sequence[float | None] = ()
    """One for each score of the grid."""


@dataclass(frozen=True)
class Grid:
    """A table of pictures with fixed heads; more than four columns of pictures scroll sideways.

    The script opens the large view of a row, and orders and filters the rows.
    """

    columns: Sequence[str]
    """Labels of the columns of pictures, such as ``input``, ``output`` and ``truth``."""
    rows: Sequence[Row]
    width: int
    """Of a picture in pixels, where the window is wide enough."""
    scores: Sequence[Any] = ()
    """`metrics.scores.ScoreKind` of each column of scores: ``title``, ``higher`` if a higher score is better, and
    ``meaning``."""
    marked: Collection[str] = field(default_factory=tuple)
    """Columns that stand out."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Small text below the heads of some columns."""

    @property
    def ratio(self) -> float:
        """Height over width of the tallest picture of the first row: the likely height of rows not yet drawn."""
        pictures = [of for row in self.rows[:1] for of in row.pictures if of]
        return max((round(of.height / of.width, 3) for of in pictures), default=1)

    @property
    def lines(self) -> int:
        """Likely number of lines of text below the pictures of a row in a narrow window."""
        below = max((len(of.lines) for row in self.rows[:1] for of in row.pictures if of), default=0)
        return below + 2 * -(-len(self.scores) // max(len(self.columns), 1))


def make_picture(
    folder: Path, file: str, side: int, lines: Sequence[str] = (), *, marked: bool = False
) -> Picture:
    """Make a `Picture` of an image file, with a thumbnail of at most ``side`` pixels.

    The thumbnail of ``images/fake_B/x.png`` is ``small/fake_B/x.png.webp``; small files need none.

    Args:
        folder: of the page.
        file: the path relative to it.
        lines, marked: see `Picture`.

    Raises:
        BadImage: the file is no image.
    """
    path = folder / file
    if path.stat().st_size <= SMALL:
        height, width = image_size(path)
        return Picture(file, file, width, height, lines, marked)
    thumbnail = f"small/{file.removeprefix('images/')}.webp"
    width, height = save_thumbnail(path, folder / thumbnail, side)
    return Picture(file, thumbnail, width, height, lines, marked)


def fill_page(path: Path, template: str, name: str, runs: Sequence[Path] = (), **values: Any) -> None:
    """Write a page, whole or not at all, and link it with the other pages of its runs.

    Args:
        path: the page.
        template: a file of `TEMPLATES` that extends ``page.html``.
        name: of the page in links, such as ``training``.
        runs: folders of the experiments that the page is about.
        values: of the template: ``title``, ``note`` and others; all are escaped.
    """
    links = {run.name: addresses(pages_of(run) | {name: path.resolve()}, path) for run in runs}
    write_text(path, render(template, links=links, own=path.name, **values))
    for run in runs:
        link_page(run, name, path)


def pages_of(run: Path) -> dict[str, Path]:
    """Return the pages of an experiment that are there, by name."""
    try:
        listed = json.loads((run / LIST).read_text(encoding="utf-8"))
        pages = {str(name): (run / address).resolve() for name, address in listed.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # not yet there, or damaged: pages are listed again
        return {}
    return {name: page for name, page in pages.items() if page.is_file()}


def link_page(run: Path, name: str, path: Path) -> None:
    """Add a page, or another file, to the list of an experiment's pages, and link it on all of them.

    Nothing is written if it is listed already, or if the folder is a generator to share, which stays as it is.
    """
    if is_hub_folder(run):
        return
    known = pages_of(run)
    pages = known | {name: path.resolve()}
    if pages == known:
        return
    write_text(run / LIST, json.dumps(addresses(pages, run / LIST), indent=2) + "\n")
    for page in pages.values():
        if page.suffix == ".html":
            relink(page, run.name, pages)


def relink(page: Path, run: str, pages: Mapping[str, Path]) -> None:
    """Replace the links of a run on a page that is there already."""
    module = _environment().get_template("links.html").make_module()
    links = str(module.run_links(run, addresses(pages, page), page.name))  # type: ignore[attr-defined]
    head, _, _ = links.partition(" aria-label")
    text = page.read_text(encoding="utf-8")
    changed = re.sub(rf"{re.escape(head)} .*?</nav>", lambda _: links, text, count=1, flags=re.DOTALL)
    if changed != text:
        write_text(page, changed)


def addresses(pages: Mapping[str, Path], page: Path) -> dict[str, str]:
    """Return the addresses of pages relative to another one, unquoted, in the order of `KINDS`.

    Those of another drive are left out.
    """
    def place(title: str) -> int:
        return next((number for number, kind in enumerate(KINDS) if title.startswith(kind)), len(KINDS))

    folder = page.resolve().parent
    return {title: Path(os.path.relpath(pages[title], folder)).as_posix() for title in sorted(pages, key=place)
            if pages[title].drive == folder.drive}


def render(template: str, **values: Any) -> str:
    """Fill in a template of `TEMPLATES`. All values are escaped."""
    return _environment().get_template(template).render(values)


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all; bytes of file names that are no text are escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "asset": lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8")),
        "four_digits": lambda value: "" if value is None else f"{value:.4g}",
        "url": lambda path: quote(os.fsencode(path)),
    }
    return environment
