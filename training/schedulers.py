"""Learning-rate schedules, stepped once an epoch."""

import math
import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR

from options import TrainFlags

Scheduler = LRScheduler | ReduceLROnPlateau


def create_scheduler(optimizer: Optimizer, flags: TrainFlags) -> Scheduler:
    """Create the scheduler of ``--lr_policy``, to be stepped once an epoch.

    ``step`` multiplies the rate by 0.1 every ``lr_decay_iters`` epochs, ``plateau`` by 0.2 if the metric has not
    improved for 5 epochs, and ``cosine`` lets it fall to 0 over ``n_epochs``.
    """
    if flags.lr_policy == "step":
        return StepLR(optimizer, step_size=flags.lr_decay_iters, gamma=0.1)
    if flags.lr_policy == "plateau":
        return ReduceLROnPlateau(optimizer, mode="min", factor=0.2, threshold=0.01, patience=5)
    if flags.lr_policy == "cosine":
        return CosineAnnealingLR(optimizer, T_max=max(1, flags.n_epochs), eta_min=0)

    def factor(step: int) -> float:
        """1 for ``n_epochs``, then down to 0 after the last epoch; lowered from the first decaying epoch on."""
        epoch = flags.epoch_count + step  # LambdaLR counts from 0 and asks before the first epoch
        return 1 - max(0, epoch - flags.n_epochs) / (flags.n_epochs_decay + 1)

    return LambdaLR(optimizer, factor)


def skip_epochs(scheduler: Scheduler, epochs: int) -> None:
    """Bring a new optimizer's schedule to where one of ``epochs`` finished epochs is; plateau counts from its start."""
    if isinstance(scheduler, ReduceLROnPlateau):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch expects a step of the optimizer before each of these
        for _ in range(epochs):
            scheduler.step()


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
    if isinstance(scheduler, LambdaLR):
        factor = scheduler.lr_lambdas[0](scheduler.last_epoch)
    elif isinstance(scheduler, StepLR) and changed:
        factor = scheduler.gamma ** (scheduler.last_epoch // scheduler.step_size)
    elif isinstance(scheduler, CosineAnnealingLR) and changed:
        factor = (1 + math.cos(math.pi * scheduler.last_epoch / scheduler.T_max)) / 2
    else:
        return
    for group, base in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
        group["lr"] = base * factor
