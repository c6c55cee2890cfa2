"""Translate images with a trained generator.

    python test.py --dataroot datasets/lineart2color --name colours --model sc          # a test set
    python test.py --dataroot my/pictures --name colours                                # a folder, or one file

Images keep their own size and name; results/NAME/PHASE_EPOCH/index.html shows them. A single file
is added to the page of the same checkpoint. The architecture is read from the experiment's own options file.
"""

from pathlib import Path
from typing import Any

from data import DATASETS, band_notes
from evaluation.image_scores import ImageScorer
from evaluation.reports import warn
from evaluation.results_page import Results
from evaluation.set_translator import SetTranslator
from evaluation.truths import find_truths
from models import MODELS
from models.building import is_reversed
from options import TEST, DataFlags, NetworkFlags, Options, RunFlags, TestFlags, parse
from options.flag import show
from util.device import choose_device
from util.errors import UserError, run_program
from util.files import locked, move_aside, sha256
from util.outputs import OutputFormat
from util.state_dicts import weights_path
from util.terminal import TerminalSink
from util.words import counted

REPORT_EVERY = 100  # images between two lines of progress
CONDITIONS = ("preprocess", "load_size", "crop_size", "direction", "input_nc", "output_nc", "rgb_bands", "eval", "seed",
            "n_styles", "range_A", "range_B", "output_format", "output_bits", "aspect_ratio", "tile",
            "tile_overlap", "tile_statistics", "amp", "pages", "mask_A")
"""Flags that the results depend on."""


def main() -> None:
    translate(parse(TEST, MODELS, DATASETS))


def translate(options: Options) -> None:
    """Translate the images that the options name, and show them on a page."""
    run, flags, output = options[RunFlags], options[TestFlags], output_format(options)
    translator = SetTranslator(options, choose_device(run.gpu_ids))
    translator.load(run.folder, run.tag)
    if translator.tiling and options[NetworkFlags].netG.startswith("unet"):
        warn("a U-Net looks at the whole image at once: its tiles differ from the untiled result")
    if translator.batch_size < (typed := options[DataFlags].batch_size):
        warn(f"--batch_size {typed}: images go one by one, since batch normalisation would mix the statistics of "
             "neighbours; with --eval it takes those of the training, and images go together")

    phase = options[DataFlags].phase
    half = options.as_dict().get("model_suffix", "") or ("_B" if is_reversed(options) else "")  # of a CycleGAN
    folder = Path(flags.results_dir) / run.name / f"{phase}_{run.tag}{half}"
    with locked(folder):
        results = Results(folder, conditions(options, translator))
        if adding := Path(options[DataFlags].dataroot).is_file() and results.read_earlier():
            print(f"the image is added to the page of {counted(len(results.images), 'earlier result')}")
        elif any(path.is_file() for path in folder.glob("images/*/**/*")):  # typed twice
            print(f"the earlier results are now in {move_aside(folder)}")
        if not adding:
            options.save(folder, "test_opt")
        notes = [f"note: {note}" for note in translator.dataset.notes]
        notes += [f"note: {note}" for note in output.notes(options[DataFlags].output_nc)]
        print("\n".join([options.as_text(changed_only=not run.verbose), *band_notes(options), *notes]))
        save(translator, results, options, f"{run.name}, {phase}, {run.tag}{half}", output, adding=adding)


def output_format(options: Options) -> OutputFormat:
    """Return the format of the translations.

    Raises:
        UserError: it cannot hold the values of --range_B, or pixels that are not square.
    """
    flags, data = options[TestFlags], options[DataFlags]
    _, value_range = data.ranges
    floats = value_range is not None and flags.output_format in ("tiff", "npy")
    output = OutputFormat(flags.output_format, flags.output_bits or (32 if floats else 8), value_range, data.rgb_bands)
    if flags.aspect_ratio != 1 and not output.is_picture:
        raise UserError(f"--aspect_ratio {flags.aspect_ratio:g} scales pictures: leave it out, or choose "
                        "--output_format png with 8 bits")
    return output


def conditions(options: Options, translator: SetTranslator) -> dict[str, Any]:
    """List the conditions of the translations, except their inputs."""
    everything, run = options.as_dict(), options[RunFlags]
    return {"sha256": {name: sha256(weights_path(run.folder, run.tag, name)) for name in translator.networks},
            **{name: show(everything[name]) for name in CONDITIONS if name in everything}}


def save(
    translator: SetTranslator, results: Results, options: Options, title: str, output: OutputFormat, *, adding: bool
) -> None:
    """Write the translations, and a page of them.

    Raises:
        UserError: some images cannot be read; the others are translated.
    """
    flags = options[TestFlags]
    progress = TerminalSink(translator.total)
    unreadable: list[str] = []

    def leave_out(reason: str) -> None:
        progress.message(f"warning: {reason}")
        progress.advance(1)
        unreadable.append(reason)

    def show_warning(text: str) -> None:
        progress.message(f"warning: {text}")

    translator.loader.leave_out, translator.loader.warn = leave_out, show_warning
    translations = translator.translations()
    if truths := find_truths(options, translator.dataset.root, flags.truth, show_warning):
        translations = truths.added_to(translations)
    scorer = None if flags.scores == "none" else ImageScorer(
        structure=flags.scores == "all", device=translator.device, bands=options[DataFlags].rgb_bands)
    saved = translator.save(translations, results.folder, output, flags.aspect_ratio, results.names())
    for translated, files in saved:
        scores = scorer.scores(translated.images) if scorer else {}
        path = str(Path(translated.path).absolute())
        if path in results.images:
            show_warning(f"the earlier result of {path} is replaced")
        results.add(path, files, scores, flags.display_winsize, first=adding)
        progress.advance(1)
        if progress.seen % REPORT_EVERY == 0:
            progress.scalars(progress.seen, {})
    progress.close()
    page = results.write(title, flags.display_winsize, options[RunFlags].folder)
    print(f"{translator.total - len(unreadable)} of {counted(len(translator.loader), 'image')} translated: {page}")
    if not output.is_picture:
        print(f"values, {output.describe()}: {results.folder / 'outputs'}")
    if unreadable:
        raise UserError(f"images left out, since they cannot be read: {len(unreadable)}; the first: {unreadable[0]}")


if __name__ == "__main__":
    run_program("test.py", main)
