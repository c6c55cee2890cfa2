"""Train a model for unpaired image translation.

    python train.py --dataroot datasets/lineart2color --name colours --model sc --learned_attn --augment

Everything of the run is in checkpoints/NAME: options, losses, sample page, checkpoints. ``--continue_train`` goes
on where it stopped, to the same weights as a run that never did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from data import DATASETS, Loader, finish, keep_in_memory
from models import MODELS, Model
from models.schedules import Scheduler, create_scheduler, skip_epochs
from options import TRAIN, DataFlags, DisplayFlags, LoadingFlags, Options, RunFlags, TrainFlags, parse
from util.checkpoints import (
    load_published,
    load_state,
    refusing_foreign_state,
    restore,
    save_checkpoint,
    state_path,
)
from util.device import choose_device, to_device
from util.errors import UserError, run_program
from util.files import move_aside
from util.loggers import JsonLinesSink, Sink, open_html, open_visdom
from util.meter import LossMeter
from util.terminal import TerminalSink

# Flags that may change from one part of a run to the next without a word, and those that the saved optimizers and
# schedules overrule.
FREE = {*(f.name for group in (DisplayFlags, LoadingFlags) for f in fields(group)), "name", "suffix",
        "checkpoints_dir", "dataroot", "gpu_ids", "verbose", "num_threads", "epoch", "load_iter", "epoch_count",
        "max_iters", "continue_train"}
KEPT = {"lr", "beta1", "beta2", "lr_decay_iters", "vgg_lr_scale"}


@dataclass
class Progress:
    """How far the run has come."""

    epoch: int
    images_in_epoch: int = 0
    images: int = 0  # over all epochs and resumed runs


@dataclass
class Run:
    """Everything that the loop changes; a checkpoint is a snapshot of it."""

    options: Options
    folder: Path
    seed: int
    first_epoch: int
    model: Model
    schedulers: dict[str, Scheduler]
    progress: Progress
    epoch_losses: LossMeter = field(default_factory=LossMeter)  # what the plateau policy looks at

    def save(self, tag: str) -> None:
        """Write the checkpoint ``tag``."""
        save_checkpoint(self.folder, tag, self.model, {
            "progress": asdict(self.progress),
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.schedulers.items()},
            "epoch_losses": self.epoch_losses.state_dict(),
            "options": self.options.as_dict(),
            "seed": self.seed,
            "first_epoch": self.first_epoch,
        })

    def resume(self, tag: str, state: Mapping[str, Any] | None) -> list[str]:
        """Go back to the checkpoint ``tag``; returns what the user should know."""
        averages = load_published(self.folder, tag, self.model)
        path = state_path(self.folder, tag)
        if state is None:
            fresh = [f"network {name}" for name in self.model.networks if name not in self.model.published]
            return [*averages, f"{path} is missing, so the networks go on from {tag} but "
                    f"{', '.join([*fresh, 'optimizers'])}, schedules and counters start afresh (--epoch_count sets the "
                    "epoch)"]
        with refusing_foreign_state(path):
            seed = None if self.options[RunFlags].seed is None else state["seed"]
            changes = self.options.changes_since({**state["options"], "seed": seed})
            changes = {name: text for name, text in changes.items() if name not in FREE}
            if dropped := sorted({*state["networks"], *state["sha256"]} - set(self.model.networks)):
                raise UserError(f"{path} holds the trained network {dropped[0]}, which this run would drop: type the "
                                f"flags of its training ({'; '.join(changes.values())})")
            notes = restore(self.model, state, self.folder, tag)
            self.progress = Progress(**state["progress"])
            self.epoch_losses.load_state_dict(state["epoch_losses"])
            for name, scheduler in self.schedulers.items():
                if name in state["schedulers"]:
                    scheduler.load_state_dict(state["schedulers"][name])
                else:
                    skip_epochs(scheduler, self.progress.epoch - self.first_epoch)
        kept = "; the saved value stays in force"
        return [text + kept * (name in KEPT) for name, text in changes.items()] + averages + notes

    def end_epoch(self) -> None:
        """Step the schedules and count on."""
        loss = self.epoch_losses.means().get("G", 0.0)
        for scheduler in self.schedulers.values():
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(loss)
            else:
                scheduler.step()
        self.progress.epoch, self.progress.images_in_epoch = self.progress.epoch + 1, 0


def main() -> None:
    train(parse(TRAIN, MODELS, DATASETS))


def train(options: Options) -> None:
    """Run the training that the options describe, from its start or from a checkpoint."""
    general, data, flags = options[RunFlags], options[DataFlags], options[TrainFlags]
    loading = options[LoadingFlags]
    device = choose_device(general.gpu_ids)
    folder = Path(general.checkpoints_dir) / general.name
    tag = f"iter_{general.load_iter}" if general.load_iter else general.epoch
    state = load_state(folder, tag) if flags.continue_train else None
    last_epoch = flags.n_epochs + flags.n_epochs_decay
    if state is None and last_epoch < flags.epoch_count:
        raise UserError(f"--n_epochs {flags.n_epochs} and --n_epochs_decay {flags.n_epochs_decay} leave nothing to "
                        f"train from --epoch_count {flags.epoch_count} on; raise them")
    with refusing_foreign_state(state_path(folder, tag)):
        first_epoch = flags.epoch_count if state is None else int(state["first_epoch"])
        seed = first_of(general.seed, None if state is None else int(state["seed"]), torch.seed() % 2**32)
    torch.manual_seed(seed)

    dataset = DATASETS[data.dataset_mode](options, training=True)
    if loading.cache == "ram":
        print("--cache ram: decoding every image now")
        keep_in_memory(dataset, TerminalSink(dataset.items))
    loader = Loader(dataset, batch_size=data.batch_size, num_workers=data.num_threads, seed=seed,
                    shuffle=not data.serial_batches, pin_memory=device.type == "cuda",
                    finished=loading.finished_by_workers(device.type))
    model = MODELS[general.model](options, training=True)
    model.to(device)
    run = Run(options, folder, seed, first_epoch, model, build_schedulers(model, flags, first_epoch),
              Progress(first_epoch))
    notes = run.resume(tag, state) if flags.continue_train else make_room(folder)

    start = run.progress
    if start.images_in_epoch > len(loader):
        raise UserError(f"--dataroot: the checkpoint stopped at image {start.images_in_epoch} of an epoch, but now an "
                        f"epoch has {len(loader)}; continue with the images and --max_dataset_size of its training")
    total = start.images - start.images_in_epoch + max(0, last_epoch - start.epoch + 1) * len(loader)
    total = min(total, flags.max_iters or total)
    options.save(folder, "train_opt")
    terminal = TerminalSink(total, start.images)
    for line in (options.as_text(), *(f"note: {note}" for note in notes), *describe(run, device, len(loader))):
        terminal.message(line)
    sinks: list[Sink] = [terminal, *open_sinks(run, terminal)]
    try:
        loop(run, loader, device, sinks, total)
    finally:
        for sink in sinks:
            sink.close()
    print(f"done: {run.progress.images} images seen; everything is in {folder}")


def loop(run: Run, loader: Loader, device: torch.device, sinks: Sequence[Sink], total: int) -> None:
    """Train until ``total`` images have been seen; frequencies are in images, whatever the batch size.

    What the frequencies leave unreported at the end is reported then.
    """
    model, display = run.model, run.options[DisplayFlags]
    losses, shown = LossMeter(), run.progress.images
    while run.progress.images < total:
        for batch in loader.epoch(run.progress.epoch, skip=run.progress.images_in_epoch):
            model.set_input(finish(to_device(batch, device)))
            step_losses = model.optimize_parameters()
            losses.add(step_losses)
            run.epoch_losses.add({"G": step_losses["G"]})

            before, count = run.progress.images, len(batch["A_paths"])
            seen = run.progress.images = before + count
            run.progress.images_in_epoch += count
            for sink in sinks:
                sink.advance(count)
            if seen // display.print_freq > before // display.print_freq:
                report(sinks, seen, losses)
            if seen // display.display_freq > before // display.display_freq:
                shown = show_samples(sinks, seen, model)
            if seen // display.save_latest_freq > before // display.save_latest_freq:
                run.save(f"iter_{seen}" if display.save_by_iter else "latest")
            if seen >= total:
                break
        if run.progress.images_in_epoch >= len(loader):
            run.end_epoch()
            if (run.progress.epoch - 1) % display.save_epoch_freq == 0:
                run.save(str(run.progress.epoch - 1))
                run.save("latest")
    run.save("latest")
    report(sinks, run.progress.images, losses)
    if shown < run.progress.images:
        show_samples(sinks, run.progress.images, model)


def report(sinks: Sequence[Sink], seen: int, losses: LossMeter) -> None:
    """Send the mean losses since the last report, if there are any."""
    if values := losses.means():
        for sink in sinks:
            sink.scalars(seen, values)


def show_samples(sinks: Sequence[Sink], seen: int, model: Model) -> int:
    """Send the current images; returns when that was."""
    for sink in sinks:
        sink.images(seen, model.visuals())
    return seen


def make_room(folder: Path) -> list[str]:
    """Move an earlier training of the same name aside: a command that is typed twice must not cost its result."""
    if not any(folder.glob("*_state.pth")):
        return []
    return [f"the earlier training of this name is now in {move_aside(folder)} (--continue_train would go on with it)"]


def build_schedulers(model: Model, flags: TrainFlags, first_epoch: int) -> dict[str, Scheduler]:
    """One for each optimizer."""
    return {
        name: create_scheduler(optimizer, flags.lr_policy, n_epochs=flags.n_epochs, first_epoch=first_epoch,
                               n_epochs_decay=flags.n_epochs_decay, decay_epochs=flags.lr_decay_iters)
        for name, optimizer in model.optimizers.items()
    }


def open_sinks(run: Run, terminal: TerminalSink) -> list[Sink]:
    """The loggers beside the terminal; one that cannot run is left out with a warning."""
    display, seen = run.options[DisplayFlags], run.progress.images
    name = run.options[RunFlags].name

    def warn(text: str) -> None:
        terminal.message(f"warning: {text}")

    sinks: list[Sink | None] = [JsonLinesSink(run.folder / "loss_log.jsonl", resume_step=seen)]
    if not display.no_html:
        sinks.append(open_html(run.folder / "web", name, image_width=display.display_winsize, resume_step=seen,
                               update_every=display.update_html_freq, warn=warn))
    if display.display_id:
        sinks.append(open_visdom(
            display.display_server, display.display_port, display.display_env, name, display_id=display.display_id,
            ncols=display.display_ncols, win_size=display.display_winsize, resume_step=seen, warn=warn))
    return [sink for sink in sinks if sink is not None]


def describe(run: Run, device: torch.device, images: int) -> list[str]:
    """What is about to happen, in a few lines."""
    lines = []
    for name, network in run.model.networks.items():
        parameters = sum(p.numel() for p in network.parameters())
        lines.append(f"network {name}: {type(network).__name__}, {parameters / 1e6:.3f} M parameters")
        if run.options[RunFlags].verbose:
            lines.append(str(network))
    lines.append(f"device {device}, seed {run.seed}, {images} images an epoch, from image {run.progress.images}")
    return lines


def first_of(*values: int | None) -> int:
    """The first value that is there."""
    return next(value for value in values if value is not None)


if __name__ == "__main__":
    run_program("train.py", main)
