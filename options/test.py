"""Flags of ``test.py``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .common import DataFlags, NetworkFlags, RunFlags, SpeedFlags
from .flag import count_or_all, flag
from .precedence import Program


def bit_count(text: str) -> int:
    """Convert ``8``, ``16`` or ``32``."""
    if text.strip() not in ("8", "16", "32"):
        raise ValueError(f"'{text}' is not 8, 16 or 32")
    return int(text)


@dataclass(frozen=True)
class TestFlags:
    """Translated images and results."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    results_dir: str = flag("./results/", "results go to results_dir/name/phase_epoch, then --model_suffix")
    num_test: int | None = flag(  # the published test scripts type 0 for all
        50, "translate at most this many images; inf, 0 or -1: all", unset="inf",
        parse=lambda text: None if text.strip() == "0" else count_or_all(text))
    aspect_ratio: float = flag(1.0, "width to height of saved pixels; above 1 widens images, below 1 heightens them",
                               minimum=0.01, maximum=100)
    output_format: str = flag("png", "format of the translations. Files of 8 bits in png, jpg and webp are pictures; "
                              "others hold the values of --range_B, with all channels in tiff and npy",
                              choices=("png", "jpg", "webp", "tiff", "npy"))
    output_bits: int | None = flag(None, "bits of a value; 32: floats", parse=bit_count, metavar="{8,16,32}",
                                   unset="8, or 32 with --range_B in tiff and npy")
    use_ema: bool = flag(False, "translate with the moving average of the generator's weights (--ema of the training)")
    eval: bool = flag(False, "evaluation mode: batch normalisation by running statistics, no dropout, no noise of "
                      "stylegan2")
    tile: int = flag(0, "translate larger images in overlapping tiles of this side, in pixels, to save memory: a "
                     "multiple of 4 (resnet), 128 or 256 (unet), or 2 to the number of halvings (stylegan2). 0: whole "
                     "images", minimum=0, maximum=65536)
    tile_overlap: int = flag(128, "least overlap of neighbouring tiles, in pixels. Borders of tiles have no influence "
                             "from 202 (resnet_9blocks) or 154 (resnet_6blocks) on, and less than one 8-bit level at "
                             "128", minimum=0, maximum=65536)
    tile_statistics: str = flag(
        "scaled", "mean and variance that normalise a tile: those of the image scaled down (nearly the untiled "
        "result), exact (the untiled result, in about 12 times the time), or those of the tile",
        choices=("tile", "scaled", "exact"))
    truth: str = flag("auto", "folder of true counterparts, found by the names of the images, for the page and its "
                      "scores. auto: testB beside testA, say; none")
    scores: str = flag("all", "scores of each image on the page: all; cheap, without the structure error, which needs "
                       "VGG16; none", choices=("all", "cheap", "none"))
    display_winsize: int = flag(256, "width of an image on the page, in pixels", minimum=1)


class TestProgram(Program):
    """``test.py``."""

    __test__ = False
    name = "test.py"
    description = ("Translate images with a trained generator, at their own size. With --load_size or --crop_size, "
                   "--preprocess is resize_and_crop unless given; with --load_size alone, --crop_size is the same.")
    training = False
    flags: ClassVar[tuple[type, ...]] = (RunFlags, DataFlags, NetworkFlags, TestFlags, SpeedFlags)
    inherited = (
        "input_nc", "output_nc", "rgb_bands", "range_A", "range_B", "pages", "mask_A", "direction", "netG", "ngf",
        "norm", "no_dropout", "no_antialias", "no_antialias_up", "stylegan2_G_num_downsampling", "stylegan2_size")

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        return {"model": "test", "phase": "test", "preprocess": "none", "load_size": 256, "no_flip": True,
                "serial_batches": True}

    @classmethod
    def implied(cls, typed: Mapping[str, Any]) -> Mapping[str, Any]:
        if "load_size" not in typed and "crop_size" not in typed:
            return {}
        return {"preprocess": "resize_and_crop", "crop_size": typed.get("load_size", DataFlags.crop_size)}


TEST = TestProgram()
