"""Pictures of some test images by each checkpoint, made once for each content of its files."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from data.sampler import spread
from util.errors import UserError
from util.pages import Grid, Picture, Row, make_picture
from util.picture_files import save_image
from util.shown import picture

from .flags import PictureFlags
from .image_scores import ImageScorer, score_lines
from .set_translator import Names, SetTranslator

INPUT, TRUTH = "input", "truth"


class CheckpointPictures:
    """Writes ``images/CHECKPOINT/NAME.png``, ``images/input/NAME.png`` and ``images/truth/NAME.png`` into a folder.

    Args:
        translator: with the weights of a checkpoint.
        folder: of the page.
        numbers: indices of the test images.
        experiment: name of the experiment.

    Attributes:
        names: of the images, by their indices.
    """

    def __init__(self, translator: SetTranslator, folder: Path, numbers: Sequence[int], experiment: str) -> None:
        self.folder, self._translator, self._experiment = folder, translator, experiment
        names = Names(translator.dataset.root)
        self.names = {number: names.of(str(translator.dataset.files(number)[0])) for number in numbers}
        self._scorer: ImageScorer | None = None

    def of(self, key: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """Write the pictures of the translator's present weights, unless they are there.

        Args:
            key: names the content of the weights.
            known: the result of an earlier call with this key, or nothing.

        Returns:
            For each name ``file`` of the translation, relative to the folder, and ``scores``, see `ImageScorer`.

        Raises:
            UserError: an image cannot be read.
        """
        part = hashlib.sha256(f"{self._experiment} {key}".encode()).hexdigest()[:12]
        files = {name: f"images/{part}/{name}.png" for name in self.names.values()}
        if all(name in known and known[name]["file"] == file and (self.folder / file).is_file()
               for name, file in files.items()):
            return {name: known[name] for name in files}
        self._scorer = self._scorer or ImageScorer(
            structure=True, device=self._translator.device, bands=self._translator.bands)
        found = {}
        for translated in self._translator.translations_of(self.names):
            name = self.names[translated.number]
            images = {INPUT: translated.images["real_A"], TRUTH: translated.images.get("real_B")}
            for file, image in {files[name]: translated.output,
                                **{f"images/{label}/{name}.png": image for label, image in images.items()}}.items():
                if image is not None:
                    save_image(picture(image, self._translator.bands), self.folder / file)
            found[name] = {"file": files[name], "scores": self._scorer.scores(translated.images)}
        return found


def choose_images(translator: SetTranslator, flags: PictureFlags) -> list[int]:
    """Return the indices of the test images to show.

    Raises:
        UserError: there is no image, or there are several, of a name of ``--images``.
    """
    if not flags.images:
        return spread(flags.num_images, translator.total)
    dataset = translator.dataset
    names = [Path(dataset.files(number)[0]).relative_to(dataset.root) for number in range(translator.total)]
    return [_find(wanted, names, dataset.root) for wanted in flags.images]


def _find(wanted: str, names: Sequence[PurePath], root: Path) -> int:
    found = [number for number, name in enumerate(names)
             if wanted in (name.as_posix(), name.with_suffix("").as_posix())]
    found = found or [number for number, name in enumerate(names) if wanted in (name.name, name.stem)]
    if len(found) != 1:
        some = ", ".join(name.as_posix() for name in names[:3])
        raise UserError(f"--images {wanted}: {'several images have' if found else 'no test image has'} this name in "
                        f"{root}, which holds {some} and so on; give the path below that folder")
    return found[0]


def checkpoint_grid(
    folder: Path, names: Sequence[str], columns: Mapping[str, Mapping[str, Any]], width: int, *,
    marked: Collection[str] = (), best: str | None = None, notes: Mapping[str, str] | None = None,
) -> Grid:
    """Arrange pictures: a row for each image, with the input, a column for each checkpoint, and the truth.

    Args:
        folder: of the page.
        names: of the images.
        columns: the results of `CheckpointPictures.of` by label.
        width: of a picture on the page.
        marked: labels that stand out.
        best: a score; in each row, the best pictures by it stand out.
        notes: small text below labels.
    """
    def other(label: str, name: str) -> Picture | None:
        file = f"images/{label}/{name}.png"
        return make_picture(folder, file, width) if (folder / file).is_file() else None

    rows = []
    for name in names:
        scores = {label: of[name]["scores"] for label, of in columns.items() if name in of}
        least = min((of[best] for of in scores.values() if best in of), default=None)
        outputs = [make_picture(folder, of[name]["file"], width, score_lines(scores[label]),
                                marked=best in scores[label] and scores[label][best] == least)
                   if label in scores else None for label, of in columns.items()]
        rows.append(Row(name, [other(INPUT, name), *outputs, other(TRUTH, name)]))
    truths = any(row.pictures[-1] for row in rows)
    if not truths:
        rows = [Row(row.name, row.pictures[:-1]) for row in rows]
    return Grid([INPUT, *columns, *([TRUTH] if truths else [])], rows, width, marked=marked, notes=notes or {})
