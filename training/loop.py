"""The loop of a training: steps, reports, samples, scores and saves."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import torch

from data import Batch, DataTimer, Loader, LoadingError, finish
from models import Model
from options import DisplayFlags, TrainFlags
from util.device import to_device
from util.loggers import Sink
from util.loggers.sink import TRAINING, reason
from util.signals import Signals

from .monitor import Monitor
from .run import Run
from .samples import FixedSamples, open_samples
from .step import TrainingStep
from .vitals import Vitals


def loop(
    run: Run, step: TrainingStep, loader: Loader, device: torch.device, sinks: Sequence[Sink], *, total: int,
    signals: Signals
) -> None:
    """Train until ``total`` images have been seen or a signal stops the training, and save.

    Frequencies count images, whatever the batch size. Remaining losses are reported at the end, or by the resumed run
    after a signal.
    """
    model, progress = run.model, run.progress
    flags, display = run.options[TrainFlags], run.options[DisplayFlags]
    timer, start = DataTimer(), progress.images
    vitals = Vitals(model.networks, model.optimizers, device, start)
    loader.warn = run.warn = warning(sinks)
    loader.stopped = lambda: run.world.size == 1 and signals.received  # several processes stop after the same step
    monitor = Monitor(run.folder, model.networks, {"options": run.options.as_dict()}, warn=loader.warn,
                      stop=flags.on_nan == "stop", world=run.world)
    fixed = open_samples(run.options, model, device, sinks, loader.warn)
    shown = start or show_samples(sinks, 0, model, fixed)  # a new training shows where it begins
    evaluate = partial(run.evaluation.after, sinks=sinks, stopped=lambda: signals.received)
    evaluate(progress.images, progress.epoch, final=progress.images >= total)  # if a signal put it off
    # A run that was killed at the end of an epoch has seen its images, but may lack its save by number.
    while (progress.images < total or progress.images_in_epoch == len(loader)) and not signals.code:
        batches = timer.over(loader.epoch(progress.epoch, skip=progress.images_in_epoch))
        for group in saved_first(groups(batches, flags.grad_accum), run, monitor, signals):
            finished = [finish(to_device(batch, device)) for batch in group]
            monitor.before(device)
            run.anneal(len(loader))
            step_losses = step(finished, identity=progress.images < flags.identity_first)
            run.losses.add(step_losses, step.left_out)
            run.epoch_losses.add({"G": step_losses["G"]}, step.left_out)

            before, seen = progress.images, progress.count(group, loader)
            run.end_identity(before, seen)
            monitor.after(seen, finished, step_losses, step.scale(), step.left_out)
            for sink in sinks:
                sink.advance(seen - before)
            if seen // display.print_freq > before // display.print_freq:
                report(run, sinks, timer, vitals)
            if seen // display.display_freq > before // display.display_freq:
                shown = show_samples(sinks, seen, model, fixed)
            evaluate(seen, progress.epoch, final=seen >= total)  # before a save, which records it
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
        report(run, sinks, timer, vitals)
    if shown < progress.images and not signals.code:
        show_samples(sinks, progress.images, model, fixed)


def warning(sinks: Sequence[Sink]) -> Callable[[str], None]:
    """Return a function that shows warnings; only the first process has sinks, others write to stderr."""
    def warn(text: str) -> None:
        for sink in sinks:
            sink.message(f"warning: {text}")
        if not sinks:
            sys.stderr.write(f"train.py: warning: {text}\n")

    return warn


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Group the batches of each step; the last group of an epoch may be smaller."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


def saved_first(
    loading: Iterator[list[Batch]], run: Run, monitor: Monitor, signals: Signals
) -> Iterator[list[Batch]]:
    """Yield the batches of each step; if loading fails, save the training before the error is raised.

    A signal that ended the wait is no error. Several processes do not save: none can without the others.
    """
    try:
        yield from loading
    except LoadingError:
        if run.world.size > 1:
            raise
        if signals.agreed():
            return  # `loop` saves
        if run.progress.images and not run.is_saved():
            monitor.settle()
            run.save()
        raise


def report(run: Run, sinks: Sequence[Sink], timer: DataTimer, vitals: Vitals) -> None:
    """Send the mean losses since the last report, the share of time spent waiting for data, and the vitals."""
    if values := run.losses.means():
        images = run.progress.images
        values = run.world.mean({**values, "data_wait": timer.share(), **vitals.read(images)})
        for sink in sinks:
            sink.scalars(images, values)


def show_samples(sinks: Sequence[Sink], seen: int, model: Model, fixed: FixedSamples | None) -> int:
    """Send the fixed samples and the images of the last step, or a warning if they cannot be drawn; return ``seen``."""
    if not any(sink.takes_images() for sink in sinks):
        return seen
    try:
        samples = (fixed.draw() if fixed else {}) | {
            f"{TRAINING}/{name}": image for name, image in model.visuals().items()}
    except Exception as error:  # of any drawing, of memory or of a library
        warning(sinks)(f"the samples at image {seen} cannot be drawn ({reason(error)}); the training goes on without "
                       "them")
        return seen
    for sink in sinks:
        sink.images(seen, samples)
    return seen
