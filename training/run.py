"""The state of a training: all that its loop changes, saved and resumed as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from data import Batch, Loader
from models import Model
from options import (
    DisplayFlags,
    EvalFlags,
    LoadingFlags,
    Options,
    RunFlags,
    SpeedFlags,
    TrainFlags,
    recorded_flags,
)
from training.meter import LossMeter
from training.schedulers import Scheduler, end_epoch, go_to, resume_schedule
from util.distributed import World
from util.errors import UserError
from util.files import move_aside
from util.state_dicts import LATEST, state_path
from util.words import counted

from .checkpoints import load_published, refusing_foreign_state, restore, save_checkpoint, saves
from .evaluation import Evaluation

# FREE: flags that may change when a run resumes, without a note. KEPT: flags whose saved values apply to a resumed run,
# because its optimizers and networks were built with them, or because they are about the beginning.
FREE = {*(f.name for group in (DisplayFlags, EvalFlags, LoadingFlags, SpeedFlags) for f in fields(group)), "name",
        "suffix", "checkpoints_dir", "dataroot", "gpu_ids", "verbose", "num_threads", "epoch", "load_iter",
        "epoch_count", "max_iters", "continue_train", "init_from", "on_nan", "cuda_graph"} - {"amp"}
KEPT = {"lr", "beta1", "beta2", "vgg_lr_scale", "init_type", "init_gain", "identity_first"}
OPTIONS = "train_opt"  # stem of the two files that hold the options


@dataclass
class Progress:
    """Position of the run: epoch and images."""

    epoch: int
    images_in_epoch: int = 0
    images: int = 0  # over all epochs and resumed runs

    def count(self, group: Sequence[Batch], loader: Loader) -> int:
        """Count the images of a step's batches, and return the number of images seen."""
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
    data: dict[str, Any] = field(default_factory=dict)  # the data set's fingerprint
    saved: Progress | None = None  # as the latest state that this process has written
    warn: Callable[[str], None] = lambda text: None  # takes a sentence for the user

    def is_saved(self) -> bool:
        """Check whether the latest state exists and has this progress; the answer is the same in all processes."""
        return self.saved == self.progress and bool(self.world.same(state_path(self.folder, LATEST).is_file()))

    def save(self, tag: str = LATEST, also: str | None = None) -> None:
        """Write the checkpoint ``tag``; all processes come together for it, and the first one writes."""
        if self.world.is_first and not (self.folder / f"{OPTIONS}.json").is_file():
            self.warn(f"the files in {self.folder} were removed or moved during the training; it goes on, but earlier "
                      "checkpoints, losses and samples are no longer there")
            self.options.save(self.folder, OPTIONS)
        save_checkpoint(self.folder, tag, self.model, {
            "progress": asdict(self.progress),
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.schedulers.items()},
            "losses": self.losses.state_dict(self.world),
            "epoch_losses": self.epoch_losses.state_dict(self.world),
            "evaluation": self.evaluation.state_dict(),
            "options": self.options.as_dict(),
            "seed": self.options[RunFlags].seed,
            "first_epoch": self.first_epoch,
            "data": self.data,
        }, self.world, also=also, keep_last=self.options[DisplayFlags].keep_last)
        if tag == LATEST:
            self.saved = replace(self.progress)

    def resume(self, tag: str, state: Mapping[str, Any] | None, changes: Mapping[str, str]) -> list[str]:
        """Restore the checkpoint ``tag``, and return notes for the user.

        Args:
            tag: its name.
            state: its state; None if there is none.
            changes: a text for each flag whose saved value differs, from `continue_with`.
        """
        path = state_path(self.folder, tag)
        changed = [*changes.values()]
        if "init_from" in self.options.typed:
            changed.append("--init_from has no effect: --continue_train goes on from the training's own checkpoint")
        if state is None:
            refuse_other_networks(self.options, recorded_flags(self.folder) or {})
            if self.options[TrainFlags].identity_first:
                changed.append("--identity_first has no effect: --continue_train goes on from trained generators")
            self.options = self.options.replacing({"init_from": "", "identity_first": 0})
            averages = load_published(self.folder, tag, self.model)
            fresh = [f"network {name}" for name in self.model.networks if name not in self.model.published]
            return [*changed, *averages, f"{path} is missing, so the networks go on from {tag} but "
                    f"{', '.join([*fresh, 'optimizers'])}, schedules and counters start afresh (--epoch_count sets the "
                    "epoch)"]
        with refusing_foreign_state(path):
            if dropped := sorted(state["networks"].keys() - self.model.networks.keys()):
                raise UserError(f"{path} holds the trained network {dropped[0]}, which this run would drop: type the "
                                f"flags of its training ({'; '.join(changes.values())})")
            try:
                notes = restore(self.model, state, path, self.world)
            except UserError as error:
                differs = f". What differs: {'; '.join(changes.values())}" if changes else ""
                raise UserError(f"{error}{differs}") from error
            self.progress = Progress(**state["progress"])
            self.losses.load_state_dict(state.get("losses", {"sums": {}, "counts": {}}))  # older states have none
            self.epoch_losses.load_state_dict(state["epoch_losses"])
            notes += self.evaluation.load_state_dict(state.get("evaluation", {"last": 0, "best": None}))
            went_on = state["options"].get("schedule_by", "epochs") == self.options[TrainFlags].schedule_by
            for name, scheduler in self.schedulers.items():
                if went_on and name in state["schedulers"]:
                    resume_schedule(scheduler, state["schedulers"][name])
                else:
                    go_to(scheduler, self.progress.epoch - self.first_epoch)
            if not {"dataset_mode", "phase", "max_dataset_size"} & changes.keys():
                notes += changed_data(self.data, state.get("data"))  # older states have none
        return [*changed, *notes]

    def is_finished(self, total: int, images_an_epoch: int) -> bool:
        """Check whether a run of ``total`` images is complete: no step, end of an epoch or score is left."""
        progress = self.progress
        return (progress.images >= total and progress.images_in_epoch != images_an_epoch
                and not self.evaluation.is_due(progress.images))

    @property
    def by_images(self) -> bool:
        """True with ``--schedule_by images``."""
        return self.options[TrainFlags].schedule_by == "images"

    def anneal(self, images_an_epoch: int) -> None:
        """Set the learning rates of the next step with ``--schedule_by images``; they depend only on the progress."""
        if self.by_images:
            epochs = self.progress.epoch - self.first_epoch + self.progress.images_in_epoch / images_an_epoch
            for scheduler in self.schedulers.values():
                go_to(scheduler, epochs)

    def end_identity(self, before: int, seen: int) -> None:
        """Begin Adam anew after the last image of ``--identity_first``: it has scaled its steps to smaller gradients.
        """
        if before < self.options[TrainFlags].identity_first <= seen:
            self.model.optimizers["G"].state.clear()

    def end_epoch(self) -> None:
        """Step the schedulers, and begin the next epoch."""
        loss = self.world.mean(self.epoch_losses.means()).get("G", 0.0)
        for scheduler in self.schedulers.values():
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(loss)
            elif not self.by_images:
                end_epoch(scheduler)
        self.progress.epoch, self.progress.images_in_epoch = self.progress.epoch + 1, 0


def continue_with(options: Options, state: Mapping[str, Any]) -> tuple[Options, dict[str, str]]:
    """Return the options of a run that resumes from ``state``, and a text for each flag whose saved value differs.

    The flags in `KEPT`, the first epoch, and a seed that was not typed get their values from the state, so that the
    options record the values that apply.

    Raises:
        UserError: see `refuse_other_networks`.
        LookupError, TypeError, ValueError: the state is not one of `Run.save`.
    """
    saved = {**state["options"], "seed": state["seed"]}
    if options[RunFlags].seed is None:
        options = options.replacing({"seed": saved["seed"]})
    changes = {name: text for name, text in options.changes_since(saved).items() if name not in FREE}
    refuse_other_networks(options, saved)
    kept = {name: saved[name] for name in KEPT & saved.keys()}
    if "F" not in state["optimizers"]:  # new heads may bring a network that learns with them
        kept.pop("vgg_lr_scale", None)
    typed, epoch = options[TrainFlags].epoch_count, int(state["progress"]["epoch"])
    changes |= {name: f"{changes[name]}; the saved value stays in force" for name in kept.keys() & changes.keys()}
    if "epoch_count" in options.typed and typed != epoch:
        changes["epoch_count"] = f"--epoch_count {typed} has no effect: the saved state goes on in epoch {epoch}"
    return options.replacing({**kept, "init_from": saved.get("init_from", ""),  # older states have none
                              "epoch_count": state["first_epoch"]}), changes


def refuse_other_networks(options: Options, before: Mapping[str, Any]) -> None:
    """Refuse another ``--norm`` or ``--direction`` than that of the training, which the weights would fit, too.

    Raises:
        UserError: one of them is another one.
    """
    for name in ("norm", "direction"):
        now = options.as_dict()[name]
        if (trained := before.get(name, now)) != now:
            raise UserError(f"--{name} is {now}, was {trained}, with which the networks were trained: type --{name} "
                            f"{trained}, or start another --name")


def changed_data(now: Mapping[str, Any], then: Mapping[str, Any] | None) -> list[str]:
    """Return a note if the fingerprint of the data set differs from the saved one."""
    if not then or now == then:
        return []
    differs = f"{counted(now['files'], 'file')}, was {then['files']}" if now["files"] != then["files"] else (
        "as many files as at the save, but other names or sizes")
    return [f"--dataroot has {differs}; the training goes on with what is there now"]


def make_room(folder: Path, world: World) -> list[str]:
    """Move an earlier training of the same name aside, so that a command that is typed twice loses no result."""
    if not world.is_first or not (saves(folder) or any(folder.glob("*_net_*.pth"))):  # published ones have no state
        return []
    return [f"the earlier training of this name is now in {move_aside(folder)} (--continue_train would go on with it)"]
