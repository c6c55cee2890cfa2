"""The page of ``app.py``: its layout, and its connection with the events. Needs the package ``gradio``."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from inference.translator import STYLES
from util.image_files import SUFFIXES

from .events import INPUT, Events, captions, chosen_example, clicked_point, of_page, with_messages
from .examples import EXAMPLES
from .pictures import Studio
from .similarity import LAYERS

TITLE = "Image translation"
AT_ONCE = 16  # translations that wait or run, of all pages
CSS = """
.gradio-container{padding:8px!important}
.sides{display:flex;justify-content:space-between;gap:16px;overflow-wrap:anywhere}
.sides>*{flex:1}
#sides>*{padding:0!important}
.sides>:last-child{text-align:right}
#examples .grid-container{grid-template-columns:repeat(5,minmax(0,1fr))!important}
@media(max-width:640px){.row:not(#buttons){flex-direction:column;align-items:stretch!important}
.row:not(#buttons)>*{width:100%;min-width:0!important;max-width:100%}}
"""


def build_page(root: Path, studio: Studio, side: int) -> Any:
    """Build the page for the experiments in ``root``; images larger than ``side`` are scaled down by default."""
    import gradio as gr  # noqa: PLC0415

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        _connect(page, Events(root, studio), _lay_out(side))
    return page


def _lay_out(side: int) -> SimpleNamespace:
    """Lay out the page from top to bottom."""
    import gradio as gr  # noqa: PLC0415

    parts = SimpleNamespace(shown=gr.State(), point=gr.State(), files=gr.State([]))
    gr.Markdown(f"# {TITLE}")
    with gr.Row():
        parts.chosen = gr.Dropdown([], label="Checkpoint", scale=4, elem_id="checkpoint")
        parts.compared = gr.Dropdown([INPUT], value=INPUT, label="Compared with", scale=4, elem_id="compared")
        parts.refresh = gr.Button("Refresh", scale=1, min_width=100, elem_id="refresh")
    parts.hint = gr.HTML(visible=False, elem_id="hint")
    with gr.Row():
        with gr.Column():
            parts.upload = gr.File(label="Image: drop it here", file_types=list(SUFFIXES), height=140, elem_id="upload")
            with gr.Column(visible=False) as parts.examples:
                gr.Markdown("Or take an image of the checkpoint's own test set:")
                parts.gallery = gr.Gallery(show_label=False, columns=EXAMPLES, height=140, allow_preview=False,
                                           object_fit="contain", buttons=[], elem_id="examples")
        with gr.Column():
            parts.largest = gr.Slider(min(64, side), max(4096, side), side, step=1,
                                      label="Larger images are scaled down to, in pixels", elem_id="largest")
            parts.style = gr.Slider(1, STYLES, 1, step=1, label="Style", visible=False, elem_id="style")
            with gr.Row(elem_id="buttons"):
                parts.again = gr.Button("Translate", variant="primary", min_width=100, elem_id="translate")
                parts.cancel = gr.Button("Cancel", min_width=100, elem_id="cancel")
    parts.sides = gr.HTML(captions(), elem_id="sides")
    parts.slider = gr.ImageSlider(show_label=False, interactive=False, elem_id="slider", max_height=480,
                                  buttons=["fullscreen"])
    parts.note = gr.Textbox(show_label=False, container=False, interactive=False, lines=1, elem_id="note",
                            placeholder="Size and time")
    parts.download = gr.DownloadButton("Download the output as PNG", interactive=False, elem_id="download")
    with gr.Row():
        parts.before = _picture("Input: click a point to see similar points", "input")
        parts.after = _picture("Output: click here, too", "output")
    gr.Markdown("In the maps, bright points are similar to the point in the ring, dark ones are not")
    with gr.Row():
        parts.maps = [_picture("Self-similarity in the input", "map_input"),
                      _picture("Self-similarity in the output", "map_output")]
    parts.features = gr.Dropdown(list(LAYERS), value=LAYERS[0], label="Self-similarity by", elem_id="features")
    return parts


def _connect(page: Any, events: Events, on: SimpleNamespace) -> None:
    """Connect the parts of the page to their events."""
    import gradio as gr  # noqa: PLC0415

    private: dict[str, Any] = {"api_visibility": "private"}
    hidden: dict[str, Any] = {"show_progress": "hidden", **private}
    lists = [on.chosen, on.compared, on.hint]
    page.load(with_messages(of_page(events.open)), None, lists, **private)
    page.unload(of_page(events.cancel))
    on.refresh.click(with_messages(events.refresh), [on.chosen, on.compared], lists, **private)
    on.chosen.change(with_messages(events.examples), [on.chosen], [on.examples, on.gallery, on.files], **hidden)
    on.gallery.select(with_messages(chosen_example(events.studio.folder)), [on.files], [on.upload], **hidden)
    on.cancel.click(of_page(events.cancel), queue=False, **private)
    gr.on([on.upload.change, on.chosen.input, on.largest.release], with_messages(events.note),
          [on.upload, on.chosen, on.largest], [on.note], **hidden)

    # `Jobs` runs few of them; a new one of a page cancels the one before.
    changed: dict[str, Any] = {
        "inputs": [on.upload, on.chosen, on.compared, on.style, on.largest, on.features],
        "outputs": [on.shown, on.before, on.after, on.slider, on.sides, on.note, on.download, on.style, on.features],
        "show_progress_on": [on.slider, on.after], "trigger_mode": "multiple", "concurrency_id": "translations",
        "concurrency_limit": AT_ONCE, **private}
    draw: dict[str, Any] = {"fn": with_messages(events.maps), "inputs": [on.shown, on.point, on.features, on.chosen],
                            "outputs": [on.before, on.after, *on.maps], "show_progress_on": on.maps,
                            "concurrency_id": "maps", "concurrency_limit": 1, **private}
    for translated in (
            gr.on([on.upload.change, on.chosen.input, on.compared.input, on.largest.release, on.style.release],
                  with_messages(of_page(events.translate)), **changed),
            on.again.click(with_messages(of_page(events.translate_now)), **changed)):
        translated.success(**draw)
        translated.failure(with_messages(events.clear_broken), [on.upload], [on.upload], **hidden)
    for picture in (on.before, on.after, *on.maps):
        picture.select(clicked_point(), [on.shown], [on.point], **hidden).success(**draw)
    on.features.input(**draw)


def _picture(label: str, name: str) -> Any:
    """Add a picture below its label; Gradio's own label would hide its upper edge."""
    import gradio as gr  # noqa: PLC0415

    with gr.Column(min_width=160):
        gr.Markdown(label)
        return gr.Image(label=label, show_label=False, interactive=False, elem_id=name, buttons=["fullscreen"])
