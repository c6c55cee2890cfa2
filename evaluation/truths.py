"""True counterparts of translations: images of the same names in another folder."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from data import SampleKey
from data.batch import collate, finish
from options import DataFlags, Options
from util.errors import UserError
from util.image_files import BadImage
from util.images import image_size
from util.shards import is_folder

from .generator_scores import target_images
from .set_translator import Translated


class Truths:
    """The images in a folder, loaded as the inputs of a test set.

    Args:
        folder: the images, in the same subfolders and under the same names as the inputs, with any suffix.
        inputs: folder of the inputs.
        options: of the test set.
        warn: shows a warning for a file that cannot be read.

    Raises:
        UserError: the folder is missing or holds no image.
    """

    def __init__(self, folder: Path, inputs: Path, options: Options, warn: Callable[[str], None]) -> None:
        self._images = target_images(options, folder, None)
        self._inputs, self._warn = inputs, warn
        self._items: dict[Path, list[int]] = {}
        for item in range(self._images.items):
            name = self._images.files(item)[0].relative_to(folder).with_suffix("")
            self._items.setdefault(name, []).append(item)

    def of(self, path: Path) -> Tensor | None:
        """Return the truth of an input, [C, H, W] in [-1, 1].

        None if there is no file of the same name and size, or several.
        """
        items = self._items.get(path.relative_to(self._inputs).with_suffix(""), [])
        if len(items) != 1:
            return None
        try:
            if image_size(self._images.files(items[0])[0]) != image_size(path):
                return None
            image: Tensor = finish(collate([self._images[SampleKey(items[0], 0)]]))["A"][0]
        except BadImage as error:
            self._warn(f"{error}; its truth is not shown")
            return None
        return image

    def added_to(self, translations: Iterable[Translated]) -> Iterator[Translated]:
        """Add ``real_B`` to translations whose truth is there."""
        for translated in translations:
            truth = None if "real_B" in translated.images else self.of(Path(translated.path))
            if truth is None or truth.shape[1:] != translated.images["real_A"].shape[1:]:
                yield translated
            else:
                yield replace(translated, images=translated.images | {"real_B": truth})


def find_truths(options: Options, inputs: Path, choice: str, warn: Callable[[str], None]) -> Truths | None:
    """Find the truths of the test set of ``test.py``.

    Args:
        options: of ``test.py``.
        inputs: folder of the images to translate.
        choice: ``--truth``: a folder; ``auto``: the other domain's folder beside ``inputs``, such as ``testB`` beside
            ``testA``; ``none``.
        warn: see `Truths`.

    Raises:
        UserError: the folder of ``--truth`` is missing or holds no image.
    """
    if choice == "none" or options[DataFlags].dataset_mode in ("aligned", "singleimage"):
        return None
    if choice != "auto":
        return Truths(Path(choice), inputs, options, warn)
    for own, other in (("B", "A"), ("A", "B")):
        if inputs.name.endswith(own) and is_folder(folder := inputs.with_name(f"{inputs.name[:-1]}{other}")):
            try:
                return Truths(folder, inputs, options, warn)
            except UserError:  # an empty folder
                return None
    return None
