"""Learning-rate schedules, stepped once an epoch, or with ``--schedule_by images`` before each step."""

import math
import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR

from options import TrainFlags
from util.errors import UserError

Scheduler = LRScheduler | ReduceLROnPlateau


def create_scheduler(optimizer: Optimizer, flags: TrainFlags) -> Scheduler:
    """Create the scheduler of ``--lr_policy``, to be stepped once an epoch; by images, `anneal` sets its rate.

    ``step`` multiplies the rate by 0.1 every ``lr_decay_iters`` epochs, ``plateau`` by 0.2 if the metric has not
    improved for 5 epochs, and ``cosine`` lets it fall to 0 over ``n_epochs``.

    Raises:
        UserError: ``--schedule_by images`` with another policy than linear and cosine.
    """
    by_images = flags.schedule_by == "images"
    if by_images and flags.lr_policy not in ("linear", "cosine"):
        raise UserError(f"--schedule_by images: --lr_policy {flags.lr_policy} changes the rate at the ends of epochs "
                        "only; leave the flag out, or choose linear or cosine")
    if flags.lr_policy == "step":
        return StepLR(optimizer, step_size=flags.lr_decay_iters, gamma=0.1)
    if flags.lr_policy == "plateau":
        return ReduceLROnPlateau(optimizer, mode="min", factor=0.2, threshold=0.01, patience=5)
    period = max(1, flags.n_epochs)
    if flags.lr_policy == "cosine" and not by_images:
        return CosineAnnealingLR(optimizer, T_max=period, eta_min=0)
    if flags.lr_policy == "cosine":
        return LambdaLR(optimizer, lambda step: cosine(step, period))

    def factor(step: float) -> float:
        """Return 1 for ``n_epochs``; from the first decaying epoch on, less, down to 0 after the last epoch."""
        epoch = flags.epoch_count + step  # LambdaLR counts from 0 and asks before the first epoch
        return 1 - max(0, epoch - flags.n_epochs) / (flags.n_epochs_decay + 1)

    return LambdaLR(optimizer, factor)


def cosine(step: float, period: int) -> float:
    """Compute the factor of the cosine policy after ``step`` epochs: from 1 down to 0 after ``period`` epochs."""
    return (1 + math.cos(math.pi * step / period)) / 2


def end_epoch(scheduler: LRScheduler) -> None:
    """Step a schedule by epochs, without torch's warning if a resumed run has no other step left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scheduler.step()


def go_to(scheduler: Scheduler, epochs: float) -> None:
    """Give a schedule and its optimizer the rate after ``epochs`` epochs, a fraction by images; not plateau."""
    if isinstance(scheduler, ReduceLROnPlateau):
        return
    scheduler.last_epoch = epochs  # type: ignore[assignment]
    set_rates(scheduler)


def set_rates(scheduler: LRScheduler) -> None:
    """Set the rates of the optimizer to those of the schedule at its ``last_epoch``."""
    if isinstance(scheduler, LambdaLR):
        factor = scheduler.lr_lambdas[0](scheduler.last_epoch)
    elif isinstance(scheduler, StepLR):
        factor = scheduler.gamma ** (scheduler.last_epoch // scheduler.step_size)
    elif isinstance(scheduler, CosineAnnealingLR):
        factor = cosine(scheduler.last_epoch, scheduler.T_max)
    else:
        raise TypeError(f"{type(scheduler).__name__} has no closed form")
    for group, base in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
        group["lr"] = base * factor


def resume_schedule(scheduler: Scheduler, state: dict[str, Any]) -> None:
    """Restore a schedule, and give its restored optimizer the rate that the flags have now, with other epochs perhaps.

    The state's own rate is that of the flags before: 0 where the linear policy had come to its end, so that an
    epoch beyond it would teach nothing. After a change of the policy, and for plateau, the saved rate is kept.

    Args:
        scheduler: a new one of `create_scheduler`, with the flags of now.
        state: its ``state_dict`` at the save.
    """
    flags = {name: value for name, value in vars(scheduler).items() if name in ("step_size", "T_max")}
    changed = any(name in state and state[name] != value for name, value in flags.items())
    scheduler.load_state_dict(state)
    vars(scheduler).update(flags)
    if isinstance(scheduler, LambdaLR) or (changed and isinstance(scheduler, StepLR | CosineAnnealingLR)):
        set_rates(scheduler)
