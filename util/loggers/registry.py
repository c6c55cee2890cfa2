"""The loggers of ``--loggers`` by name."""

from collections.abc import Callable, Sequence

from util.terminal import MessageSink, TerminalSink

from .html_page import HtmlSink
from .json_lines import LOG, JsonLinesSink
from .sink import Guarded, LoggedRun, Sink, Warn, reason
from .tensorboard_events import TensorBoardSink
from .visdom_windows import VisdomSink
from .wandb_run import WandbSink

INSTALL = {"visdom": "docs/troubleshooting.md says how"}


OPENERS: dict[str, Callable[[LoggedRun, Warn], Sink]] = {
    "json": lambda run, _: JsonLinesSink(run.folder / LOG, resume_step=run.seen),
    "html": HtmlSink,
    "visdom": lambda run, _: VisdomSink(run),
    "tensorboard": lambda run, _: TensorBoardSink(run.folder / "tensorboard", resume_step=run.seen),
    "wandb": lambda run, _: WandbSink(run),
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
