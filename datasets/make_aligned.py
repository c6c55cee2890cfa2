"""Put images with equal names of two folders side by side, A left and B right.

    python datasets/make_aligned.py --a drawings --b coloured --out datasets/pairs
    python train.py --dataroot datasets/pairs --dataset_mode aligned --model pix2pix ...

This tool is optional: two folders trainA and trainB with equal names are an aligned set, too. With one file for each
pair, as in the sets of pix2pix, no image can lose its partner.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/make_aligned.py` sees the clone

from data.aligned import match_pairs
from datasets.building import SplitFlags, picture, save_png, split, whole_folder, work_through
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.words import counted


@dataclass(frozen=True, kw_only=True)
class AlignedFlags(SplitFlags):
    """Put images of two folders with the same names side by side."""

    a: Path = flag(REQUIRED, "left halves")
    b: Path = flag(REQUIRED, "right halves, under the same names")
    out: Path = flag(REQUIRED, "the data set, a folder that does not exist")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and write the pairs."""
    flags = parse_flags(AlignedFlags, "make_aligned.py", argv)
    pairs = match_pairs(flags.a, flags.b, "--a and --b")
    parts = split(pairs, flags.test, flags.seed)
    with whole_folder(flags.out) as folder:
        def write(item: tuple[str, tuple[Path, Path]]) -> None:
            phase, (left, right) = item
            name = left.relative_to(flags.a).with_suffix(".png")
            save_png(side_by_side(left, right, flags.size), folder / phase / name)

        work_through(write, [(phase, pair) for phase, part in zip(("train", "test"), parts, strict=True)
                             for pair in part], flags.threads)
    print(f"{flags.out}: {counted(len(parts[0]), 'pair')} in train, {len(parts[1])} in test; "
          "train.py --dataset_mode aligned trains on them")


def side_by_side(left: Path, right: Path, size: tuple[int, int] | None) -> Image.Image:
    """Join two image files, ``left`` on the left.

    Raises:
        UserError: sizes differ and ``size`` is None, or a file cannot be read.
    """
    images = picture(left, size), picture(right, size)
    width, height = images[0].size
    if images[0].size != images[1].size:
        raise UserError(f"a pair must have one size, but {left} is {width}x{height} and {right} is "
                        f"{images[1].width}x{images[1].height}; give one with --size")
    both = Image.new("RGB", (2 * width, height))
    both.paste(images[0], (0, 0))
    both.paste(images[1], (width, 0))
    return both


if __name__ == "__main__":
    run_program("make_aligned.py", main)
