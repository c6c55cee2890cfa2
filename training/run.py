"""The state of a training: all that its loop changes, saved and resumed as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from data import Batch, Loader
from models import Model
from models.schedules import Scheduler, create_scheduler, follow_flags, skip_epochs
from options import DisplayFlags, EvalFlags, LoadingFlags, Options, RunFlags, SpeedFlags, TrainFlags
from util.distributed import World
from util.errors import UserError
from util.files import move_aside
from util.meter import LossMeter
from util.state_dicts import LATEST, state_path

from .checkpoints import load_published, refusing_foreign_state, restore, save_checkpoint
from .evaluation import Evaluation

# Flags that may change from one part of a run to the next without a word, and those that the saved optimizers and
# schedules overrule.
FREE = {*(f.name for group in (DisplayFlags, EvalFlags, LoadingFlags, SpeedFlags) for f in fields(group)), "name",
        "suffix", "checkpoints_dir", "dataroot", "gpu_ids", "verbose", "num_threads", "epoch", "load_iter",
        "epoch_count", "max_iters", "continue_train", "on_nan"} - {"amp"}
KEPT = {"lr", "beta1", "beta2", "lr_decay_iters", "vgg_lr_scale"}


@dataclass
class Progress:
    """How far the run has come."""

    epoch: int
    images_in_epoch: int = 0
    images: int = 0  # over all epochs and resumed runs

    def count(self, group: Sequence[Batch], loader: Loader) -> int:
        """Take note of batches that were trained on; returns how many images have been seen."""
        for _ in group:
            count = loader.images_after(self.images_in_epoch)
            self.images_in_epoch += count
            self.images += count
        return self.images


@dataclass
class Run:
    """Everything that the loop changes; a checkpoint is a snapshot of it."""

    options: Options
    folder: Path
    first_epoch: int
    model: Model
    schedulers: dict[str, Scheduler]
    progress: Progress
    world: World
    evaluation: Evaluation
    losses: LossMeter = field(default_factory=LossMeter)  # since the last report
    epoch_losses: LossMeter = field(default_factory=LossMeter)  # what the plateau policy looks at
    saved: Progress | None = None  # as the latest state that this process has written

    def save(self, tag: str = LATEST, also: str | None = None) -> None:
        """Write the checkpoint ``tag``; all processes come together for it, and the first one writes."""
        save_checkpoint(self.folder, tag, self.model, {
            "progress": asdict(self.progress),
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.schedulers.items()},
            "losses": self.losses.state_dict(self.world),
            "epoch_losses": self.epoch_losses.state_dict(self.world),
            "evaluation": self.evaluation.state_dict(),
            "options": self.options.as_dict(),
            "seed": self.options[RunFlags].seed,
            "first_epoch": self.first_epoch,
        }, self.world, also=also, keep_last=self.options[DisplayFlags].keep_last)
        if tag == LATEST:
            self.saved = replace(self.progress)

    def resume(self, tag: str, state: Mapping[str, Any] | None) -> list[str]:
        """Go back to the checkpoint ``tag``; returns what the user should know."""
        path, changes = state_path(self.folder, tag), dict[str, str]()
        if state is not None:
            with refusing_foreign_state(path):
                changes = self.options.changes_since({**state["options"], "seed": state["seed"]})
                changes = {name: text for name, text in changes.items() if name not in FREE}
        try:
            averages = load_published(self.folder, tag, self.model)
        except UserError as error:
            if not changes:
                raise
            raise UserError(f"{error}. What differs: {'; '.join(changes.values())}") from error
        if state is None:
            fresh = [f"network {name}" for name in self.model.networks if name not in self.model.published]
            return [*averages, f"{path} is missing, so the networks go on from {tag} but "
                    f"{', '.join([*fresh, 'optimizers'])}, schedules and counters start afresh (--epoch_count sets the "
                    "epoch)"]
        with refusing_foreign_state(path):
            if dropped := sorted({*state["networks"], *state["sha256"]} - set(self.model.networks)):
                raise UserError(f"{path} holds the trained network {dropped[0]}, which this run would drop: type the "
                                f"flags of its training ({'; '.join(changes.values())})")
            notes = restore(self.model, state, self.folder, tag, self.world)
            self.progress = Progress(**state["progress"])
            self.losses.load_state_dict(state.get("losses", {"sums": {}, "counts": {}}))  # older states have none
            self.epoch_losses.load_state_dict(state["epoch_losses"])
            notes += self.evaluation.load_state_dict(state.get("evaluation", {"last": 0, "best": None}))
            for name, scheduler in self.schedulers.items():
                if name in state["schedulers"]:
                    scheduler.load_state_dict(state["schedulers"][name])
                    follow_flags(scheduler)
                else:
                    skip_epochs(scheduler, self.progress.epoch - self.first_epoch)
        kept = "; the saved value stays in force"
        return [text + kept * (name in KEPT) for name, text in changes.items()] + averages + notes

    def end_epoch(self) -> None:
        """Step the schedules and count on."""
        loss = self.world.mean(self.epoch_losses.means()).get("G", 0.0)
        for scheduler in self.schedulers.values():
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(loss)
            else:
                skip_epochs(scheduler, 1)  # without torch's warning where a resumed run has only this left to do
        self.progress.epoch, self.progress.images_in_epoch = self.progress.epoch + 1, 0


def folder_of(options: Options) -> Path:
    """Where everything of the run is."""
    return Path(options[RunFlags].checkpoints_dir) / options[RunFlags].name


def make_room(folder: Path, world: World) -> list[str]:
    """Move an earlier training of the same name aside: a command that is typed twice must not cost its result."""
    if not world.is_first or not any(folder.glob("*_net_*.pth")):  # published generators have no state
        return []
    return [f"the earlier training of this name is now in {move_aside(folder)} (--continue_train would go on with it)"]


def build_schedulers(model: Model, flags: TrainFlags, first_epoch: int) -> dict[str, Scheduler]:
    """One for each optimizer."""
    return {
        name: create_scheduler(optimizer, flags.lr_policy, n_epochs=flags.n_epochs, first_epoch=first_epoch,
                               n_epochs_decay=flags.n_epochs_decay, decay_epochs=flags.lr_decay_iters)
        for name, optimizer in model.optimizers.items()
    }
