"""The page of ``app.py``: its layout and its events. Needs the package ``gradio``."""

import tempfile
from collections.abc import Callable
from functools import wraps
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from inference.translator import STYLES
from util.errors import UserError, explain
from util.images import SUFFIXES, BadImage, image_size
from util.rasters import read_raster

from .checkpoints import Checkpoint, find_checkpoints
from .pictures import Shown, Studio
from .similarity import LAYERS, feature_names

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
    """Event handlers, with the values that Gradio passes and expects."""

    def __init__(self, root: Path, studio: Studio) -> None:
        self.root, self.studio = root, studio

    def refresh(self, chosen: str | None, compared: str | None) -> tuple[Any, Any, Any]:
        """List the checkpoints, keep the choice, and say what to do if there are none."""
        import gradio  # noqa: PLC0415 - optional

        found = list(find_checkpoints(self.root))
        first = found[0] if found else None
        return (gradio.Dropdown(choices=found, value=chosen if chosen in found else first),
                gradio.Dropdown(choices=[INPUT, *found], value=compared if compared in found else INPUT),
                gradio.HTML(f"<strong>{escape(no_checkpoints(self.root))}</strong>", visible=not found))

    def translate(  # noqa: PLR0917 - the page's parts, in their order
        self, upload: str | None, label: str | None, compared: str, style: float, side: float, features: str,
    ) -> tuple[Any, ...]:
        """Translate an image, and update the pictures and lists."""
        import gradio  # noqa: PLC0415

        if upload is None:
            return (None, None, None, None, captions(), gradio.DownloadButton(value=None, interactive=False),
                    gradio.skip(), gradio.skip())
        checkpoint = self._find(label)
        other = None if compared == INPUT else self._find(compared)
        into = Path(tempfile.mkdtemp(dir=self.studio.folder))
        shown = self.studio.translate(Path(upload), into, checkpoint, other, style=int(style), side=int(side))
        seen = feature_names(checkpoint)
        return (
            shown, *map(str, shown.views), (str(shown.other), str(shown.output)),
            captions(other.label if other else INPUT, checkpoint.label),
            gradio.DownloadButton(value=str(shown.output), interactive=True),
            gradio.Slider(visible=shown.styles > 1),
            gradio.Dropdown(choices=seen, value=features if features in seen else seen[0]))

    def translate_now(self, upload: str | None, *rest: Any) -> tuple[Any, ...]:
        """Translate, with a warning if there is no image: the handler of the button."""
        import gradio  # noqa: PLC0415

        if upload is None:
            gradio.Warning("Choose an image first: drop one, or click its field")
        return self.translate(upload, *rest)

    def clear_broken(self, upload: str | None) -> Any:
        """Clear the upload after a failure if it is no image, so that the button does not fail again."""
        import gradio  # noqa: PLC0415

        if upload is not None:
            try:
                read_raster(Path(upload))
            except BadImage:
                return None
        return gradio.skip()

    def maps(
        self, shown: Shown | None, point: Point | None, features: str, label: str | None,
    ) -> tuple[str | None, str | None]:
        """Draw the self-similarity of the clicked point, if there is one."""
        if shown is None or point is None:
            return None, None
        of_input, of_output = self.studio.maps(shown, point, features, self._find(label))
        return str(of_input), str(of_output)

    def _find(self, label: str | None) -> Checkpoint:
        found = find_checkpoints(self.root)
        if not found:
            raise UserError(no_checkpoints(self.root))
        if label not in found:
            raise UserError(f"{label or 'no checkpoint'} is not there: refresh the list and choose one")
        return found[label]


def no_checkpoints(root: Path) -> str:
    """Say what to do without a checkpoint."""
    return f"there is no checkpoint in {root}: train a model, or start app.py with another --checkpoints_dir"


def captions(left: str = "the comparison", right: str = "the output") -> str:
    """Return the captions of the slider's sides, as HTML."""
    return f'<div class="sides"><span>Left: {escape(left)}</span><span>Right: {escape(right)}</span></div>'


def build_page(root: Path, studio: Studio, side: int) -> Any:
    """Build the page for the experiments in ``root``; images larger than ``side`` are scaled down by default."""
    import gradio as gr  # noqa: PLC0415

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        _connect(page, Events(root, studio), _lay_out(side))
    return page


def _lay_out(side: int) -> SimpleNamespace:
    """Lay out the page from top to bottom."""
    import gradio as gr  # noqa: PLC0415

    parts = SimpleNamespace(shown=gr.State(), point=gr.State())
    gr.Markdown(f"# {TITLE}")
    with gr.Row():
        parts.chosen = gr.Dropdown([], label="Checkpoint", scale=4, elem_id="checkpoint")
        parts.compared = gr.Dropdown([INPUT], value=INPUT, label="Compared with", scale=4, elem_id="compared")
        parts.refresh = gr.Button("Refresh", scale=1, min_width=100, elem_id="refresh")
    parts.hint = gr.HTML(visible=False, elem_id="hint")
    with gr.Row():
        parts.upload = gr.File(label="Image: drop it here", file_types=list(SUFFIXES), height=140, elem_id="upload")
        with gr.Column():
            parts.largest = gr.Slider(min(64, side), max(4096, side), side, step=1,
                                      label="Larger images are scaled down to, in pixels")
            parts.style = gr.Slider(1, STYLES, 1, step=1, label="Style", visible=False, elem_id="style")
            parts.again = gr.Button("Translate", variant="primary", elem_id="translate")
    with gr.Row():
        parts.before = _picture("Input: click a point to see similar points", "input")
        parts.after = _picture("Output: click here, too", "output")
    gr.Markdown("In the maps, bright points are similar to the point in the white ring, dark ones are not")
    with gr.Row():
        parts.maps = [_picture("Self-similarity in the input", "map_input"),
                      _picture("Self-similarity in the output", "map_output")]
    parts.features = gr.Dropdown(list(LAYERS), value=LAYERS[0], label="Self-similarity by", elem_id="features")
    parts.sides = gr.HTML(captions(), elem_id="sides")
    parts.slider = gr.ImageSlider(show_label=False, interactive=False, elem_id="slider", max_height=360,
                                  buttons=["fullscreen"])
    parts.download = gr.DownloadButton("Download the output as PNG", interactive=False, elem_id="download")
    return parts


def _connect(page: Any, events: Events, on: SimpleNamespace) -> None:
    """Connect the parts of the page to their events."""
    import gradio as gr  # noqa: PLC0415

    # One at a time: translating in tiles changes the networks, and memory is limited.
    one_by_one: dict[str, Any] = {"concurrency_id": "networks", "concurrency_limit": 1, "api_visibility": "private"}
    lists: dict[str, Any] = {"fn": with_messages(events.refresh), "inputs": [on.chosen, on.compared],
                             "outputs": [on.chosen, on.compared, on.hint], **one_by_one}
    draw: dict[str, Any] = {"fn": with_messages(events.maps), "inputs": [on.shown, on.point, on.features, on.chosen],
                            "outputs": on.maps, **one_by_one}
    page.load(**lists)
    on.refresh.click(**lists)
    changed: dict[str, Any] = {
        "inputs": [on.upload, on.chosen, on.compared, on.style, on.largest, on.features],
        "outputs": [on.shown, on.before, on.after, on.slider, on.sides, on.download, on.style, on.features],
        "show_progress_on": on.after, **one_by_one}
    for translated in (
            gr.on([on.upload.change, on.chosen.input, on.compared.input, on.largest.release, on.style.release],
                  with_messages(events.translate), **changed),
            on.again.click(with_messages(events.translate_now), **changed)):
        translated.success(**draw)
        translated.failure(with_messages(events.clear_broken), [on.upload], [on.upload], show_progress="hidden",
                           **one_by_one)
    for picture in (on.before, on.after, *on.maps):
        picture.select(_clicked(), [on.shown], [on.point], show_progress="hidden", **one_by_one).success(**draw)
    on.features.input(**draw)


def with_messages(event: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that errors that a user can mend become messages on the page."""
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
    """Add a picture below its label; Gradio's own label would hide its upper edge."""
    import gradio as gr  # noqa: PLC0415

    with gr.Column(min_width=160):
        gr.Markdown(label)
        return gr.Image(label=label, show_label=False, interactive=False, elem_id=name, buttons=["fullscreen"])


def _clicked() -> Callable[..., Point | None]:
    """Return the handler that gives the clicked point, as fractions of height and width."""
    import gradio  # noqa: PLC0415

    def clicked(shown: Shown | None, event: Any) -> Point | None:
        if shown is None:
            return None
        height, width = image_size(shown.views[0])
        x, y = event.index
        down, right = ((min(max(at, 0), side - 1) + 0.5) / side for at, side in ((y, height), (x, width)))
        return down, right

    clicked.__annotations__["event"] = gradio.SelectData  # tells Gradio which event to pass
    return clicked
