"""The loggers of ``--loggers`` by name, and how a training opens them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from util.terminal import MessageSink, TerminalSink

from .html_page import open_html
from .json_lines import JsonLinesSink
from .sink import Guarded, Sink, Warn, reason
from .tensorboard_events import open_tensorboard
from .visdom_windows import open_visdom
from .wandb_run import open_wandb

LOG = "loss_log.jsonl"


@dataclass(frozen=True)
class Watched:
    """The training that loggers show."""

    folder: Path
    name: str
    total: int
    """Images that it will have seen at its end."""
    seen: int
    """Images seen up to the checkpoint that it goes on from; 0: it is new."""
    flags: Mapping[str, Any]
    """All flags by name."""


def _html(run: Watched, warn: Warn) -> Sink | None:
    return open_html(run.folder / "web", run.name, image_width=run.flags["display_winsize"], resume_step=run.seen,
                     update_every=run.flags["update_html_freq"], log=run.folder / LOG, warn=warn)


def _visdom(run: Watched, warn: Warn) -> Sink | None:
    flags = run.flags
    return open_visdom(
        flags["display_server"], flags["display_port"], flags["display_env"], run.name,
        display_id=max(flags["display_id"] or 1, 1), ncols=flags["display_ncols"], win_size=flags["display_winsize"],
        resume_step=run.seen, warn=warn)


def _wandb(run: Watched, warn: Warn) -> Sink | None:
    return open_wandb(run.folder, run.name, project=run.flags["wandb_project_name"], mode=run.flags["wandb_mode"],
                      config=run.flags, resume_step=run.seen, warn=warn)


OPENERS: dict[str, Callable[[Watched, Warn], Sink | None]] = {
    "json": lambda run, warn: JsonLinesSink(run.folder / LOG, resume_step=run.seen),
    "html": _html,
    "visdom": _visdom,
    "tensorboard": lambda run, warn: open_tensorboard(run.folder / "tensorboard", resume_step=run.seen, warn=warn),
    "wandb": _wandb,
}
"""Each opens a logger, or warns and returns None."""

LOGGERS = ("terminal", *OPENERS)


def open_loggers(names: Sequence[str], run: Watched, lines: Sequence[str]) -> list[Sink]:
    """The loggers, first of all what prints ``lines`` and messages; one that cannot run is left out with a warning."""
    terminal = TerminalSink(run.total, run.seen) if "terminal" in names else MessageSink()
    for line in lines:
        terminal.message(line)

    def warn(text: str) -> None:
        terminal.message(f"warning: {text}")

    sinks: list[Sink] = [terminal]
    for name in (name for name in OPENERS if name in names):
        try:
            sink = OPENERS[name](run, warn)
        except Exception as error:  # of any library, or of the disk
            warn(f"the logger {name} cannot run ({reason(error)}); the training goes on without it")
            continue
        if sink is not None:
            sinks.append(Guarded(sink, name, warn))
    return sinks
