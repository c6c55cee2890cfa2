"""The page: what is on it, and what happens when something on it is touched. Needs ``gradio``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import wraps
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from util.errors import UserError, explain
from util.images import SUFFIXES, BadImage, image_outline, load_normalized

from .checkpoints import Checkpoint, find_checkpoints
from .pictures import Shown, Studio
from .similarity import LAYERS, sights

INPUT = "the input"
TITLE = "Image translation"
CSS = """
.gradio-container{padding:8px!important}
.sides{display:flex;justify-content:space-between;gap:16px;overflow-wrap:anywhere}
.sides>*{flex:1}
#sides>*{padding:0!important}
.sides>:last-child{text-align:right}
@media(max-width:640px){.row{flex-direction:column;align-items:stretch!important}.row>*{min-width:0!important}}
"""

Point = tuple[float, float]


class Events:
    """What the page's parts do; values are those that Gradio gives and takes."""

    def __init__(self, root: Path, studio: Studio) -> None:
        self.root, self.studio = root, studio

    def refresh(self, chosen: str | None, compared: str | None) -> tuple[Any, Any, Any]:
        """The lists of checkpoints as they are now, and what to do if they are empty; what was chosen stays."""
        import gradio  # noqa: PLC0415 - optional

        found = list(find_checkpoints(self.root))
        first = found[0] if found else None
        return (gradio.Dropdown(choices=found, value=chosen if chosen in found else first),
                gradio.Dropdown(choices=[INPUT, *found], value=compared if compared in found else INPUT),
                gradio.HTML("" if found else f"<strong>{escape(nothing_in(self.root))}</strong>", visible=not found))

    def translate(  # noqa: PLR0917 - the page's parts, in their order
        self, upload: str | None, label: str | None, compared: str, style: float, side: float, sight: str,
    ) -> tuple[Any, ...]:
        """A translation, and the pictures and lists that it changes."""
        import gradio  # noqa: PLC0415

        if upload is None:
            return (None, None, None, None, named_sides(), gradio.DownloadButton(value=None, interactive=False),
                    gradio.skip(), gradio.skip())
        checkpoint = self._find(label)
        other = None if compared == INPUT else self._find(compared)
        into = Path(tempfile.mkdtemp(dir=self.studio.folder))
        shown = self.studio.translate(Path(upload), into, checkpoint, other, style=int(style), side=int(side))
        seen = sights(checkpoint)
        return (
            shown, *map(str, shown.views), (str(shown.other), str(shown.output)),
            named_sides(other.label if other else INPUT, checkpoint.label),
            gradio.DownloadButton(value=str(shown.output), interactive=True),
            gradio.Slider(visible=shown.styles > 1, maximum=max(shown.styles, 2)),
            gradio.Dropdown(choices=seen, value=sight if sight in seen else seen[0]))

    def translate_now(self, upload: str | None, *rest: Any) -> tuple[Any, ...]:
        """What the button does: `translate`, which an image must have been chosen for."""
        import gradio  # noqa: PLC0415

        if upload is None:
            gradio.Warning("Choose an image first: drop one, or click its field")
        return self.translate(upload, *rest)

    def unless_broken(self, upload: str | None) -> Any:
        """What stays uploaded after a failure: a file that is no image does not, lest the button fail again."""
        import gradio  # noqa: PLC0415

        if upload is not None:
            try:
                load_normalized(Path(upload), 3)
            except BadImage:
                return None
        return gradio.skip()

    def maps(
        self, shown: Shown | None, point: Point | None, sight: str, label: str | None,
    ) -> tuple[str | None, str | None]:
        """The self-similarity of the point that was clicked, if there is one."""
        if shown is None or point is None:
            return None, None
        of_input, of_output = self.studio.maps(shown, point, sight, self._find(label))
        return str(of_input), str(of_output)

    def _find(self, label: str | None) -> Checkpoint:
        found = find_checkpoints(self.root)
        if not found:
            raise UserError(nothing_in(self.root))
        if label not in found:
            raise UserError(f"{label or 'no checkpoint'} is not there: refresh the list and choose one")
        return found[label]


def nothing_in(root: Path) -> str:
    """What to do where there is no checkpoint."""
    return f"there is no checkpoint in {root}: train a model, or start app.py with another --checkpoints_dir"


def named_sides(left: str = "what it is compared with", right: str = "the output") -> str:
    """What is on the slider's sides, as HTML."""
    return f'<div class="sides"><span>Left: {escape(left)}</span><span>Right: {escape(right)}</span></div>'


def build_page(root: Path, studio: Studio, side: int) -> Any:
    """The page, not yet served.

    Args:
        root: where experiments are kept.
        studio: translates.
        side: the largest side of an image that is not scaled down, before somebody chooses another.
    """
    import gradio as gr  # noqa: PLC0415

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        _connect(page, Events(root, studio), _lay_out(side))
    return page


def _lay_out(side: int) -> SimpleNamespace:
    """What is on the page, from top to bottom."""
    import gradio as gr  # noqa: PLC0415

    parts = SimpleNamespace(shown=gr.State(), point=gr.State())
    gr.Markdown(f"# {TITLE}")
    with gr.Row():
        parts.chosen = gr.Dropdown([], label="Checkpoint", scale=4, elem_id="checkpoint")
        parts.compared = gr.Dropdown([INPUT], value=INPUT, label="Compared with", scale=4, elem_id="compared")
        parts.refresh = gr.Button("Refresh", scale=1, min_width=100, elem_id="refresh")
    parts.nothing = gr.HTML(visible=False, elem_id="nothing")
    with gr.Row():
        parts.upload = gr.File(label="Image: drop it here", file_types=list(SUFFIXES), height=140, elem_id="upload")
        with gr.Column():
            parts.largest = gr.Slider(min(64, side), max(4096, side), side, step=1,
                                      label="Larger images are scaled down to, in pixels")
            parts.style = gr.Slider(1, 2, 1, step=1, label="Style", visible=False, elem_id="style")
            parts.again = gr.Button("Translate", variant="primary", elem_id="translate")
    with gr.Row():
        parts.before = _picture("Input: click a point to see what resembles it", "input")
        parts.after = _picture("Output: points can be clicked here, too", "output")
    gr.Markdown("In the maps, bright resembles the point in the white ring, and dark is unlike it")
    with gr.Row():
        parts.maps = [_picture("Self-similarity in the input", "map_input"),
                      _picture("Self-similarity in the output", "map_output")]
    parts.sight = gr.Dropdown(list(LAYERS), value=LAYERS[0], label="Self-similarity by", elem_id="sight")
    parts.sides = gr.HTML(named_sides(), elem_id="sides")
    parts.slider = gr.ImageSlider(show_label=False, interactive=False, elem_id="slider", max_height=360,
                                  buttons=["fullscreen"])
    parts.download = gr.DownloadButton("Download the output as PNG", interactive=False, elem_id="download")
    return parts


def _connect(page: Any, events: Events, on: SimpleNamespace) -> None:
    """Tell the parts of the page what they do."""
    import gradio as gr  # noqa: PLC0415

    # One at a time: networks are changed while they translate in tiles, and memory is limited.
    alone: dict[str, Any] = {"concurrency_id": "networks", "concurrency_limit": 1, "api_visibility": "private"}
    lists: dict[str, Any] = {"fn": told(events.refresh), "inputs": [on.chosen, on.compared],
                             "outputs": [on.chosen, on.compared, on.nothing], **alone}
    draw: dict[str, Any] = {"fn": told(events.maps), "inputs": [on.shown, on.point, on.sight, on.chosen],
                            "outputs": on.maps, **alone}
    page.load(**lists)
    on.refresh.click(**lists)
    changed: dict[str, Any] = {
        "inputs": [on.upload, on.chosen, on.compared, on.style, on.largest, on.sight],
        "outputs": [on.shown, on.before, on.after, on.slider, on.sides, on.download, on.style, on.sight],
        "show_progress_on": on.after, **alone}
    for translated in (
            gr.on([on.upload.change, on.chosen.input, on.compared.input, on.largest.release, on.style.release],
                  told(events.translate), **changed),
            on.again.click(told(events.translate_now), **changed)):
        translated.success(**draw)
        translated.failure(told(events.unless_broken), [on.upload], [on.upload], show_progress="hidden", **alone)
    for picture in (on.before, on.after, *on.maps):
        picture.select(_clicked(), [on.shown], [on.point], show_progress="hidden", **alone).success(**draw)
    on.sight.input(**draw)


def told(event: Callable[..., Any]) -> Callable[..., Any]:
    """The event, whose `UserError` becomes a message on the page."""
    import gradio  # noqa: PLC0415

    @wraps(event)
    def answer(*values: Any) -> Any:
        try:
            return event(*values)
        except (UserError, OSError, MemoryError, RuntimeError) as error:
            if (reason := explain(error)) is None:
                raise
            raise gradio.Error(reason, duration=None, print_exception=False) from error

    return answer


def _picture(label: str, name: str) -> Any:
    """A picture below its label, which would hide its upper edge."""
    import gradio as gr  # noqa: PLC0415

    with gr.Column(min_width=160):
        gr.Markdown(label)
        return gr.Image(label=label, show_label=False, interactive=False, elem_id=name, buttons=["fullscreen"])


def _clicked() -> Callable[..., Point | None]:
    """Where a picture was clicked, as a share of its height and width."""
    import gradio  # noqa: PLC0415

    def clicked(shown: Shown | None, event: Any) -> Point | None:
        if shown is None:
            return None
        height, width = image_outline(shown.views[0], 1).shape[1:]
        x, y = event.index
        down, right = ((min(max(at, 0), side - 1) + 0.5) / side for at, side in ((y, height), (x, width)))
        return down, right

    clicked.__annotations__["event"] = gradio.SelectData  # by which Gradio knows what to give
    return clicked
