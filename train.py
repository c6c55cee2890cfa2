"""Train a model for unpaired image translation.

    python train.py --dataroot datasets/lineart2color --name colours --model sc --learned_attn --augment

Everything of the run is in checkpoints/NAME: options, losses, sample page, checkpoints. ``--continue_train`` goes
on where it stopped, to the same weights as a run that never did. SIGTERM, SIGINT (Ctrl-C), SIGHUP and SIGUSR1 save
first.
On several devices, each with its own batches:

    torchrun --nproc_per_node=8 train.py ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice

import torch

from data import DATASETS, Batch, Loader, LoadingError, Waiting, finish, keep_in_memory
from models import MODELS, Model
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
    parse,
)
from training.checkpoints import read_state, refusing_foreign_state
from training.evaluation import Evaluation
from training.monitor import Monitor
from training.run import Progress, Run, build_schedulers, continue_with, folder_of, make_room
from training.step import TrainingStep, build_step
from training.vitals import Vitals
from util.device import choose_device, to_device
from util.distributed import World, joined
from util.errors import UserError, run_program
from util.files import locked, remove_leftovers
from util.loggers import Sink
from util.loggers.registry import LoggedRun, open_loggers
from util.loggers.sink import reason
from util.signals import Signals
from util.state_dicts import state_path
from util.terminal import TerminalSink
from util.words import counted


def main() -> None:
    sys.exit(train(parse(TRAIN, MODELS, DATASETS)))


def train(options: Options) -> int:
    """Run the training that the options describe, from its start or from a checkpoint.

    Returns:
        The exit code: 0 at its end, that of the signal where one has stopped it.
    """
    world = World.of_environment()
    device = choose_device(options[RunFlags].gpu_ids, world)
    held = locked(folder_of(options)) if world.is_first else nullcontext()
    with Signals(world) as signals, joined(world, device), held:
        train_in(world, device, options, signals)
    return signals.code


def train_in(world: World, device: torch.device, options: Options, signals: Signals) -> None:
    """This process's part of the training."""
    general, data, flags = options[RunFlags], options[DataFlags], options[TrainFlags]
    loading = options[LoadingFlags]
    folder = folder_of(options)
    tag = f"iter_{general.load_iter}" if general.load_iter else general.epoch
    state = read_state(folder, tag) if flags.continue_train else None
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
    options = options.having(replace(general, seed=seed))  # a drawn one is recorded

    dataset = DATASETS[data.dataset_mode](options, training=True)
    if loading.cache == "ram":
        keep_in_memory(dataset, TerminalSink(dataset.items) if world.is_first else Sink())
    loader = Loader(dataset, batch_size=data.batch_size, num_workers=data.num_threads, seed=seed,
                    shuffle=not data.serial_batches, pin_memory=device.type == "cuda",
                    finished=loading.finished_by_workers(device.type), rank=world.rank, world_size=world.size)
    model = MODELS[general.model](options, training=True)
    prepare(model, device, options[SpeedFlags])
    step = build_step(model, device, options, world)
    if not has_crop(data.preprocess):
        torch.backends.cudnn.benchmark = False  # images of many sizes: each would start a search for algorithms
    run = Run(options, folder, flags.epoch_count, model, build_schedulers(model, flags, flags.epoch_count),
              Progress(flags.epoch_count), world, Evaluation(options, model, device, folder, world),
              data=world.same(dataset.fingerprint() if world.is_first else None))
    notes = run.resume(tag, state, changes) if flags.continue_train else make_room(folder, world)

    start = run.progress
    if start.images_in_epoch > len(loader):
        raise UserError(f"--dataroot: the checkpoint stopped at image {start.images_in_epoch} of an epoch, but now an "
                        f"epoch has {len(loader)}; continue with the images and --max_dataset_size of its training")
    total = start.images - start.images_in_epoch + max(0, last_epoch - start.epoch + 1) * len(loader)
    total = min(total, flags.max_iters or total)
    lines = [f"note: {note}" for note in notes]
    if run.is_finished(total, len(loader)):
        if "epoch_count" in changes:
            raise UserError(f"{changes['epoch_count']}, and {nothing_left(run)}")
        if world.is_first:
            print("\n".join([*lines, nothing_left(run)]))
        return
    lines += describe(run, device, len(loader))
    sinks = open_sinks(run, total, lines) if world.is_first else []
    try:
        with signals.held():
            loop(run, step, loader, device, sinks, total=total, signals=signals)
    finally:
        for sink in sinks:
            sink.close()
    if world.is_first:
        print(f"stopped by a signal after {run.progress.images} of {counted(total, 'image')}; --continue_train goes on"
              if signals.code else f"done: {counted(run.progress.images, 'image')} seen; everything is in {folder}")


def loop(
    run: Run, step: TrainingStep, loader: Loader, device: torch.device, sinks: Sequence[Sink], *, total: int,
    signals: Signals
) -> None:
    """Train until ``total`` images have been seen or a signal stops it, and save.

    Frequencies are in images, whatever the batch size. What they leave unreported at the end is reported then; after a
    signal, the resumed run does it.
    """
    model, progress, display = run.model, run.progress, run.options[DisplayFlags]
    waiting, start, shown = Waiting(), progress.images, progress.images
    vitals = Vitals(model.networks, model.optimizers, device, start)
    loader.warn = run.warn = warning(sinks)
    loader.stopped = lambda: run.world.size == 1 and signals.received  # several processes stop after the same step
    monitor = build_monitor(run, loader.warn)
    evaluate = partial(run.evaluation.after, sinks=sinks, stopped=lambda: signals.received)
    evaluate(progress.images, progress.epoch, final=progress.images >= total)  # what a signal has put off
    # A run that was killed at the end of an epoch has its last images, but may not have its save by number.
    while (progress.images < total or progress.images_in_epoch == len(loader)) and not signals.code:
        batches = waiting.over(loader.epoch(progress.epoch, skip=progress.images_in_epoch))
        for group in saved_first(groups(batches, run.options[TrainFlags].grad_accum), run, monitor, signals):
            finished = [finish(to_device(batch, device)) for batch in group]
            monitor.before(device)
            step_losses = step(finished)
            run.losses.add(step_losses, step.left_out)
            run.epoch_losses.add({"G": step_losses["G"]}, step.left_out)

            before, seen = progress.images, progress.count(group, loader)
            monitor.after(seen, finished, step_losses, step.scale(), step.left_out)
            for sink in sinks:
                sink.advance(seen - before)
            if seen // display.print_freq > before // display.print_freq:
                report(run, sinks, waiting, vitals)
            if seen // display.display_freq > before // display.display_freq:
                shown = show_samples(sinks, seen, model)
            evaluate(seen, progress.epoch, final=seen >= total)  # before a save that shall know of it
            if seen // display.save_latest_freq > before // display.save_latest_freq:
                monitor.settle()
                run.save(also=f"iter_{seen}" if display.save_by_iter else None)
            if seen >= total or signals.agreed():
                break
        if progress.images_in_epoch >= len(loader):
            run.end_epoch()
            if (progress.epoch - 1) % display.save_epoch_freq == 0:
                monitor.settle()
                run.save(also=str(progress.epoch - 1))
    monitor.settle()
    if not run.is_saved():
        run.save()
    if start < progress.images and not signals.code:
        report(run, sinks, waiting, vitals)
    if shown < progress.images and not signals.code:
        show_samples(sinks, progress.images, model)


def nothing_left(run: Run) -> str:
    """What to tell whoever continues a training that has come to its end."""
    return (f"nothing is left to train after {counted(run.progress.images, 'image')}: raise --n_epochs, "
            "--n_epochs_decay or --max_iters to go on. To fine-tune the networks on a new schedule, copy "
            f"{run.folder / 'latest_net_*.pth'} into the folder of another --name, and continue that one")


def warning(sinks: Sequence[Sink]) -> Callable[[str], None]:
    """What tells the user; of several processes only the first one has sinks."""
    def warn(text: str) -> None:
        for sink in sinks:
            sink.message(f"warning: {text}")
        if not sinks:
            sys.stderr.write(f"train.py: warning: {text}\n")

    return warn


def build_monitor(run: Run, warn: Callable[[str], None]) -> Monitor:
    """Build the monitor for NaN and divergence."""
    return Monitor(run.folder, run.model.networks, {"options": run.options.as_dict()},
                 stop=run.options[TrainFlags].on_nan == "stop", warn=warn, world=run.world)


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """The batches of each step; at an epoch's end there may be fewer."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


def saved_first(
    loading: Iterator[list[Batch]], run: Run, monitor: Monitor, signals: Signals
) -> Iterator[list[Batch]]:
    """Pass on each step's batches. Where no more can be loaded, save the training before the error is raised.

    A signal that has ended the wait is no error. Of several processes none can save without the others.
    """
    try:
        yield from loading
    except LoadingError:
        if run.world.size > 1:
            raise
        if signals.agreed():
            return  # `loop` saves
        if run.progress.images and run.saved != run.progress:
            monitor.settle()
            run.save()
        raise


def report(run: Run, sinks: Sequence[Sink], waiting: Waiting, vitals: Vitals) -> None:
    """Send the mean losses since the last report, if there are any, the share of time spent waiting, and vitals."""
    if values := run.losses.means():
        images = run.progress.images
        values = run.world.mean({**values, "data_wait": waiting.share(), **vitals.read(images)})
        for sink in sinks:
            sink.scalars(images, values)


def show_samples(sinks: Sequence[Sink], seen: int, model: Model) -> int:
    """Send the current images; returns when that was. Images that cannot be drawn cost a warning."""
    try:
        samples = model.samples() if sinks else {}
    except Exception as error:  # of any drawing, of memory or of a library
        warning(sinks)(f"the samples at image {seen} cannot be drawn ({reason(error)}); the training goes on without "
                       "them")
        return seen
    for sink in sinks:
        sink.images(seen, samples)
    return seen


def open_sinks(run: Run, total: int, lines: Sequence[str]) -> list[Sink]:
    """The loggers, beginning with ``lines`` for the user; one that cannot run is left out with a warning."""
    remove_leftovers(run.folder)
    run.write_options()
    general = run.options[RunFlags]
    logged = LoggedRun(run.folder, general.name, total, run.progress.images, run.options.as_dict())
    text = run.options.as_text(changed_only=not general.verbose)
    return open_loggers(run.options[DisplayFlags].chosen(), logged, [text, *lines])


def describe(run: Run, device: torch.device, images: int) -> list[str]:
    """What is about to happen, in a few lines."""
    lines = []
    for name, network in run.model.networks.items():
        parameters = sum(p.numel() for p in network.parameters())
        lines.append(f"network {name}: {type(network).__name__}, {parameters / 1e6:.3f} M parameters")
        if run.options[RunFlags].verbose:
            lines.append(str(network))
    together = f" in each of {run.world.size} processes" if run.world.size > 1 else ""
    lines.append(f"device {device}{together}, seed {run.options[RunFlags].seed}, {counted(images, 'image')} an epoch, "
                 f"from image {run.progress.images}")
    return lines


if __name__ == "__main__":
    run_program("train.py", main, outlives_output=True)
