"""The labels of Cityscapes (Cordts et al., CVPR 2016), and label maps from files in several formats.

A label has an id (0 to 33; -1, stored as 255, for license plates). The 19 of them that are scored also have a train id
(0 to 18), all others train id 255 (`IGNORED`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.segmentation import IGNORED
from util.errors import UserError
from util.images import image_mode, load_image, load_values


class Label(NamedTuple):
    """A label that is scored; its train id is its index in `CLASSES`."""

    id: int
    name: str
    colour: tuple[int, int, int]


CLASSES = (
    Label(7, "road", (128, 64, 128)),
    Label(8, "sidewalk", (244, 35, 232)),
    Label(11, "building", (70, 70, 70)),
    Label(12, "wall", (102, 102, 156)),
    Label(13, "fence", (190, 153, 153)),
    Label(17, "pole", (153, 153, 153)),
    Label(19, "traffic light", (250, 170, 30)),
    Label(20, "traffic sign", (220, 220, 0)),
    Label(21, "vegetation", (107, 142, 35)),
    Label(22, "terrain", (152, 251, 152)),
    Label(23, "sky", (70, 130, 180)),
    Label(24, "person", (220, 20, 60)),
    Label(25, "rider", (255, 0, 0)),
    Label(26, "car", (0, 0, 142)),
    Label(27, "truck", (0, 0, 70)),
    Label(28, "bus", (0, 60, 100)),
    Label(31, "train", (0, 80, 100)),
    Label(32, "motorcycle", (0, 0, 230)),
    Label(33, "bicycle", (119, 11, 32)),
)
NAMES = tuple(label.name for label in CLASSES)
LAST_ID = 33

VOID_COLOURS = (
    (0, 0, 0),  # unlabeled, ego vehicle, rectification border, out of roi, static
    (111, 74, 0),  # dynamic
    (81, 0, 81),  # ground
    (250, 170, 160),  # parking
    (230, 150, 140),  # rail track
    (180, 165, 180),  # guard rail
    (150, 100, 100),  # bridge
    (150, 120, 90),  # tunnel
    (0, 0, 90),  # caravan
    (0, 0, 110),  # trailer
)
"""Colours of labels that are not scored. Two further labels share the colour of a scored one, and so its class in
colour-coded maps: polegroup and pole, license plate and car."""

FORMATS = ("auto", "ids", "train_ids", "colours", "nearest_colours")
"""Formats of a file. ``auto``: three channels hold colours; of one channel, the name tells the format."""

ENDINGS = {"_labelTrainIds": "train_ids", "_labelIds": "ids", "_color": "colours"}
"""Formats by the endings of Cityscapes' own file names."""


def read_labels(path: Path, stored: str = "auto") -> Tensor:
    """Read a label map as train ids [H, W], 0 to 18 or `IGNORED`.

    Args:
        path: the file.
        stored: one of `FORMATS`. ``nearest_colours`` gives each pixel the label of the nearest colour (Euclidean, in
            RGB), for maps changed by JPEG or smooth resizing; ``colours`` accepts only exact colours.

    Raises:
        UserError: the file cannot be read, holds values or colours of no label, or its format is unknown.
    """
    stored = _stored(path) if stored == "auto" else stored
    if stored in ("colours", "nearest_colours"):
        return _from_colours(path, exact=stored == "colours")
    values, highest = load_values(path), LAST_ID if stored == "ids" else len(CLASSES) - 1
    if (strange := (values > highest) & (values != IGNORED) | (values < -1)).any():
        raise UserError(f"'{path}' holds {values[strange][0].item()}, but {stored} go from 0 to {highest}, and "
                        f"{IGNORED}: choose another format (ids, train_ids, colours), or repair it")
    if stored == "train_ids":
        return values.where(values >= 0, IGNORED)
    table = torch.full((256,), IGNORED)
    table[[label.id for label in CLASSES]] = torch.arange(len(CLASSES))
    return table[values]  # -1 is the last entry


def _stored(path: Path) -> str:
    """Find the format of a file by its channels and its name."""
    mode = image_mode(path)
    if mode not in ("1", "L", "P") and not mode.startswith("I"):
        return "colours"
    for ending, stored in ENDINGS.items():
        if path.stem.endswith(ending):
            return stored
    raise UserError(f"'{path}' may hold ids or train ids: say which by --labels_format or --predictions_format")


def _from_colours(path: Path, *, exact: bool) -> Tensor:
    image = load_image(path, 3)
    if image.dtype != torch.uint8:
        raise UserError(f"'{path}' has more than 8 bits a channel, but the labels' colours have 8: convert it")
    colours, places = image.flatten(1).unique(dim=1, return_inverse=True)  # [3, K] of few, [H * W]
    known = torch.tensor([label.colour for label in CLASSES] + list(VOID_COLOURS))
    squares = (colours.T.long()[:, None] - known).square().sum(dim=2)  # [K, colours]
    least, nearest = squares.min(dim=1)
    if exact and least.any():
        red, green, blue = colours[:, least > 0][:, 0].tolist()
        raise UserError(f"'{path}' has the colour {red},{green},{blue}, which no label has: choose the format "
                        "nearest_colours if JPEG or resizing has changed the colours")
    found: Tensor = nearest.where(nearest < len(CLASSES), IGNORED)[places]
    return found.view(image.shape[1:])
