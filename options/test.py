"""Flags of ``test.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .common import DataFlags, NetworkFlags, RunFlags, SpeedFlags, stylegan2_size
from .flag import count_or_all, flag
from .parser import Program


def images_or_all(text: str) -> int | None:
    """A number of images; the published test scripts also type 0 for all."""
    return None if text.strip() == "0" else count_or_all(text)


@dataclass(frozen=True)
class TestFlags:
    """Which images are translated and where they go."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    results_dir: str = flag("./results/", "results go to results_dir/name/phase_epoch, then --model_suffix")
    num_test: int | None = flag(50, "how many images to translate; inf, 0 or -1: all", parse=images_or_all)
    aspect_ratio: float = flag(1.0, "width to height of saved pixels: above 1 images get wider, below 1 higher",
                               minimum=0.01, maximum=100)
    use_ema: bool = flag(False, "translate with the moving average of the generator's weights (training's --ema)")
    eval: bool = flag(False, "evaluation mode: batch normalisation by running statistics, no dropout, no noise of "
                       "stylegan2")
    tile: int = flag(0, "translate larger images in overlapping tiles of this side, in pixels, to save memory: a "
                     "multiple of 4 (resnet), 128 or 256 (unet), or 2 to the number of halvings (stylegan2). 0: whole "
                     "images", minimum=0, maximum=65536)
    tile_overlap: int = flag(128, "least overlap of neighbouring tiles, in pixels. At 202 (resnet_9blocks) or 154 "
                             "(resnet_6blocks) no tile's border has any influence; at 128 less than one 8-bit level",
                             minimum=0, maximum=65536)
    tile_statistics: str = flag(
        "scaled", "mean and variance of a tile's normalisation: those of the image scaled down (nearly the untiled "
        "result), exact (the untiled result, in about 12 times the time), or each tile's own",
        choices=("tile", "scaled", "exact"))
    display_winsize: int = flag(256, "width of an image on the page, in pixels", minimum=1)


def implied_scaling(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Images keep their own size, unless a typed size asks for scaling; --load_size alone is the crop's size too."""
    if "load_size" not in typed and "crop_size" not in typed:
        return {}
    return {"preprocess": "resize_and_crop", "crop_size": typed.get("load_size", DataFlags.crop_size)}


TEST = Program(
    name="test.py",
    description="Translate images with a trained generator, at their own size. With --load_size or --crop_size, "
    "--preprocess is resize_and_crop unless given; with --load_size alone, --crop_size is the same.",
    groups=(RunFlags, DataFlags, NetworkFlags, TestFlags, SpeedFlags),
    training=False,
    defaults={"model": "test", "phase": "test", "preprocess": "none", "load_size": 256, "no_flip": True,
              "serial_batches": True},
    # What the checkpoint was trained with is read from its own options file.
    inherited=("input_nc", "output_nc", "direction", "netG", "ngf", "norm", "no_dropout", "no_antialias",
               "no_antialias_up", "stylegan2_G_num_downsampling", "stylegan2_size"),
    implied=implied_scaling,
    settled=stylegan2_size,
)
