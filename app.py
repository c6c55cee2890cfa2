"""Translate images on a page in the browser: choose a checkpoint, drop an image, click a point.

    python app.py                                         # then open http://127.0.0.1:7860
    python app.py --checkpoints_dir other/checkpoints --port 7870 --gpu_ids -1

Needs Gradio: pip install gradio
"""

import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from options import DeviceFlags, flag, parse_flags
from util.device import choose_device
from util.errors import UserError, run_program
from web.checkpoints import find_checkpoints
from web.events import no_checkpoints
from web.hosts import HostCheck, own_names
from web.page import CSS, build_page
from web.pictures import Studio

RELOAD = """<script>
const reload = () => location.replace("?" + new URLSearchParams(["checkpoint", "compared"].map(
    name => [name, document.querySelector(`#${name} input`)?.value ?? ""])));
const reloadAfterRestart = () => fetch("run").then(answer => answer.ok ? answer.text() : "RUN").then(
    run => run === "RUN" || reload()).catch(() => null);
setInterval(reloadAfterRestart, 1000);
addEventListener("focus", reloadAfterRestart);
</script>"""
"""Reloads an open page after a restart with its choice, since its lists and uploads belong to the earlier process."""


@dataclass(frozen=True)
class AppFlags(DeviceFlags):
    """Translate images on a page in the browser."""

    checkpoints_dir: Path = flag(Path("checkpoints"), "folder of all experiments")
    host: str = flag("127.0.0.1", "address to listen at; 0.0.0.0 admits every machine that reaches this one")
    port: int = flag(7860, "port to listen at", minimum=1, maximum=65535)
    share: bool = flag(False, "make a public address: pictures then pass through Gradio's servers")
    max_side: int = flag(1024, "scale larger images down to this side, unless the page says otherwise", minimum=1)
    tile: int = flag(0, "translate in tiles of this side, as test.py --tile; 0: whole images", minimum=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    flags = parse_flags(AppFlags, "app.py", argv)
    choose_device(flags.gpu_ids)  # refuses a missing device
    typed = flags.checkpoints_dir != AppFlags.checkpoints_dir
    if not flags.checkpoints_dir.is_dir() and (typed or not find_checkpoints(flags.checkpoints_dir)):
        raise UserError(f"--checkpoints_dir: there is no folder {flags.checkpoints_dir}; train a model first, or name "
                        "another one")
    if importlib.util.find_spec("gradio") is None:
        raise UserError("app.py needs the package gradio: pip install gradio")
    if not find_checkpoints(flags.checkpoints_dir):
        print(f"warning: {no_checkpoints(flags.checkpoints_dir)}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the folder is removed
    with tempfile.TemporaryDirectory(prefix="app-", ignore_cleanup_errors=True) as folder:
        serve(flags, Path(folder))


def serve(flags: AppFlags, folder: Path) -> None:
    """Serve the page, with uploads and pictures in ``folder``."""
    # Gradio reads these when it is imported: no telemetry, no check for a new version.
    os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    for name in ("no_proxy", "NO_PROXY"):  # Gradio sends a request to itself
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", flags.host]))
    import gradio  # noqa: PLC0415 - optional
    from starlette.middleware import Middleware  # noqa: PLC0415 - comes with gradio
    from starlette.responses import PlainTextResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    names = own_names(flags.host)
    page = build_page(flags.checkpoints_dir, Studio(folder, flags.gpu_ids, flags.tile), flags.max_side)
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # no downloads
    try:
        _, address, public = page.launch(
            server_name=flags.host, server_port=flags.port, share=flags.share, prevent_thread_lock=True, quiet=True,
            theme=theme, css=CSS, head=RELOAD.replace("RUN", folder.name), footer_links=[], ssr_mode=False,
            enable_monitoring=False, mcp_server=False, run_history=False, max_file_size="256mb", app_kwargs={
                "middleware": [Middleware(HostCheck, names=names)],
                "routes": [Route("/run", lambda request: PlainTextResponse(folder.name))]})
    except OSError as error:
        raise UserError(f"--host {flags.host} --port {flags.port}: cannot listen there ({error}); choose "
                        "others") from None
    names.add(urlsplit(public or address).hostname or "")
    print(f"open {public or address} (Ctrl-C ends it)", flush=True)
    page.block_thread()


if __name__ == "__main__":
    run_program("app.py", lambda: main(sys.argv[1:]))
