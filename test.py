"""Translate images with a trained generator.

    python test.py --dataroot datasets/lineart2color --name colours --model sc          # a test set
    python test.py --dataroot my/pictures --name colours                                # a folder, or one file

Images keep their own size and name; results/NAME/PHASE_EPOCH/index.html shows them. The architecture is read from
the experiment's own options file.
"""

import importlib.util
from pathlib import Path

from data import DATASETS, band_notes
from evaluation.reports import warn
from evaluation.set_translator import SetTranslator
from models import MODELS
from models.building import is_reversed
from options import TEST, DataFlags, NetworkFlags, Options, RunFlags, TestFlags, parse
from util.device import choose_device
from util.errors import UserError, run_program
from util.files import locked, move_aside
from util.outputs import OutputFormat
from util.pages import write_results_page
from util.terminal import TerminalSink
from util.words import counted

REPORT_EVERY = 100  # images between two lines of progress
LABELS = {"real_A": "input", "fake_B": "output", "real_B": "truth"}


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
        if any(path.is_file() for path in folder.glob("images/*/**/*")):  # typed twice, it must not cost its result
            print(f"the earlier results are now in {move_aside(folder)}")
        options.save(folder, "test_opt")
        print("\n".join([options.as_text(changed_only=not run.verbose), *band_notes(options)]))
        save(translator, folder, f"{run.name}, {phase}, {run.tag}{half}", flags, output)


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


def save(translator: SetTranslator, folder: Path, title: str, flags: TestFlags, output: OutputFormat) -> None:
    """Write the translations, and a page of them, into ``folder``.

    Raises:
        UserError: some images cannot be read; the others are translated.
    """
    if not (has_page := importlib.util.find_spec("dominate") is not None):
        warn("no results page: the package dominate is not installed (pip install dominate)")
    progress = TerminalSink(translator.total)
    rows: list[tuple[str, dict[str, str]]] = []
    unreadable: list[str] = []

    def leave_out(reason: str) -> None:
        progress.message(f"warning: {reason}")
        progress.advance(1)
        unreadable.append(reason)

    translator.loader.leave_out = leave_out
    translator.loader.warn = lambda text: progress.message(f"warning: {text}")
    for name, files in translator.save(translator.translations(), folder, output, flags.aspect_ratio):
        rows.append((name, {caption(label): file for label, file in files.items()}))
        progress.advance(1)
        if progress.seen % REPORT_EVERY == 0:
            progress.scalars(progress.seen, {})
    progress.close()
    if has_page:
        write_results_page(folder / "index.html", title, rows, flags.display_winsize)
    where = folder / ("index.html" if has_page else "images")
    print(f"{translator.total - len(unreadable)} of {counted(len(translator.loader), 'image')} translated: {where}")
    if not output.is_picture:
        print(f"values, {output.describe()}: {folder / 'outputs'}")
    if unreadable:
        raise UserError(f"images left out, since they cannot be read: {len(unreadable)}; the first: {unreadable[0]}")


def caption(label: str) -> str:
    """Return the caption of an image on the page: ``output 2`` for ``fake_B_2``."""
    return LABELS.get(label, label.replace("fake_B_", "output "))


if __name__ == "__main__":
    run_program("test.py", main)
