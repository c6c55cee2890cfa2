"""One picture with the translations of the same images by several runs."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from util.errors import UserError

COLUMNS, CELL, LABEL = 10, 80, 150  # images in a row, their side, and the room for names, in pixels


def montage(runs: Mapping[str, Path]) -> Image.Image:
    """Draw a row for the inputs, for each run and for the truths; columns are images spread over the test set.

    ``runs`` maps titles to the folders ``test_latest/images`` that test.py wrote for an aligned test set.

    Raises:
        UserError: a run's images are not there.
    """
    for title, folder in runs.items():
        if not outputs(folder):
            raise UserError(f"--picture: {folder / 'fake_B'} is missing, the translations of {title}; its scores alone "
                            "give no picture")
    first = next(iter(runs.values()))
    rows = {"inputs": [first / "real_A"], **{title: outputs(folder) for title, folder in runs.items()},
            "truths": [first / "real_B"]}
    names = sorted(path.name for path in (first / "real_A").iterdir())
    names = names[len(names) // COLUMNS // 2::max(len(names) // COLUMNS, 1)][:COLUMNS]
    picture = Image.new("RGB", (LABEL + CELL * len(names), CELL * len(rows)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, folders) in enumerate(rows.items()):
        draw.text((LABEL - 6, row * CELL + CELL // 2), title, fill="black", anchor="rm", font_size=13)
        for column, name in enumerate(names):
            with Image.open(folders[column % len(folders)] / name) as image:
                picture.paste(image.convert("RGB").resize((CELL, CELL)), (LABEL + column * CELL, row * CELL))
    return picture


def outputs(folder: Path) -> list[Path]:
    """Return the folders of a run's translations, one for each style, in ``test_latest/images``."""
    return sorted(folder.glob("fake_B*"))
