"""The loggers of ``--loggers`` by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from util.starts import local_time, read_starts
from util.terminal import MessageSink, TerminalSink

from .html_page import About, HtmlSink
from .json_lines import JsonLinesSink
from .sink import Guarded, Sink, Warn, reason
from .tensorboard_events import TensorBoardSink
from .visdom_windows import VisdomSink, connect
from .wandb_run import WandbSink

LOG = "loss_log.jsonl"
INSTALL = {"visdom": "docs/troubleshooting.md says how"}


@dataclass(frozen=True)
class LoggedRun:
    """The training that loggers show."""

    folder: Path
    name: str
    total: int
    """Images seen at its end."""
    seen: int
    """Images seen up to the checkpoint that it continues from; 0 for a new training."""
    flags: Mapping[str, Any]
    """All flags by name."""
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value and default of the flags that differ from their defaults."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """For people: the data, the device and so on, by name."""
    epoch: int = 0
    """Images of an epoch; 0: unknown."""


def _html(run: LoggedRun, warn: Warn) -> Sink:
    starts = read_starts(run.folder)
    started = {name: local_time(starts[place]) for name, place in (("started", 0), ("resumed", -1))
               if len(starts) > -place}
    about = About(run.total, starts[-1]["command"] if starts else "", {**started, **run.facts}, run.changed,
                  run.folder, run.epoch)
    return HtmlSink(run.folder / "web", run.name, image_width=run.flags["display_winsize"], resume_step=run.seen,
                    update_every=run.flags["update_html_freq"], log=run.folder / LOG, about=about,
                    warn=warn)


def _visdom(run: LoggedRun, warn: Warn) -> Sink:
    del warn
    client = connect(*(run.flags[f"display_{name}"] for name in ("server", "port", "env")))
    return VisdomSink(client, run.name, display_id=max(run.flags["display_id"] or 1, 1),
                      ncols=run.flags["display_ncols"], win_size=run.flags["display_winsize"], resume_step=run.seen)


def _wandb(run: LoggedRun, warn: Warn) -> Sink:
    del warn
    return WandbSink(run.folder, run.name, project=run.flags["wandb_project_name"], mode=run.flags["wandb_mode"],
                     config=run.flags, resume_step=run.seen)


OPENERS: dict[str, Callable[[LoggedRun, Warn], Sink]] = {
    "json": lambda run, warn: JsonLinesSink(run.folder / LOG, resume_step=run.seen),
    "html": _html,
    "visdom": _visdom,
    "tensorboard": lambda run, warn: TensorBoardSink(run.folder / "tensorboard", resume_step=run.seen),
    "wandb": _wandb,
}
LOGGERS = ("terminal", *OPENERS)


def open_loggers(names: Sequence[str], run: LoggedRun, lines: Sequence[str]) -> list[Sink]:
    """Open the loggers, and print ``lines``; a logger that cannot run is left out with a warning.

    The first sink prints messages, also without the logger ``terminal``.
    """
    terminal = TerminalSink(run.total, run.seen) if "terminal" in names else MessageSink()
    for line in lines:
        terminal.message(line)

    def warn(text: str) -> None:
        terminal.message(f"warning: {text}")

    sinks: list[Sink] = [terminal]
    for name in (name for name in OPENERS if name in names):
        try:
            sinks.append(Guarded(OPENERS[name](run, warn), name, warn))
        except Exception as error:  # of any library, or of the disk
            why = reason(error)
            if isinstance(error, ImportError):
                why = f"the package {error.name} is not installed ({INSTALL.get(name, f'pip install {error.name}')})"
            warn(f"the logger {name} cannot run: {why}; the training continues without it")
            continue
        if name == "html":
            terminal.message(f"to watch this training, open {run.folder / 'web' / 'index.html'}")
    return sinks
