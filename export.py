"""Write a trained generator as ONNX, as a file of torch.export, or as a folder to share.

    python export.py --name colours                                  # checkpoints/colours/latest_net_G.onnx
    python export.py --name colours --uint8 --format pt2 --output colours.pt2
    python export.py --name colours --format hub --license mit       # hub/colours, with a model card

What was written is run and compared with test.py before it takes its place.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from data import DATASETS
from evaluation.hub_export import export_hub_folder
from inference import Translator
from models import MODELS, Model
from models.exporting import FORMATS, Translation, largest_difference
from models.sb import BridgeModel
from models.styles import StyledModel
from options import EXPORT, DataFlags, ExportFlags, FlagOwner, Options, RunFlags, parse
from util.errors import UserError, run_program
from util.files import replacing
from util.state_dicts import weights_path

MOST = {False: 1e-4, True: 0.02}
"""The difference that an export may have: of values in [-1, 1], and with --uint8 of levels of 0 to 255."""
AS_EXPORTED = {"eval": True, "tile": 0, "amp": "no", "compile": False, "channels_last": False}
"""Flags of test.py that an export does not follow."""


def main() -> None:
    export(parse(EXPORT, MODELS, dict.fromkeys(DATASETS, FlagOwner)))  # without flags of images


def export(options: Options) -> None:
    """Write the generator that the options name.

    Raises:
        UserError: there is no such checkpoint, a package is missing, the output's name is of another format, or what
            was written computes something else.
    """
    run = options[RunFlags]
    options = options.replacing(AS_EXPORTED)
    translator = Translator(options, torch.device("cpu"))
    translator.load(run.folder, run.tag)
    print("\n".join([*options.notes, f"from {weights_path(run.folder, run.tag, next(iter(translator.networks)))}"]))
    if options[ExportFlags].format == "hub":
        export_hub_folder(options, translator)
    else:
        export_file(options, translator)


def export_file(options: Options, translator: Translator) -> None:
    """Write the generator as a file for another program.

    Raises:
        UserError: see `export`.
    """
    flags, data, run = options[ExportFlags], options[DataFlags], options[RunFlags]
    checkpoint = weights_path(run.folder, run.tag, next(iter(translator.networks)))
    path = Path(flags.output) if flags.output else checkpoint.with_suffix(f".{flags.format}")
    model = translator.model
    if isinstance(model, BridgeModel):
        raise UserError("--model sb translates in several steps, and a file would hold one of them: use --format hub")
    translation = Translation(next(iter(model.networks.values())), *styles(model), uint8=flags.uint8)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporters have to say about versions to come
        run_file = FORMATS[flags.format](translation, data.input_nc, temporary)
        difference = largest_difference(run_file, model.translate, translation, data.input_nc)
        unit = "levels beyond rounding" if flags.uint8 else "in [-1, 1]"
        print(f"largest difference from test.py --eval, over two sizes: {difference:.2g} {unit}")
        if not difference <= MOST[flags.uint8]:
            raise UserError(f"{path} was not written: it would differ from test.py by {difference:.2g} {unit}, and "
                            f"{MOST[flags.uint8]} is the most; try the other --format, or another version of torch")
    images = "[B, H, W, {}] of uint8" if flags.uint8 else "[B, {}, H, W] of float32 in [-1, 1]"
    print(f"{path}: {images.format(data.input_nc)} -> {images.format(data.output_nc)}; any batch, any sides from "
          f"{translation.least_side} pixels")
    for name, of in zip(("input", "output"), data.ranges, strict=True):
        if of:
            print(f"{'0 and 255' if flags.uint8 else '-1 and 1'} of the {name} stand for the values {of[0]:.9g} and "
                  f"{of[1]:.9g}")


def styles(model: Model) -> list[Tensor]:
    """Return the generator's inputs beside images: for munit and munit_sc the style, of which an export has one."""
    return list(model.styles.values())[:1] if isinstance(model, StyledModel) else []


if __name__ == "__main__":
    run_program("export.py", main)
