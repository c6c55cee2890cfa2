"""``evaluate.py metrics``: scores of translations against real images and true counterparts."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data import ImageDataset
from metrics.scores import METRICS
from options import DataFlags, Options, RunFlags, flag
from options.flag import comma_list, flags_of
from util.device import choose_device
from util.errors import UserError
from util.files import locked
from util.pages import link_page
from util.picture_files import save_image
from util.shown import picture
from util.state_dicts import AVERAGE
from util.terminal import with_progress

from .checkpoint_scores import load_checkpoint
from .experiments import Experiment, experiment_options
from .feature_cache import default_folder
from .feature_extractors import RESIZERS
from .flags import BatchFlags, BootstrapFlags, CheckpointFlags, LPIPSFlags, RecordFlags, VGGFlags
from .folder_scores import Folders, score_folders, score_table
from .generator_scores import images_of, real_images, settings
from .reading import PictureReader, ValueFlags
from .reports import require_place, warn, write_json
from .scoring import ScoreOptions
from .set_translator import Names, SetTranslator


@dataclass(frozen=True)
class Flags(CheckpointFlags, ValueFlags, VGGFlags, LPIPSFlags, BootstrapFlags, RecordFlags):
    """Score a folder of translations, or those of an experiment."""

    outputs: tuple[Path, ...] = flag((), "the translations; required, or --name. For several styles a folder each: "
                                     "image n is scored in style n modulo their number", several=True)
    name: str | None = flag(None, "required, or --outputs: an experiment that translates a test set (flags under "
                            "'Checkpoint' and 'Experiments'); --inputs, --real and --truth are then those of the test "
                            "set")
    real: Path | None = flag(None, "real images of the target domain; required with --outputs")
    inputs: Path | None = flag(None, "inputs of the translations, under the same names: scored too")
    truth: Path | None = flag(None, "true counterparts of the outputs, under the same names, for scores of pairs")
    paired: bool = flag(False, "the real images are the true counterparts, one for each output")
    metrics: tuple[str, ...] | None = flag(None, f"some of {','.join(METRICS)}", parse=comma_list,
                                           unset="all whose weights and counterparts are given or bundled")
    inception_weights: Path | None = flag(None, "weights of torch-fidelity's Inception, for fid, kid and "
                                          "inception_prdc", unset="downloaded once")
    resize: str = flag("clean", "resizing for Inception: antialiased, or as in 2017", choices=tuple(RESIZERS))
    cache_dir: Path | None = flag(default_folder(), "cache of features of real images and inputs; none: no cache",
                                  parse=lambda text: None if text == "none" else Path(text))


def run(flags: Flags) -> None:
    """Translate if a name is given; score, print, write."""
    _check(flags)
    if flags.name is None:
        if flags.real is None:
            raise UserError("--outputs needs --real, a folder of real images of the target domain")
        _score(flags, Folders(flags.outputs, flags.real, flags.inputs, flags.truth, flags.paired, flags.read_input,
                              flags.read_output), flags.json)
        return
    experiment = Experiment.find(flags.checkpoints_dir, flags.name)
    options = experiment_options(flags, experiment, flags.dataroot, f"--epoch={flags.epoch}")
    # Beside the folder of test.py.
    folder = flags.results_dir / flags.name / f"{flags.phase}_{flags.epoch}{AVERAGE if flags.use_ema else ''}_metrics"
    with locked(folder):
        made, translation = translate_folders(experiment, options, choose_device(flags.gpu_ids), folder, flags.real)
        read_input, read_output = readers(flags, options[DataFlags])
        folders = replace(made, inputs=flags.inputs or made.inputs, truth=flags.truth or made.truth,
                          paired=flags.paired, read_input=read_input, read_output=read_output)
        file = flags.json or folder / "metrics.json"
        _score(flags, folders, file, translation=translation)
    link_page(experiment.folder, f"metrics of {flags.phase}_{flags.epoch}", file)
    print(folder)


def readers(flags: Flags, trained: DataFlags) -> tuple[PictureReader, PictureReader]:
    """Return the readers of inputs and of other files: by the ranges and bands of the training, unless typed.

    They read translated pictures too, which have 8 bits and no range.
    """
    bands = flags.rgb_bands or trained.rgb_bands
    of_input, of_output = trained.ranges
    return (flags.read_input._replace(value_range=flags.range_A or of_input, bands=bands),
            flags.read_output._replace(value_range=flags.range_B or of_output, bands=bands))


def _score(flags: Flags, folders: Folders, file: Path | None, **recorded: Any) -> None:
    """Score folders, print a table, and write a file if there is a place for it."""
    scores = score_folders(folders, ScoreOptions(
        metrics=flags.metrics, layer=flags.layer, vgg_weights=flags.vgg_weights, resize=flags.resize,
        inception_weights=flags.inception_weights, lpips_net=flags.lpips_net, lpips_weights=flags.lpips_weights,
        device=choose_device(flags.gpu_ids), batch_size=flags.batch_size, bootstrap=flags.bootstrap, seed=flags.seed,
        cache=flags.cache_dir), dict(flags.record) | recorded)
    print(score_table(scores))
    for warning in scores["warnings"]:
        warn(warning)
    if file:
        write_json(file, scores)


def _check(flags: Flags) -> None:
    """Refuse contradictory flags, and a file that cannot be written."""
    if bool(flags.outputs) == (flags.name is not None):
        raise UserError("metrics needs either --outputs, folders of translations, or --name, an experiment")
    typed = [f.name for f in flags_of(CheckpointFlags)
             if f not in flags_of(BatchFlags) and getattr(flags, f.name) != f.default]
    if flags.outputs and typed:
        raise UserError(f"--{typed[0]} is about making translations: it needs --name, not --outputs")
    if flags.name and "translation" in dict(flags.record):
        raise UserError("--record translation=... would replace a result of that name; choose another key")
    if flags.json:
        require_place(flags.json)


def translate_folders(
    experiment: Experiment, options: Options, device: torch.device, folder: Path, given: Path | None
) -> tuple[Folders, dict[str, Any]]:
    """Translate the test set into ``folder/images``, and write real images beside it unless some are ``given``.

    Images of an earlier run are removed.

    Returns:
        The folders, and how they were made, for the JSON file.

    Raises:
        UserError: the checkpoint or the test set is missing or damaged, or there are no real images.
    """
    translator, tag = SetTranslator(options, device), options[RunFlags].epoch
    digests = load_checkpoint(experiment, tag, translator)
    real, entry = translator.dataset, "B"
    if given is None:  # before the work: they may be missing
        try:
            real, entry = real_images(options, translator.dataset)
        except UserError as error:
            raise UserError(f"{error}; or name other real images with --real") from None
    images = folder / "images"
    if images.exists():
        shutil.rmtree(images)
    labels: set[str] = set()
    for _, files in with_progress(translator.save(translator.translations(), folder), "images translated",
                                  translator.total):
        labels.update(files)
    truth = images / "real_B" if "real_B" in labels else None
    if real is not translator.dataset:
        save_all(real, entry, images / "real", translator.bands)
    everything = options.as_dict()
    folders = Folders([images / min(label for label in labels if label.startswith("fake_B"))],
                      real=given or truth or images / "real", inputs=images / "real_A", truth=truth)
    return folders, {"experiment": experiment.name, "checkpoint": tag, "sha256": digests, **experiment.progress(tag),
                     **{name: everything[name] for name in ("dataroot", "phase", "use_ema")}, **settings(options)}


def save_all(dataset: ImageDataset, entry: str, folder: Path, bands: Sequence[int]) -> None:
    """Write pictures of the images of a data set, scaled as it scales them."""
    names = Names(dataset.root)
    for number, image in enumerate(with_progress(images_of(dataset, entry, len(dataset)), "real images", len(dataset))):
        save_image(picture(image, bands), folder / f"{names.of(str(dataset.files(number)[0]))}.png")
