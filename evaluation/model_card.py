"""The model card of a hub folder: pictures, method, data set, licence, scores and training of a generator."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from PIL import Image

from data.survey import evenly
from inference import Translator
from util.image_folders import is_image
from util.picture_files import to_uint8
from util.shown import picture, scaled_down
from util.starts import read_starts

from .checkpoint_scores import HEADINGS

MOST_PICTURES, MOST_STYLES = 4, 3
WIDTH, GAP = 256, 8  # of a picture, and between two, in pixels
LARGEST_SIDE = 512  # of an image to translate, in pixels


def model_card(
    name: str, *, license_id: str, method: str, facts: Mapping[str, str], pictures: Iterable[str], calls: Iterable[str],
    scores: Mapping[str, float], scored: str, commands: Sequence[str],
) -> str:
    """Format a model card in Markdown, with the front matter that the Hugging Face Hub reads.

    Args:
        name: of the generator.
        license_id: the Hub's name of the licence, such as ``mit``; empty: not stated.
        method: value of ``--model``.
        facts: rows of a table: labels and values.
        pictures: files in the hub folder: inputs on the left, translations on the right.
        calls: calls of `inference.load` that give the generator.
        scores: headings and values.
        scored: description of the scored images.
        commands: command lines of the training.
    """
    lines = [
        "---", *([f"license: {json.dumps(license_id)}"] if license_id else []), "pipeline_tag: image-to-image",
        f"tags: {json.dumps(['image-to-image', 'unpaired-image-translation', method])}", "---", "", f"# {name}", ""]
    for file in pictures:
        lines += [f"![Inputs on the left, translations on the right]({file})", ""]
    lines += [*_table(("", ""), facts), "## Use", "", "In a clone of spatially-correlative-translation:", "",
              "```python", "from inference import load", ""]
    for call in calls:
        lines += [f"translator = {call}", 'translator("photo.jpg").save("translated.png")']
    lines += ["```", ""]
    if scores:
        values = {heading: f"{value:.4g}" for heading, value in scores.items()}
        lines += ["## Scores", "", f"{scored}:", "", *_table(("score", "value"), values)]
    if commands:
        lines += ["## Training", "", "```bash", *commands, "```", ""]
    return "\n".join(lines)


def _table(heading: tuple[str, str], rows: Mapping[str, str]) -> Iterator[str]:
    for left, right in (heading, ("---", "---"), *rows.items()):
        yield f"| {left} | {right} |"
    yield ""


def training_commands(folder: Path) -> list[str]:
    """List the command lines of an experiment's training without repetitions.

    Of an absolute path only the last part is listed: the folders of a user should not become public.
    """
    def public(argument: str) -> str:
        flag, separator, value = argument.rpartition("=")
        path = PureWindowsPath(value)  # splits the paths of all systems
        return flag + separator + (path.name if path.anchor else value)

    commands = [str(start.get("command", "")) for start in read_starts(folder)]
    return list(dict.fromkeys(f"python {shlex.join(map(public, shlex.split(of)))}" for of in commands if of))


def stored_scores(results: Path, best: Path | None, digests: Mapping[str, str]) -> tuple[dict[str, float], str]:
    """Find scores that ``evaluate.py epochs`` or ``--eval_freq`` has stored.

    Args:
        results: folder of the experiment's results.
        best: the file of the scores of ``--eval_freq``; None: the checkpoint is not the best one.
        digests: SHA-256 of the files of the checkpoint's networks, by name.

    Returns:
        The scores by their headings, and a description of the scored images.
    """
    found = {} if best is None else _read(best)
    for path in sorted(results.glob("*_epochs*/epochs.json")):
        book = _read(path)
        for entry in book.get("checkpoints", []):
            if digests.items() >= entry.get("sha256", {"": ""}).items():
                found = {**book.get("conditions", {}), **entry}
    images = f"Translations of {found['images_outputs']} test images" if "images_outputs" in found else "A test set"
    return {heading: found[name] for name, heading in HEADINGS.items() if name in found}, images


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def example_files(places: Iterable[Path]) -> Sequence[Path]:
    """Choose images, spread evenly over the first place, a file or a folder with its subfolders, that has any."""
    for place in places:
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        if found := [path for path in files if is_image(path) and path.is_file()]:
            return evenly(found, MOST_PICTURES)
    return []


def save_pictures(translator: Translator, files: Sequence[Path], path: Path) -> None:
    """Translate files, and write a JPEG of a row for each: input on the left, and translations in up to three styles.

    Raises:
        UserError: a file cannot be read.
    """
    rows = []
    for file in files:
        image = scaled_down(translator.read(file)[None], LARGEST_SIDE)[0].clamp(-1, 1)
        styles = range(1, min(translator.styles, MOST_STYLES) + 1)
        pictures = [Image.fromarray(to_uint8(picture(of, translator.bands)))
                    for of in (image, *(translator(image, style=number) for number in styles))]
        height = max(round(WIDTH * image.shape[1] / image.shape[2]), 1)
        rows.append([of.resize((WIDTH, height), Image.Resampling.BICUBIC) for of in pictures])
    width = len(rows[0]) * (WIDTH + GAP) - GAP
    sheet = Image.new("RGB", (width, sum(row[0].height + GAP for row in rows) - GAP), "white")
    top = 0
    for row in rows:
        for column, of in enumerate(row):
            sheet.paste(of, (column * (WIDTH + GAP), top))
        top += row[0].height + GAP
    sheet.save(path, quality=90)
