"""The results of ``test.py``: ``results.json`` and its page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from metrics.scores import SCORES
from util.pages import Grid, Picture, Row, fill_page, make_picture
from util.words import counted

from .image_scores import IMAGE_SCORES
from .reports import write_json

FILE = "results.json"
LABELS = {"real_A": "input", "fake_B": "output", "real_B": "truth"}


@dataclass
class Result:
    """A translated image."""

    name: str
    """On the pages: that of its files, without ``images/LABEL/`` and suffix."""
    path: str
    """The input."""
    pictures: dict[str, Picture]
    """By label, such as ``fake_B``."""
    scores: dict[str, float]
    """See `ImageScorer`."""


class Results:
    """The results in a folder.

    Args:
        folder: of the results.
        conditions: what the translations depend on, except their inputs.

    Attributes:
        images: the results by the absolute path of the input, in the order of the page.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, Any]) -> None:
        self.folder, self.conditions = folder, json.loads(json.dumps(conditions))
        self.images: dict[str, Result] = {}

    def read_earlier(self) -> bool:
        """Read the results that are there; False if there are none, or under other conditions."""
        try:
            found = json.loads((self.folder / FILE).read_text(encoding="utf-8"))
            if found["conditions"] != self.conditions:
                return False
            for of in found["images"]:
                pictures = {label: Picture(**picture) for label, picture in of["pictures"].items()}
                self.images[of["path"]] = Result(of["name"], of["path"], pictures, of["scores"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # not there, or damaged
            self.images.clear()
            return False
        return True

    def names(self) -> dict[str, str]:
        """Return the names of the files by the absolute paths of their inputs, as `SetTranslator.save` takes them."""
        return {path: of.name for path, of in self.images.items()}

    def add(
        self, path: str, files: Mapping[str, str], scores: Mapping[str, float], width: int, *, first: bool
    ) -> None:
        """Add a result, and make its thumbnails.

        Args:
            path: the absolute path of the input, whose earlier result is replaced.
            files: written files by label, relative to the folder.
            scores: of the translation.
            width: of a picture on the page.
            first: put it first instead of last.
        """
        pictures = {label: make_picture(self.folder, file, width) for label, file in files.items()}
        label, file = next(iter(files.items()))
        name = PurePath(file.removeprefix(f"images/{label}/")).with_suffix("").as_posix()
        self.images.pop(path, None)
        result = {path: Result(name, path, pictures, dict(scores))}
        if first:
            self.images = {**result, **self.images}
        else:
            self.images |= result

    def write(self, title: str, width: int, run: Path) -> Path:
        """Write ``results.json`` and the page; return the page.

        Args:
            title: of the page.
            width: of a picture on the page.
            run: folder of the experiment.
        """
        images = [asdict(of) for of in self.images.values()]
        write_json(self.folder / FILE, {"conditions": self.conditions, "images": images})
        page = self.folder / "index.html"
        fill_page(page, "results.html", f"results of {self.folder.name}", [run], title=title, note=self._note(),
                  grid=results_grid(list(self.images.values()), width))
        return page

    def _note(self) -> str:
        with_truth = sum("real_B" in of.pictures for of in self.images.values())
        truths = f", {with_truth} with the truth" if 0 < with_truth < len(self.images) else ""
        return f"{counted(len(self.images), 'image')}{truths}. Click a picture for a large view."


def results_grid(images: Sequence[Result], width: int) -> Grid:
    """Arrange results: input, outputs, truth, scores."""
    labels = sorted({label for of in images for label in of.pictures}, key=_place)
    scores = [name for name in IMAGE_SCORES if any(name in of.scores for of in images)]
    rows = [Row(of.name, [of.pictures.get(label) for label in labels], [of.scores.get(name) for name in scores])
            for of in images]
    return Grid([caption(label) for label in labels], rows, width, [SCORES[name] for name in scores])


def caption(label: str) -> str:
    """Return the caption of a picture: ``output 2`` for ``fake_B_2``."""
    return LABELS.get(label, label.replace("fake_B_", "output "))


def _place(label: str) -> tuple[int, int]:
    """Order labels: input, outputs by their numbers, truth."""
    number = label.rpartition("_")[2]
    return ("real_A", "fake_B", "real_B").index(label[:6]), int(number) if number.isdecimal() else 0
