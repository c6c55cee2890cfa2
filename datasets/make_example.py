"""Make a small synthetic data set of one kind of images, to try a command before the real images are there.

    python datasets/make_example.py ct2mr --out datasets/ct2mr
    python datasets/make_example.py multispectral2rgb --out datasets/multispectral2rgb --count 100 --size 128

Scenes are ellipses of random materials. A and B show different scenes in trainA and trainB, and the same ones in testA
and testB. Nothing learned from these images says anything about real ones.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/make_example.py` sees the clone

from datasets.building import whole_folder
from options import REQUIRED, flag, parse_flags
from util.errors import run_program
from util.outputs import save_tiff

MATERIALS = 5  # of a scene, the background among them

Values: TypeAlias = NDArray[Any]
Draw: TypeAlias = Callable[[Values, np.random.Generator], Values]
"""From the materials of pixels [H, W] to values [H, W] or [H, W, C]."""


class Domain(NamedTuple):
    """The images of a domain."""

    draw: Draw
    suffix: str


def values(levels: Sequence[Any], noise: float, low: float, high: float, dtype: str) -> Draw:
    """Return a function that draws the level of each pixel's material, with noise, clipped to [low, high]."""
    table = np.asarray(levels, dtype=np.float64)

    def draw(scene: Values, rng: np.random.Generator) -> Values:
        clean = table[scene]
        noisy = (clean + rng.normal(0, noise, clean.shape)).clip(low, high)
        return (noisy if dtype == "float32" else noisy.round()).astype(dtype)

    return draw


RGB = values([(60, 90, 50), (120, 160, 80), (190, 170, 130), (70, 110, 160), (225, 225, 225)], 6, 0, 255, "uint8")
KINDS: Mapping[str, tuple[Domain, Domain]] = {
    "ct2mr": (  # Hounsfield units; 12 bits in 16
        Domain(values([-1000, -90, 40, 130, 900], 15, -1024, 3071, "int16"), ".tif"),
        Domain(values([60, 3300, 1500, 2300, 250], 60, 0, 4095, "uint16"), ".tif")),
    "sar2optical": (  # VV and VH, in decibels
        Domain(values([(-12, -19), (-9, -14), (-16, -24), (-24, -31), (-3, -9)], 1.5, -40, 10, "float32"), ".tif"),
        Domain(RGB, ".png")),
    "multispectral2rgb": (  # reflectance of blue, green, red, red edge and near infrared, in ten-thousandths
        Domain(values([(400, 700, 500, 1500, 3000), (500, 900, 600, 2200, 4200), (1200, 1600, 2000, 2300, 2600),
                       (700, 600, 300, 200, 100), (2500, 2600, 2700, 2800, 2900)], 60, 0, 10000, "uint16"), ".npy"),
        Domain(RGB, ".png")),
    "thermal2rgb": (  # hundredths of a kelvin
        Domain(values([28500, 29300, 30200, 28100, 31000], 25, 0, 65535, "uint16"), ".png"), Domain(RGB, ".png")),
}


@dataclass(frozen=True, kw_only=True)
class ExampleFlags:
    """Make a small synthetic data set."""

    kind: str = flag(REQUIRED, "of the images", positional=True, choices=tuple(KINDS))
    out: Path = flag(REQUIRED, "the data set, a folder that does not exist")
    count: int = flag(20, "images in each folder", minimum=1)
    size: int = flag(64, "side of the images, in pixels", minimum=16, maximum=4096)
    seed: int = flag(0, "seed of all random choices", minimum=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and write the images."""
    flags = parse_flags(ExampleFlags, "make_example.py", argv)
    with whole_folder(flags.out) as folder:
        for phase, side, domain in (("train", 0, "A"), ("train", 1, "B"), ("test", 0, "A"), ("test", 1, "B")):
            drawn = KINDS[flags.kind][side]
            place = folder / f"{phase}{domain}"
            place.mkdir()
            for number in range(flags.count):
                of_scene = [flags.seed, number, phase == "test", side * (phase == "train")]
                scene = draw_scene(flags.size, np.random.default_rng(of_scene))
                save(drawn.draw(scene, np.random.default_rng([*of_scene, side])), place / f"{number:04d}{drawn.suffix}")
    print(f"{flags.out} is ready; check it with python -m data.check {flags.out}")


def draw_scene(size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ellipses of random materials over the first one: [size, size]."""
    scene = np.zeros((size, size), dtype=np.int64)
    rows, columns = np.mgrid[:size, :size] / size
    for _ in range(8):
        (y, x), (height, width) = rng.uniform(0.1, 0.9, 2), rng.uniform(0.06, 0.3, 2)
        scene[((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1] = rng.integers(MATERIALS)
    return scene


def save(image: Values, path: Path) -> None:
    """Write values [H, W] or [H, W, C] in the format of the suffix."""
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".tif":
        with path.open("wb") as file:
            save_tiff(image, file)
    else:
        Image.fromarray(image).save(path)


if __name__ == "__main__":
    run_program("make_example.py", main)
