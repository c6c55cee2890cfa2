"""A whole training: build everything that the options describe, train, and say how it ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

from data import DATASETS, ImageDataset, Loader, SampleKey, band_notes, collate, finish, keep_in_memory, survey
from data.sampler import spread
from models import MODELS, Model
from models.building import discriminator_notes
from models.precision import prepare
from options import (
    TRAIN,
    DataFlags,
    DisplayFlags,
    LoadingFlags,
    Options,
    RunFlags,
    SpeedFlags,
    TrainFlags,
    has_crop,
    recorded_flags,
)
from util.device import choose_device
from util.distributed import ALONE, World, joined
from util.errors import UserError
from util.files import locked, remove_leftovers
from util.hub_folders import is_hub_folder
from util.loggers import Sink
from util.loggers.registry import open_loggers
from util.loggers.sink import LoggedRun, reason
from util.signals import ASKED, Signals
from util.starts import FILE as STARTS
from util.starts import record_start
from util.state_dicts import state_path
from util.terminal import MessageSink, TerminalSink
from util.words import counted

from .checkpoints import read_state, refusing_foreign_state
from .evaluation import Evaluation
from .initial import read_weights, start_from
from .loop import loop, warning
from .report import OnReport, ReportSink
from .run import OPTIONS, Progress, Run, continue_with, make_room
from .schedulers import create_scheduler
from .step import TrainingStep, build_step

STUDIED = 64  # samples that a model may look at before its first step


def train(options: Options, on_report: OnReport | None = None) -> int:
    """Run the training that the options describe, from its start or from a checkpoint.

    Args:
        options: of ``train.py``.
        on_report: see `training.train`.

    Returns:
        The exit code: 0 at its end, that of the signal if one has stopped it, `ASKED` if ``on_report`` has.
    """
    if is_hub_folder(folder := options[RunFlags].folder):
        raise UserError(f"{folder} holds a generator to share, not a training: choose another --name, and --init_from "
                        f"{folder} to start from its weights")
    world = World.of_environment()
    device = choose_device(options[RunFlags].gpu_ids, world)
    held = locked(folder) if world.is_first else nullcontext()
    with Signals(world) as signals, joined(world, device), held:
        train_in(world, device, options, signals, on_report)
    return signals.code


def train_in(
    world: World, device: torch.device, options: Options, signals: Signals, on_report: OnReport | None = None
) -> None:
    """Build everything, train, and say how it ended, in one of the processes."""
    general, flags = options[RunFlags], options[TrainFlags]
    folder, tag = general.folder, general.tag
    state, weights = (read_state(folder, tag), None) if flags.continue_train else (None, read_weights(options, world))
    last_epoch = flags.n_epochs + flags.n_epochs_decay
    if state is None and last_epoch < flags.epoch_count:
        raise UserError(f"--n_epochs {flags.n_epochs} and --n_epochs_decay {flags.n_epochs_decay} leave nothing to "
                        f"train from --epoch_count {flags.epoch_count} on; raise them")
    changes: dict[str, str] = {}
    if state is not None:
        with refusing_foreign_state(state_path(folder, tag)):
            options, changes = continue_with(options, state)
    general, flags = options[RunFlags], options[TrainFlags]
    seed = world.same(torch.seed() % 2**32 if general.seed is None else general.seed)
    torch.manual_seed(seed)
    options = options.replacing({"seed": seed})  # a drawn one is recorded

    dataset, loader, found = load_images(options, seed, device, world)
    model, step = build(options, device, world)
    model.study(finish(collate([dataset[SampleKey(item, item)]])) for item in spread(STUDIED, len(dataset)))
    if not has_crop(options[DataFlags].preprocess):
        torch.backends.cudnn.benchmark = False  # images of many sizes: each would start a search for algorithms
    schedulers = {name: create_scheduler(optimizer, flags) for name, optimizer in model.optimizers.items()}
    run = Run(options, folder, flags.epoch_count, model, schedulers, Progress(flags.epoch_count), world,
              Evaluation(options, model, device, folder, world),
              data=world.same(dataset.fingerprint() if world.is_first else None))
    notes = start_from(model, weights)
    if weights and flags.identity_first:
        notes.append(f"--identity_first {flags.identity_first} first teaches the generators of --init_from to return "
                     "their input, and they forget their translations: leave it out to train them further")
    notes += run.resume(tag, state, changes) if flags.continue_train else make_room(folder, world)
    del state, weights  # copied into the model

    start = run.progress
    if start.images_in_epoch > len(loader):
        raise UserError(f"--dataroot: the checkpoint stopped at image {start.images_in_epoch} of an epoch, but now an "
                        f"epoch has {len(loader)}; continue with the images and --max_dataset_size of its training")
    total = start.images - start.images_in_epoch + max(0, last_epoch - start.epoch + 1) * len(loader)
    total = min(total, flags.max_iters or total)
    lines = [f"note: {note}" for note in [*found, *notes]]
    if run.is_finished(total, len(loader)):
        if "epoch_count" in changes:
            raise UserError(f"{changes['epoch_count']}, and {nothing_left(run)}")
        if world.is_first:
            MessageSink().message("\n".join([*lines, nothing_left(run)]))
        return
    lines += describe(run, step, device, len(loader))
    reports = ReportSink(on_report, run, total, signals)
    sinks = [*open_sinks(run, total, len(loader), device, lines), reports] if world.is_first else []
    if step.graphs:
        step.graphs.warn = warning(sinks)
    with closing(sinks, signals), signals.held():
        loop(run, step, loader, device, sinks, total=total, signals=signals)
    reports.raise_error()
    if world.is_first:
        MessageSink().message(ending(run, total, signals.code))


def load_images(
    options: Options, seed: int, device: torch.device, world: World
) -> tuple[ImageDataset, Loader, list[str]]:
    """Open the data set and its loader; return also notes about the images for the user."""
    data, loading = options[DataFlags], options[LoadingFlags]
    dataset = DATASETS[data.dataset_mode](options, training=True)
    found = [*dataset.notes, *survey(dataset)]
    if loading.cache == "ram":
        keep_in_memory(dataset, TerminalSink(dataset.items) if world.is_first else Sink())
    loader = Loader(dataset, batch_size=data.batch_size, num_workers=data.num_threads, seed=seed,
                    shuffle=not data.serial_batches, pin_memory=device.type == "cuda",
                    finished=loading.finished_by_workers(device.type), rank=world.rank, world_size=world.size)
    return dataset, loader, found


@contextmanager
def closing(sinks: Sequence[Sink], signals: Signals) -> Iterator[None]:
    """Tell the loggers at the end of the block how the training ended, and close them."""
    outcome = "finished"
    try:
        yield
        if signals.code:
            outcome = f"stopped by {stopped_by(signals.code)}; --continue_train goes on"
    except BaseException as error:
        outcome = f"stopped by an error: {reason(error)}"
        raise
    finally:
        for sink in sinks:
            sink.ended(outcome)
            sink.close()


def build(options: Options, device: torch.device, world: World = ALONE) -> tuple[Model, TrainingStep]:
    """Build the model on its device, and its training step."""
    model = MODELS[options[RunFlags].model](options, training=True)
    prepare(model, device, options[SpeedFlags])
    return model, build_step(model, device, options, world)


def nothing_left(run: Run) -> str:
    """Write a sentence for the user who continues a finished training."""
    return (f"nothing is left to train after {counted(run.progress.images, 'image')}: raise --n_epochs, "
            "--n_epochs_decay or --max_iters to go on. To fine-tune the networks on a new schedule, start another "
            f"--name with --init_from {run.options[RunFlags].name}")


def ending(run: Run, total: int, code: int) -> str:
    """Write a sentence about the end of a training of ``total`` images; ``code`` is that of its stop."""
    if not code:
        return f"done: {counted(run.progress.images, 'image')} seen; everything is in {run.folder}"
    return (f"stopped by {stopped_by(code)} after {run.progress.images} of {counted(total, 'image')}; --continue_train "
            "goes on")


def stopped_by(code: int) -> str:
    """Name the cause of a stop with this exit code."""
    return "on_report" if code == ASKED else "a signal"


def open_sinks(run: Run, total: int, epoch: int, device: torch.device, lines: Sequence[str]) -> list[Sink]:
    """Record the start, open the loggers, and show ``lines``; a logger that cannot run is left out with a warning.

    ``total`` and ``epoch`` are the numbers of images at the end of the training and in an epoch.
    """
    remove_leftovers(run.folder)
    before = recorded_flags(run.folder)
    run.options.save(run.folder, OPTIONS)
    general, warnings = run.options[RunFlags], []
    try:
        changed = None if before is None else [*run.options.changes_since(before).values()]
        record_start(run.folder, [TRAIN.name, *run.options.argv], changed, device, processes=run.world.size,
                     seed=general.seed, images=run.progress.images)
    except OSError as error:
        warnings.append(f"{run.folder / STARTS} cannot be written ({error.strerror}); the training goes on without it")
    facts = {"data": f"{run.options[DataFlags].dataroot}, {counted(run.data['files'], 'file')}",
             "device": f"{device}{together(run)}"}
    logged = LoggedRun(run.folder, general.name, total, run.progress.images, run.options.as_dict(),
                       run.options.changed(), facts, epoch)
    text = run.options.as_text(changed_only=not general.verbose)
    sinks = open_loggers(run.options[DisplayFlags].chosen(), logged, [text, *lines])
    for sentence in warnings:
        warning(sinks)(sentence)
    return sinks


def describe(run: Run, step: TrainingStep, device: torch.device, images: int) -> list[str]:
    """Summarise the run."""
    lines = []
    for name, network in run.model.networks.items():
        parameters = sum(p.numel() for p in network.parameters())
        frozen = sum(p.numel() for p in network.parameters() if p in step.frozen)
        lines.append(f"network {name}: {type(network).__name__}, {parameters / 1e6:.3f} M parameters"
                     + f", {frozen / 1e6:.3f} M of them frozen" * bool(frozen))
        if run.options[RunFlags].verbose:
            lines.append(str(network))
    graphs = ", steps as CUDA graphs" if step.graphs else ""
    lines.append(f"device {device}{together(run)}{graphs}, seed {run.options[RunFlags].seed}, "
                 f"{counted(images, 'image')} an epoch, from image {run.progress.images}")
    return lines + band_notes(run.options) + discriminator_notes(run.options)


def together(run: Run) -> str:
    """Say how many processes train; nothing for a single one."""
    return f" in each of {run.world.size} processes" if run.world.size > 1 else ""
